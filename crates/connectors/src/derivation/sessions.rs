//! Which sessions a call has, whether they are over, when the call began and ended, and why.

use super::{ERROR_END_REASON, measures_dialogue};
use crate::facts::{Event, Fact, FactId, ReportedSession};
use std::collections::{HashMap, HashSet};

/// The sessions of a call.
pub struct Sessions<'f> {
    /// Roots: sessions that are over, by start.
    pub roots: Vec<&'f Fact>,
    /// Reports of sessions that are over, by end.
    pub reports: Vec<(&'f Fact, &'f ReportedSession)>,
    /// The close of each session, by start. Closes without a session count as one.
    pub closes: Vec<Close<'f>>,
    /// Whether some session is not over yet.
    pub is_any_open: bool,
}

/// The close of a session.
#[derive(Clone, Copy)]
pub struct Close<'f> {
    pub fact: &'f Fact,
    pub session: Option<FactId>,
    pub reason: Option<&'f str>,
    pub error_type: Option<&'f str>,
}

impl Close<'_> {
    pub fn is_error(&self) -> bool {
        self.reason == Some(ERROR_END_REASON)
    }
}

/// When and why a call began and ended, as far as its facts say.
pub struct Ending<'f> {
    /// Whether the end is known.
    pub is_ended: bool,
    /// Whether the agent's process crashed.
    pub is_crashed: bool,
    /// Whether an error closed a session.
    pub is_error: bool,
    /// Why the last session was closed.
    pub close_reason: Option<&'f str>,
    pub start_us: i64,
    /// The end, or else the last thing that was seen.
    pub end_us: i64,
}

impl<'f> Sessions<'f> {
    /// Of facts in the order of their starts.
    pub fn of(facts: &[&'f Fact]) -> Self {
        let mut sessions = Self { roots: Vec::new(), reports: Vec::new(), closes: Vec::new(), is_any_open: false };
        let mut closed = HashSet::new();
        for fact in facts {
            match &fact.event {
                Event::Session { .. } => sessions.roots.push(fact),
                Event::Report(report) => sessions.reports.push((fact, report)),
                Event::SessionClose { session, reason, error_type } if closed.insert(*session) => {
                    let (reason, error_type) = (reason.as_deref(), error_type.as_deref());
                    sessions.closes.push(Close { fact, session: *session, reason, error_type });
                }
                _ => {}
            }
        }
        sessions.reports.sort_by_key(|(fact, _)| (fact.end_us, fact.id));
        sessions.is_any_open = sessions.has_open(facts);
        sessions
    }

    /// A session is known by its turns. It is over when its root is there, or a report of its job; a report of any job,
    /// if its own is not known.
    fn has_open(&self, facts: &[&'f Fact]) -> bool {
        let over: HashSet<FactId> = self.roots.iter().map(|root| root.id).collect();
        let mut jobs: HashMap<FactId, Option<&str>> = HashMap::new();
        for fact in facts {
            if let Event::Turn { session: Some(session), .. } = &fact.event
                && !over.contains(session)
            {
                let job = jobs.entry(*session).or_default();
                *job = [*job, fact.context.job.as_deref()].into_iter().flatten().min();
            }
        }
        let reported: HashSet<&str> = self.reports.iter().filter_map(|(fact, _)| fact.context.job.as_deref()).collect();
        jobs.values().any(|job| match job {
            Some(job) => !reported.contains(job),
            None => self.reports.is_empty(),
        })
    }

    /// When and why the call began and ended. `facts` must not be empty.
    pub fn ending(&self, facts: &[&'f Fact]) -> Ending<'f> {
        let mut is_crashed = false;
        let mut is_job_over = false;
        for fact in facts {
            match &fact.event {
                Event::Crash { .. } | Event::Job { failure: Some(_) } => (is_crashed, is_job_over) = (true, true),
                // Other facts of the session may still come.
                Event::JobShutdown { is_crash: true } => is_crashed = true,
                _ => {}
            }
        }
        let is_known = !self.roots.is_empty() || !self.reports.is_empty();
        let reasons = self.reasons();
        Ending {
            is_ended: (is_known && !self.is_any_open) || is_job_over,
            is_crashed,
            is_error: reasons.contains(&ERROR_END_REASON),
            close_reason: reasons.last().copied(),
            start_us: self.start(facts),
            end_us: self.end().or_else(|| facts.iter().map(|fact| fact.end_us).max()).unwrap_or_default(),
        }
    }

    /// Why sessions were closed, the last one last.
    fn reasons(&self) -> Vec<&'f str> {
        let reasons: Vec<&str> = self.closes.iter().filter_map(|close| close.reason).collect();
        if reasons.is_empty() {
            self.reports.iter().filter_map(|(_, report)| report.close_reason.as_deref()).collect()
        } else {
            reasons
        }
    }

    fn start(&self, facts: &[&Fact]) -> i64 {
        let of_roots = || self.roots.iter().map(|root| root.start_us).min();
        let of_reports = || self.reports.iter().map(|(fact, _)| fact.start_us).min();
        let of_dialogue = || facts.iter().find(|fact| measures_dialogue(fact)).map(|fact| fact.start_us);
        let of_any = || facts.first().map(|fact| fact.start_us);
        of_roots().or_else(of_reports).or_else(of_dialogue).or_else(of_any).unwrap_or_default()
    }

    /// The session waits up to 2 s after it was closed, so the close comes first.
    fn end(&self) -> Option<i64> {
        let close_of: HashMap<Option<FactId>, i64> =
            self.closes.iter().map(|close| (close.session, close.fact.start_us)).collect();
        let of_root = |root: &&Fact| close_of.get(&Some(root.id)).map_or(root.end_us, |close| root.end_us.min(*close));
        let first_close = self.closes.first().map_or(i64::MAX, |close| close.fact.start_us);
        let of_reports = || self.reports.iter().map(|(fact, _)| fact.end_us.min(first_close)).max();
        self.roots.iter().map(of_root).max().or_else(of_reports)
    }
}
