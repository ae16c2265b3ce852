//! From the report of a recording to the fact that an assembly takes.

use super::{ReportedSample, ReportedTurn, Role, SessionReport};
use crate::extraction::{SessionEnd, session_report};
use crate::facts::{self, AssemblyKey, Fact, Model, ReportedSession, Tokens, latency_us};
use callscope_domain::Service;
use chrono::{DateTime, Utc};
use std::sync::Arc;

impl SessionReport {
    /// The fact of this report, and its call. `None` if it names no job, or if its time is implausible.
    #[must_use]
    pub fn to_fact(&self, received_at: DateTime<Utc>) -> Option<(AssemblyKey, Fact)> {
        let end = SessionEnd {
            room_id: &self.room_id,
            job_id: &self.job_id,
            agent_name: self.agent_name.as_deref().unwrap_or_default(),
            ended_at_us: self.ended_at.timestamp_micros(),
            duration_us: (self.ended_at - self.started_at).num_microseconds()?,
        };
        let count = |service| self.error_counts.iter().find(|(of, _)| *of == service).map_or(0, |(_, count)| *count);
        let session = ReportedSession {
            close_reason: self.close_reason.map(Arc::from),
            error_counts: [Service::Stt, Service::Llm, Service::Tts].map(count),
            tokens: self.tokens(),
            turns: self.turns.iter().map(ReportedTurn::to_fact).collect(),
        };
        session_report(&end, session, received_at)
    }

    /// The tokens of all models.
    fn tokens(&self) -> Tokens {
        let count = |tokens: i64| u64::try_from(tokens).unwrap_or(0);
        let of_models = self.usage.iter().map(|usage| Tokens {
            input: count(usage.input_tokens),
            output: count(usage.output_tokens),
            cached_input: count(usage.cached_input_tokens),
        });
        of_models.fold(Tokens::default(), Tokens::plus)
    }
}

impl ReportedTurn {
    fn to_fact(&self) -> facts::ReportedTurn {
        facts::ReportedTurn {
            is_user: self.role == Role::User,
            is_interrupted: self.was_interrupted,
            latency_us: self.turn_latency_ms.and_then(|ms| latency_us(ms / 1000.0)),
            samples: self.samples.iter().filter_map(ReportedSample::to_fact).collect(),
        }
    }
}

impl ReportedSample {
    /// The derivation names the provider again, which leaves a canonical name as it is.
    fn to_fact(&self) -> Option<facts::Sample> {
        let model = Model { provider: Some((&*self.provider).into()), name: self.model.as_deref().map(Arc::from) };
        let latency_us = latency_us(self.latency_ms / 1000.0)?;
        Some(facts::Sample { stage: self.stage, model: Arc::new(model), latency_us })
    }
}
