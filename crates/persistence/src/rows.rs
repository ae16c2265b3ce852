//! Rows of calls and of what is summed over them, and how they become values of the domain and back.

use crate::bulk::columns;
use crate::codec::{decode_kinds, decode_numbers, decode_providers, encode_kinds, encode_numbers, encode_providers};
use crate::errors::damaged;
use crate::schema::{calls, tenant_states};
use crate::sql::{Id, Instant, Key, Time, Word};
use crate::wide::{Cell, WideRow, present};
use callscope_analytics::kept::KeptCounts;
use callscope_analytics::ports::{LoggedError, StoreError};
use callscope_domain::{
    AgentName, Call, CallError, CallFacts, CallStatus, EndReason, ErrorKind, Level, Message, Service,
};
use diesel::deserialize;
use diesel::prelude::{Queryable, Selectable};
use diesel::sql_types::{Binary, Integer, Nullable, Text};

columns! {
    /// The keys of calls.
    CallKeys {
        call_id: Id as Key,
    }
}

columns! {
    /// Whole calls, to be written.
    CallColumns {
        call_id: Id as Key,
        status: Word<CallStatus> as Text,
        started_at: Time as Instant,
        ended_at: Option<Time> as Nullable<Instant>,
        end_reason: Option<String> as Nullable<Text>,
        workflow_id: Option<Id> as Nullable<Key>,
        agent: Option<String> as Nullable<Text>,
        numbers: Vec<u8> as Binary,
        latencies: Vec<u8> as Binary,
        error_kinds: Vec<u8> as Binary,
        logged_errors: i32 as Integer,
    }
}

impl CallColumns {
    /// Adds a call, so many of whose errors go into the log.
    pub fn push_call(&mut self, call: &Call, logged_errors: usize) {
        let facts = call.facts();
        self.push((
            facts.id.into(),
            Word(facts.status),
            facts.started_at.into(),
            facts.ended_at.map(Time),
            facts.end_reason.as_ref().map(ToString::to_string),
            facts.workflow_id.map(Id::from),
            facts.agent.as_ref().map(ToString::to_string),
            encode_numbers(facts),
            encode_providers(&facts.providers),
            encode_kinds(&facts.error_kinds),
            i32::try_from(logged_errors).unwrap_or(i32::MAX),
        ));
    }
}

/// The part of a call that figures are made of, as it is read.
#[derive(Queryable, Selectable)]
#[diesel(table_name = calls)]
pub struct CallFactsRow {
    call_id: Id,
    status: Word<CallStatus>,
    started_at: Time,
    ended_at: Option<Time>,
    end_reason: Option<String>,
    workflow_id: Option<Id>,
    agent: Option<String>,
    numbers: Vec<u8>,
    latencies: Vec<u8>,
    error_kinds: Vec<u8>,
}

impl CallFactsRow {
    /// Where its columns stand in a [`WideRow`].
    pub const CELLS: &'static [(Cell, &'static str)] = &[
        (Cell::Key0, "call_id"),
        (Cell::Text0, "status"),
        (Cell::Time0, "started_at"),
        (Cell::Time1, "ended_at"),
        (Cell::Text1, "end_reason"),
        (Cell::Key1, "workflow_id"),
        (Cell::Text2, "agent"),
        (Cell::Bytes2, "numbers"),
        (Cell::Bytes0, "latencies"),
        (Cell::Bytes1, "error_kinds"),
    ];

    /// The cell of the latencies, which a question that needs none leaves empty: there are none then.
    pub const LATENCIES: Cell = Cell::Bytes0;

    /// Reads them from there.
    pub fn from_wide(row: &impl WideRow) -> deserialize::Result<Self> {
        Ok(Self {
            call_id: present(row.id(Cell::Key0)?)?,
            status: row.word(Cell::Text0)?,
            started_at: present(row.time(Cell::Time0)?)?,
            ended_at: row.time(Cell::Time1)?,
            end_reason: row.text(Cell::Text1)?,
            workflow_id: row.id(Cell::Key1)?,
            agent: row.text(Cell::Text2)?,
            numbers: present(row.bytes(Cell::Bytes2)?)?,
            latencies: row.bytes(Self::LATENCIES)?.unwrap_or_default(),
            error_kinds: present(row.bytes(Cell::Bytes1)?)?,
        })
    }
}

/// The same of a call that a writer has locked, and how many of its errors the log has.
pub type LockedCallRow = (CallFactsRow, i32);

impl TryFrom<CallFactsRow> for CallFacts {
    type Error = StoreError;

