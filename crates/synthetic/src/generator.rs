//! Puts calls together from their parts: workflow, outcome, length, turns, latencies and errors.

use chrono::{DateTime, TimeDelta, Utc};

use crate::draws::{Draws, whole_ms};
use crate::errors::{self, Errors, Scene};
use crate::facts::{Facts, Held};
use crate::outcomes::{EndReason, Ending, Odds, Outcome, Outcomes};
use crate::profile::{Detail, Profile};
use crate::providers::{Providers, StageSamples};
use crate::record::{CallRecord, ErrorRecord};
use crate::schedule::floor_to_ms;
use crate::story::{Fate, Story};
use crate::words::CallStatus;
use crate::workflows::{Workflow, Workflows};

/// The deviation of the logarithm of a call's length: half of the calls lie between 0.7 and 1.4 times the median.
const DURATION_SPREAD: f64 = 0.52;

/// The bounds of an answered call, in seconds.
const DURATION_S_MIN: f64 = 4.0;
const DURATION_S_MAX: f64 = 1800.0;

/// One turn, the caller's words and the answer, takes so long, in milliseconds; each call has a pace of its own.
const TURN_MS_MIN: i64 = 6_500;
const TURN_MS_MAX: i64 = 13_000;

/// A stream of call records, fixed by its seed, its profile and the start times asked for.
#[derive(Clone, Debug)]
pub struct Generator {
    profile: Profile,
    draws: Draws,
    workflows: Workflows,
    outcomes: Outcomes,
    /// Of calls that a story has no rate for.
    odds: Odds,
    conversations: Conversations,
    /// Of full records.
    facts: Option<Facts>,
    story: Option<Story>,
}

/// One call seen twice: while it goes on, and when it is over.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveCall {
    /// As it starts: no end, no turns, no tokens, no providers, no errors.
    pub active: CallRecord,
    /// The same call with its end.
    pub finished: CallRecord,
}

impl Generator {
    /// Equal seeds and profiles give equal generators.
    #[must_use]
    pub fn new(seed: u64, profile: Profile) -> Self {
        Self {
            draws: Draws::new(seed),
            workflows: Workflows::new(profile.workflows),
            outcomes: Outcomes::new(&profile),
            odds: Odds::new(profile.error_rate, profile.failure_rate),
            conversations: Conversations::new(&profile, false),
            facts: match profile.detail {
                Detail::Plain => None,
                Detail::Full => Some(Facts::new(seed)),
            },
            profile,
            story: None,
        }
    }

    /// A generator whose calls go as a story tells; what the story leaves open is as in the default profile.
    #[must_use]
    pub fn telling(seed: u64, story: Story) -> Self {
        let profile = Profile::default();
        let conversations = Conversations::new(&profile, true);
        Self { conversations, story: Some(story), ..Self::new(seed, profile) }
    }

    /// The next call, finished. Its start is the one given, cut to a whole millisecond.
    pub fn call(&mut self, started_at: DateTime<Utc>) -> CallRecord {
        let draws = &mut self.draws;
        let call_id = draws.uuid();
        let workflow = self.workflows.pick(draws, self.profile.workflowless_rate);
        let slug = workflow.reference.as_ref().map(|workflow| workflow.slug.as_str());
        let [agent, ..] = workflow.agents else { unreachable!("a workflow has an agent") };
        let fate = self.story.as_ref().map_or(Fate::ORDINARY, |story| story.fate(started_at, slug, agent));
        let odds = fate.failure_rate.map_or(self.odds, |rate| Odds::new(self.profile.error_rate, rate));
        let outcome = self.outcomes.draw(draws, odds);
        let mut opening = CallRecord::active(call_id, floor_to_ms(started_at));
        opening.workflow.clone_from(&workflow.reference);
        opening.agent = Some((*agent).to_owned());
        if let Some(facts) = &mut self.facts {
            facts.start(&mut opening, workflow, &fate, matches!(outcome, Outcome::Answered(_)));
        }
        match outcome {
            Outcome::Unanswered { end_reason } => {
                opening.status = CallStatus::Failed;
                opening.ended_at = Some(opening.started_at);
                opening.end_reason = Some(end_reason.word.to_owned());
                if self.facts.is_some() {
                    Facts::end_unanswered(&mut opening, end_reason);
                }
                opening
            }
            Outcome::Answered(ending) => {
                self.conversations.hold(draws, self.facts.as_mut(), opening, workflow, ending, &fate)
            }
        }
    }

    /// The next call, both as it starts and finished; `finished` is what [`call`](Self::call) would have given.
    pub fn live_call(&mut self, started_at: DateTime<Utc>) -> LiveCall {
        let finished = self.call(started_at);
        LiveCall { active: finished.at_start(), finished }
    }
}

