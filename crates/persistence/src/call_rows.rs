//! Rows of calls, and how they become values of the domain and back.

use crate::bulk::{Columns, OneOf, Used, columns};
use crate::codec::{
    decode_kinds, decode_latencies, decode_numbers, decode_tags, encode_kinds, encode_latencies, encode_numbers,
    encode_tags,
};
use crate::errors::damaged;
use crate::fragment::Keys;
use crate::sql::{Id, Instant, Key, Time, Word};
use crate::wide::{Cell, WideRow, present};
use callscope_analytics::ports::StoreError;
use callscope_domain::{Call, CallFacts, CallStatus, TextFact};
use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, QueryableByName};
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::QueryResult;
use diesel::row::NamedRow;
use diesel::sql_types::{Array, Binary, Integer, Nullable, Text, Untyped};
use diesel::sqlite::Sqlite;
use std::ops::Range;

columns! {
    /// The keys of calls.
    CallKeys {
        call_id: Id as Key,
    }
}

columns! {
    /// The columns of calls beside the texts.
    OwnColumns {
        call_id: Id as Key,
        status: Word<CallStatus> as Text,
        started_at: Time as Instant,
        ended_at: Option<Time> as Nullable<Instant>,
        workflow_id: Option<Id> as Nullable<Key>,
        numbers: Vec<u8> as Binary,
        latencies: Vec<u8> as Binary,
        error_kinds: Vec<u8> as Binary,
        tags: Vec<u8> as Binary,
        logged_errors: i32 as Integer,
    }
}

/// Whole calls, to be written.
#[derive(Debug, Default)]
pub struct CallColumns {
    own: OwnColumns,
    texts: [Vec<Option<String>>; TextFact::COUNT],
}

impl CallColumns {
    /// Adds a call, so many of whose errors go into the log.
    pub fn push_call(&mut self, call: &Call, logged_errors: usize) {
        let facts = call.facts();
        self.own.push((
            facts.id.into(),
            Word(facts.status),
            facts.started_at.into(),
            facts.ended_at.map(Time),
            facts.workflow_id.map(Id::from),
            encode_numbers(&facts.numbers),
            encode_latencies(facts),
            encode_kinds(&facts.error_kinds),
            encode_tags(&facts.tags),
            i32::try_from(logged_errors).unwrap_or(i32::MAX),
        ));
        for (column, &fact) in self.texts.iter_mut().zip(TextFact::ALL) {
            column.push(facts.texts.get(fact).map(Into::into));
        }
    }
}

/// The number of columns beside the texts.
const OWN: usize = OwnColumns::NAMES.len();

/// The names of all columns of [`CallColumns`].
const CALL_COLUMN_NAMES: [&str; OWN + TextFact::COUNT] = {
    let mut names = [""; OWN + TextFact::COUNT];
    let mut at = 0;
    while at < names.len() {
        names[at] = if at < OWN { OwnColumns::NAMES[at] } else { TextFact::WORDS[at - OWN] };
        at += 1;
    }
    names
};

impl Columns for CallColumns {
    const NAMES: &'static [&'static str] = &CALL_COLUMN_NAMES;

    fn len(&self) -> usize {
        self.own.len()
    }

    fn bind_arrays<'b>(&'b self, rows: Range<usize>, used: Used, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        self.own.bind_arrays(rows.clone(), used, out.reborrow())?;
        for column in &self.texts {
            out.push_sql(", ");
            out.push_bind_param::<Array<Nullable<Text>>, [Option<String>]>(&column[rows.clone()])?;
        }
        Ok(())
    }

    fn bind_row<'b>(&'b self, row: usize, used: Used, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        self.own.bind_row(row, used, out.reborrow())?;
        for column in &self.texts {
            out.push_sql(", ");
            out.push_bind_param::<Nullable<Text>, Option<String>>(&column[row])?;
        }
        Ok(())
    }
}

/// The part of a call that figures are made of, as it is read.
pub struct CallFactsRow {
    call_id: Id,
    status: Word<CallStatus>,
    started_at: Time,
    ended_at: Option<Time>,
    workflow_id: Option<Id>,
    numbers: Vec<u8>,
    latencies: Vec<u8>,
    error_kinds: Vec<u8>,
    tags: Vec<u8>,
    texts: [Option<String>; TextFact::COUNT],
}

/// The cells of the texts, in the order of [`TextFact::ALL`].
const TEXT_CELLS: [Cell; TextFact::COUNT] = [
    Cell::Text0,
    Cell::Text1,
    Cell::Text2,
    Cell::Text3,
    Cell::Text4,
    Cell::Text5,
    Cell::Text6,
    Cell::Text7,
    Cell::Text8,
    Cell::Text9,
];

impl CallFactsRow {
    /// The cell of the latencies, which a question that needs none leaves empty: there are none then.
    pub const LATENCIES: Cell = Cell::Bytes0;

    /// Where its columns stand in a [`WideRow`].
    pub fn cells() -> Vec<(Cell, &'static str)> {
        let own = [
            (Cell::Key0, "call_id"),
            (Cell::Text10, "status"),
            (Cell::Time0, "started_at"),
            (Cell::Time1, "ended_at"),
            (Cell::Key1, "workflow_id"),
            (Cell::Bytes2, "numbers"),
            (Self::LATENCIES, "latencies"),
            (Cell::Bytes1, "error_kinds"),
            (Cell::Bytes3, "tags"),
        ];
        own.into_iter().chain(TEXT_CELLS.into_iter().zip(TextFact::WORDS.iter().copied())).collect()
    }