    fn try_from(row: CallFactsRow) -> Result<Self, StoreError> {
        let mut facts = Self::bare(row.call_id.into(), row.status.0, row.started_at.0);
        facts.ended_at = row.ended_at.map(|time| time.0);
        facts.end_reason = row.end_reason.map(EndReason::new).transpose().map_err(damaged)?;
        facts.workflow_id = row.workflow_id.map(Into::into);
        facts.agent = row.agent.map(AgentName::new).transpose().map_err(damaged)?;
        facts.providers = decode_providers(&row.latencies).map_err(damaged)?;
        facts.error_kinds = decode_kinds(&row.error_kinds).map_err(damaged)?;
        decode_numbers(&row.numbers, &mut facts).map_err(damaged)?;
        Ok(facts)
    }
}

columns! {
    /// Errors of calls, to be written.
    CallErrorColumns {
        call_id: Id as Key,
        position: i32 as Integer,
        call_started_at: Time as Instant,
        occurred_at: Time as Instant,
        service: Word<Service> as Text,
        level: Word<Level> as Text,
        message: String as Text,
        details: Option<String> as Nullable<Text>,
        agent: Option<String> as Nullable<Text>,
    }
}

impl CallErrorColumns {
    /// Adds the first errors of a call, so many.
    pub fn push_errors_of(&mut self, call: &Call, logged_errors: usize) {
        let facts = call.facts();
        for (position, error) in (0..).zip(call.errors().iter().take(logged_errors)) {
            self.push((
                facts.id.into(),
                position,
                facts.started_at.into(),
                error.timestamp.into(),
                Word(error.kind.service),
                Word(error.kind.level),
                error.message.to_string(),
                error.details.as_ref().map(ToString::to_string),
                error.agent.as_ref().map(ToString::to_string),
            ));
        }
    }
}

/// One error as the log reads it.
pub struct LoggedErrorRow {
    call_id: Id,
    position: i64,
    occurred_at: Time,
    service: Word<Service>,
    level: Word<Level>,
    message: String,
    details: Option<String>,
    agent: Option<String>,
}

impl LoggedErrorRow {
    /// Where its columns stand in a [`WideRow`].
    pub const CELLS: &'static [(Cell, &'static str)] = &[
        (Cell::Key0, "call_id"),
        (Cell::Number0, "position"),
        (Cell::Time0, "occurred_at"),
        (Cell::Text0, "service"),
        (Cell::Text1, "level"),
        (Cell::Text2, "message"),
        (Cell::Text3, "details"),
        (Cell::Text4, "agent"),
    ];

    /// Reads them from there.
    pub fn from_wide(row: &impl WideRow) -> deserialize::Result<Self> {
        Ok(Self {
            call_id: present(row.id(Cell::Key0)?)?,
            position: present(row.number(Cell::Number0)?)?,
            occurred_at: present(row.time(Cell::Time0)?)?,
            service: row.word(Cell::Text0)?,
            level: row.word(Cell::Text1)?,
            message: present(row.text(Cell::Text2)?)?,
            details: row.text(Cell::Text3)?,
            agent: row.text(Cell::Text4)?,
        })
    }
}

impl TryFrom<LoggedErrorRow> for LoggedError {
    type Error = StoreError;

    fn try_from(row: LoggedErrorRow) -> Result<Self, StoreError> {
        Ok(Self {
            call_id: row.call_id.into(),
            position: u32::try_from(row.position).map_err(damaged)?,
            error: CallError {
                timestamp: row.occurred_at.0,
                kind: ErrorKind { service: row.service.0, level: row.level.0 },
                message: Message::new(row.message).map_err(damaged)?,
                details: row.details.map(Into::into),
                agent: row.agent.map(AgentName::new).transpose().map_err(damaged)?,
            },
        })
    }
}

columns! {
    /// Labels of workflows, to be written.
    WorkflowColumns {
        workflow_id: Id as Key,
        group_id: i32 as Integer,
        slug: String as Text,
        name: Option<String> as Nullable<Text>,
        named_at: Time as Instant,
    }
}

/// What a tenant's writers agree on.
#[derive(Queryable, Selectable)]
#[diesel(table_name = tenant_states)]
pub struct TenantStateRow {
    /// Calls that started before it are no longer kept.
    pub calls_kept_from: Option<Time>,
    /// The number of changes of rollups that were not additions of contributions.
    pub rebuilds: i64,
    active_calls: i64,
    stored_rows: i64,
    errors_day: Option<Time>,
    errors_logged: i64,
    groups: i64,
}

impl TenantStateRow {
    /// What is stored of the tenant.
    pub fn counts(&self) -> KeptCounts {
        KeptCounts {
            active_calls: self.active_calls,
            stored_rows: self.stored_rows,
            errors_day: self.errors_day.map(|day| day.0),
            errors_logged: self.errors_logged,
            groups: self.groups,
        }
    }
}
