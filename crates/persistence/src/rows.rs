//! Rows of errors, of labels of workflows and of what writers agree on, and how they become values of the domain and back.

use crate::bulk::columns;
use crate::errors::damaged;
use crate::schema::tenant_states;
use crate::sql::{Id, Instant, Key, Time, Word};
use crate::wide::{Cell, WideRow, present};
use callscope_analytics::kept::KeptCounts;
use callscope_analytics::ports::{LoggedError, StoreError};
use callscope_domain::{AgentName, Call, CallError, ErrorKind, Level, Message, ProviderName, Service};
use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, QueryableByName};
use diesel::prelude::{Queryable, Selectable};
use diesel::row::NamedRow;
use diesel::sql_types::{Integer, Nullable, Text};

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
        provider_name: Option<String> as Nullable<Text>,
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
                error.provider_name.as_ref().map(ToString::to_string),
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
    provider_name: Option<String>,
}

impl LoggedErrorRow {
    /// Where its columns stand in a [`WideRow`].
    pub const CELLS: &'static [(Cell, &'static str)] = &[
        (Cell::Key0, "call_id"),
        (Cell::Number, "position"),
        (Cell::Time0, "occurred_at"),
        (Cell::Text0, "service"),
        (Cell::Text1, "level"),
        (Cell::Text2, "message"),
        (Cell::Text3, "details"),
        (Cell::Text4, "agent"),
        (Cell::Text5, "provider_name"),
    ];

    /// Reads them from there.
    pub fn from_wide(row: &impl WideRow) -> deserialize::Result<Self> {
        Ok(Self {
            call_id: present(row.id(Cell::Key0)?)?,
            position: present(row.number(Cell::Number)?)?,
            occurred_at: present(row.time(Cell::Time0)?)?,
            service: row.word(Cell::Text0)?,
            level: row.word(Cell::Text1)?,
            message: present(row.text(Cell::Text2)?)?,
            details: row.text(Cell::Text3)?,
            agent: row.text(Cell::Text4)?,
            provider_name: row.text(Cell::Text5)?,
        })
    }
}

impl<DB> QueryableByName<DB> for LoggedErrorRow
where
    DB: Backend,
    i32: FromSql<Integer, DB>,
    Time: FromSql<Instant, DB>,
    String: FromSql<Text, DB>,
    Word<Service>: FromSql<Text, DB>,
    Word<Level>: FromSql<Text, DB>,
    Id: FromSql<Key, DB>,
{
    /// By the order of [`Self::CELLS`].
    fn build<'a>(row: &impl NamedRow<'a, DB>) -> deserialize::Result<Self> {
        Ok(Self {
            call_id: row.get_value::<Key, Id, usize>(0)?,
            position: row.get_value::<Integer, i32, usize>(1)?.into(),
            occurred_at: row.get_value::<Instant, Time, usize>(2)?,
            service: row.get_value::<Text, Word<Service>, usize>(3)?,
            level: row.get_value::<Text, Word<Level>, usize>(4)?,
            message: row.get_value::<Text, String, usize>(5)?,
            details: row.get_value::<Nullable<Text>, Option<String>, usize>(6)?,
            agent: row.get_value::<Nullable<Text>, Option<String>, usize>(7)?,
            provider_name: row.get_value::<Nullable<Text>, Option<String>, usize>(8)?,
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
                provider_name: row.provider_name.map(ProviderName::new).transpose().map_err(damaged)?,
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