/// What the parts of an answered call are drawn from.
#[derive(Clone, Debug)]
struct Conversations {
    providers: Providers,
    errors: Errors,
    samples_per_call: Option<usize>,
    fallback_rate: f64,
}

impl Conversations {
    fn new(profile: &Profile, has_slow_model: bool) -> Self {
        Self {
            providers: Providers::new(has_slow_model),
            errors: Errors::new(),
            samples_per_call: profile.samples_per_call,
            fallback_rate: match profile.samples_per_call {
                Some(_) => 0.0,
                None => profile.fallback_rate,
            },
        }
    }

    /// Carries a call that has just started to its end, in the middle of an episode perhaps.
    fn hold(
        &self,
        draws: &mut Draws,
        mut facts: Option<&mut Facts>,
        opening: CallRecord,
        workflow: &Workflow,
        ending: Ending,
        fate: &Fate<'_>,
    ) -> CallRecord {
        let duration = duration(draws, workflow, ending);
        let (turns, samples) = self.turns(draws, duration);
        let chosen = self.providers.choose(draws);
        let models = facts.as_mut().map(|facts| facts.choose_models(chosen, fate.is_expensive));
        let slowdown = |provider: &_, model: Option<&_>| fate.slowdown(provider, model, opening.environment);
        let providers = self.providers.latencies(draws, chosen, models, samples, self.fallback_rate, slowdown);
        let scene = Scene {
            started_at: opening.started_at,
            duration,
            providers: chosen,
            agents: workflow.agents,
            names_providers: facts.is_some(),
        };
        let mut end = self.end(draws, scene, ending);
        let mut used = (0..chosen.len()).map(|stage| (chosen[stage], models.map(|models| models[stage])));
        if let Some(episode) = fate.episode
            && used.any(|(provider, model)| episode.affects(provider, model))
            && draws.chance(episode.error_rate())
        {
            let is_fatal = draws.chance(episode.fatal_share());
            let end_reason = errors::add(draws, scene, &mut end.2, episode.error(), is_fatal);
            if is_fatal {
                (end.0, end.1) = (CallStatus::Failed, end_reason);
            }
        }
        let (status, end_reason, errors) = end;
        let mut record = CallRecord {
            status,
            ended_at: Some(opening.started_at + duration),
            end_reason: Some(end_reason.word.to_owned()),
            total_tokens: tokens(draws, turns) * fate.token_factor,
            providers,
            errors,
            ..opening
        };
        if let (Some(facts), Some(models)) = (facts, models) {
            let (tool_rate, interruption_factor) = (workflow.tool_rate, fate.interruption_factor);
            facts.end(&mut record, Held { turns, models, end_reason, tool_rate, interruption_factor });
        }
        record
    }

    /// The turns of a call, at least one, and the samples that they leave.
    fn turns(&self, draws: &mut Draws, duration: TimeDelta) -> (usize, StageSamples) {
        if let Some(total) = self.samples_per_call {
            return (total.div_ceil(3).max(1), StageSamples::exactly(total));
        }
        let turn_ms = draws.within(TURN_MS_MIN..=TURN_MS_MAX);
        let whole_turns = usize::try_from(duration.num_milliseconds() / turn_ms).unwrap_or(0);
        let turns = whole_turns.max(1);
        (turns, StageSamples::of_turns(turns))
    }

    fn end(&self, draws: &mut Draws, scene: Scene<'_>, ending: Ending) -> (CallStatus, EndReason, Vec<ErrorRecord>) {
        match ending {
            Ending::Completed { end_reason, error_count } => {
                let errors = self.errors.survived(draws, scene, error_count);
                (CallStatus::Completed, end_reason, errors)
            }
            Ending::Broken { error_count } => {
                let (errors, end_reason) = self.errors.fatal(draws, scene, error_count);
                (CallStatus::Failed, end_reason, errors)
            }
            Ending::Dropped { end_reason } => (CallStatus::Failed, end_reason, Vec::new()),
        }
    }
}

/// Whole milliseconds, above zero. Calls that fail break off somewhere on their way.
fn duration(draws: &mut Draws, workflow: &Workflow, ending: Ending) -> TimeDelta {
    let full_s = draws.log_normal(workflow.typical_s, DURATION_SPREAD);
    let held_s = match ending {
        Ending::Completed { .. } => full_s,
        Ending::Broken { .. } | Ending::Dropped { .. } => full_s * draws.fraction(),
    };
    let length_ms = held_s.clamp(DURATION_S_MIN, DURATION_S_MAX) * 1000.0;
    TimeDelta::milliseconds(whole_ms(length_ms))
}

/// The instructions, read once, and what each turn adds.
fn tokens(draws: &mut Draws, turns: usize) -> u64 {
    let instructions: u64 = draws.within(150..=450);
    let per_turn: u64 = draws.within(50..=110);
    instructions + per_turn * turns as u64
}
