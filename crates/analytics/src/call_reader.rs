//! What lists of calls need of a database, and which calls a list is of.

use crate::ports::{CallPosition, LoggedError, StoreError};
use async_trait::async_trait;
use callscope_domain::{
    CallFacts, CallId, CallStatus, Filter, NumberFact, Span, TenantId, Window, WorkflowId, WorkflowLabel,
};
use std::collections::HashMap;

/// What lists of calls need of a database.
#[async_trait]
pub trait CallReader: Send + Sync {
    /// The next calls of a window in the order of their starts, ties by id: those that the conditions on columns let
    /// through. Conditions on uses of providers and on tags are left to the caller.
    async fn list_calls(
        &self,
        tenant: TenantId,
        wanted: &WantedCalls,
        after: Option<CallPosition>,
        limit: u32,
    ) -> Result<Vec<CallFacts>, StoreError>;

    /// One call, with the errors of it that the log has.
    async fn find_call(
        &self,
        tenant: TenantId,
        id: CallId,
    ) -> Result<Option<(CallFacts, Vec<LoggedError>)>, StoreError>;

    /// The labels of some workflows; of all without any.
    async fn load_labels(
        &self,
        tenant: TenantId,
        ids: &[WorkflowId],
    ) -> Result<HashMap<WorkflowId, WorkflowLabel>, StoreError>;
}

/// Which calls a list is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedCalls {
    /// Those that started in it.
    pub window: Window,
    /// Those that every filter lets through.
    pub filters: Vec<Filter>,
    /// Those of a status.
    pub status: Option<CallStatus>,
    /// Those that lasted at least so long.
    pub min_duration: Option<Span>,
    /// Those with errors, or without any.
    pub has_errors: Option<bool>,
    /// Those with this id, their own or that of their source.
    pub search: Option<Box<str>>,
    /// What they are ordered by.
    pub sort: Sort,
    /// Whether the greatest comes first.
    pub descends: bool,
}

/// What a list is ordered by. Ties are ordered by start, then by id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// Their start.
    #[default]
    StartedAt,
    /// How long they lasted.
    Duration,
    /// What they cost.
    Cost,
    /// The longest latency of a turn.
    WorstTurn,
}

impl Sort {
    /// The value of a call that it is ordered by; less than all others where it is unknown.
    #[must_use]
    pub fn value(self, call: &CallFacts) -> i64 {
        let of = match self {
            Self::StartedAt => Some(call.started_at.as_micros()),
            Self::Duration => call.duration().map(Span::as_micros),
            Self::Cost => call.numbers.get(NumberFact::CostMicrousd),
            Self::WorstTurn => call.turn_latencies.iter().max().map(|latency| latency.as_micros().into()),
        };
        of.unwrap_or(-1)
    }
}