    /// Reads them from there.
    pub fn from_wide(row: &impl WideRow) -> deserialize::Result<Self> {
        let mut texts = [const { None }; TextFact::COUNT];
        for (text, cell) in texts.iter_mut().zip(TEXT_CELLS) {
            *text = row.text(cell)?;
        }
        Ok(Self {
            call_id: present(row.id(Cell::Key0)?)?,
            status: row.word(Cell::Text10)?,
            started_at: present(row.time(Cell::Time0)?)?,
            ended_at: row.time(Cell::Time1)?,
            workflow_id: row.id(Cell::Key1)?,
            numbers: present(row.bytes(Cell::Bytes2)?)?,
            latencies: row.bytes(Self::LATENCIES)?.unwrap_or_default(),
            error_kinds: present(row.bytes(Cell::Bytes1)?)?,
            tags: present(row.bytes(Cell::Bytes3)?)?,
            texts,
        })
    }
}

/// The same of a call with all its columns, and how many of its errors the log has.
pub struct StoredCallRow(pub CallFactsRow, pub i32);

/// The calls of a tenant that have one of many ids.
pub struct ChosenCalls {
    /// The tenant.
    pub tenant: Id,
    /// The ids.
    pub keys: OneOf<CallKeys>,
}

impl Query for ChosenCalls {
    type SqlType = Untyped;
}

impl<Connection> diesel::RunQueryDsl<Connection> for ChosenCalls {}

impl QueryId for ChosenCalls {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

/// The columns of a [`StoredCallRow`], in their order.
pub fn call_columns() -> String {
    CALL_COLUMN_NAMES.join(", ")
}

impl QueryFragment<Pg> for ChosenCalls {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT found.* FROM ");
        self.keys.walk_source(out.reborrow())?;
        out.push_sql(&format!(" CROSS JOIN LATERAL (SELECT {} FROM calls WHERE tenant_id = ", call_columns()));
        out.push_bind_param::<Key, Id>(&self.tenant)?;
        // It changes no row, but keeps the planner from turning the two into another kind of join.
        out.push_sql(" AND calls.call_id = chosen.call_id OFFSET 0) AS found");
        Ok(())
    }
}

impl QueryFragment<Sqlite> for ChosenCalls {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_sql(&format!("SELECT {} FROM calls WHERE tenant_id = ", call_columns()));
        out.push_bind_param::<Key, Id>(&self.tenant)?;
        out.push_sql(" AND call_id IN (");
        self.keys.walk_list(out.reborrow())?;
        out.push_sql(")");
        Ok(())
    }
}

impl<DB> QueryableByName<DB> for StoredCallRow
where
    DB: Backend,
    i32: FromSql<Integer, DB>,
    Time: FromSql<Instant, DB>,
    Vec<u8>: FromSql<Binary, DB>,
    String: FromSql<Text, DB>,
    Word<CallStatus>: FromSql<Text, DB>,
    Id: FromSql<Key, DB>,
{
    fn build<'a>(row: &impl NamedRow<'a, DB>) -> deserialize::Result<Self> {
        let mut texts = [const { None }; TextFact::COUNT];
        for (at, text) in texts.iter_mut().enumerate() {
            *text = row.get_value::<Nullable<Text>, Option<String>, usize>(OWN + at)?;
        }
        let facts = CallFactsRow {
            call_id: row.get_value::<Key, Id, usize>(0)?,
            status: row.get_value::<Text, Word<CallStatus>, usize>(1)?,
            started_at: row.get_value::<Instant, Time, usize>(2)?,
            ended_at: row.get_value::<Nullable<Instant>, Option<Time>, usize>(3)?,
            workflow_id: row.get_value::<Nullable<Key>, Option<Id>, usize>(4)?,
            numbers: row.get_value::<Binary, Vec<u8>, usize>(5)?,
            latencies: row.get_value::<Binary, Vec<u8>, usize>(6)?,
            error_kinds: row.get_value::<Binary, Vec<u8>, usize>(7)?,
            tags: row.get_value::<Binary, Vec<u8>, usize>(8)?,
            texts,
        };
        Ok(Self(facts, row.get_value::<Integer, i32, usize>(9)?))
    }
}

impl TryFrom<CallFactsRow> for CallFacts {
    type Error = StoreError;

    fn try_from(row: CallFactsRow) -> Result<Self, StoreError> {
        let mut facts = Self::bare(row.call_id.into(), row.status.0, row.started_at.0);
        facts.ended_at = row.ended_at.map(|time| time.0);
        facts.workflow_id = row.workflow_id.map(Into::into);
        facts.numbers = decode_numbers(&row.numbers).map_err(damaged)?;
        facts.error_kinds = decode_kinds(&row.error_kinds).map_err(damaged)?;
        facts.tags = decode_tags(&row.tags).map_err(damaged)?;
        decode_latencies(&row.latencies, &mut facts).map_err(damaged)?;
        for (&fact, text) in TextFact::ALL.iter().zip(row.texts) {
            facts.texts.set(fact, text.map(Into::into));
        }
        Ok(facts)
    }
}
