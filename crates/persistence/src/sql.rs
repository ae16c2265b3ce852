//! SQL types that are native on each side, and the newtypes that read and write them.
//!
//! Newtypes, because a foreign trait cannot be implemented for a domain type here.

use callscope_domain::{CallId, KeyId, TenantId, Timestamp, WorkflowId};
use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::pg::data_types::PgTimestamp;
use diesel::pg::{Pg, PgValue};
use diesel::query_builder::QueryId;
use diesel::serialize::{self, IsNull, Output, ToSql};
use diesel::sql_types::{self, SqlType, Text, Timestamptz};
use diesel::sqlite::Sqlite;
use std::io::Write;
use uuid::Uuid;

/// `timestamptz`, or microseconds since the Unix epoch as an INTEGER.
#[derive(SqlType, QueryId, Clone, Copy, Debug)]
#[diesel(postgres_type(oid = 1184, array_oid = 1185), sqlite_type(name = "Long"))]
pub struct Instant;

/// `uuid`, or its 16 bytes as a BLOB.
#[derive(SqlType, QueryId, Clone, Copy, Debug)]
#[diesel(postgres_type(oid = 2950, array_oid = 2951), sqlite_type(name = "Binary"))]
pub struct Key;

impl sql_types::SqlOrd for Instant {}

/// A UUID in a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, AsExpression, FromSqlRow)]
#[diesel(sql_type = Key)]
pub struct Id(pub Uuid);

/// An instant in a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, AsExpression, FromSqlRow)]
#[diesel(sql_type = Instant)]
pub struct Time(pub Timestamp);

/// A value of an enumeration, stored as its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, AsExpression, FromSqlRow)]
#[diesel(sql_type = Text)]
pub struct Word<T>(pub T);

/// An enumeration that is stored as words.
pub trait Vocabulary: Copy + std::fmt::Debug + std::str::FromStr + 'static {
    /// The stored word.
    fn word(self) -> &'static str;
}

macro_rules! vocabularies {
    ($($name:ident),+) => {$(
        impl Vocabulary for callscope_domain::$name {
            fn word(self) -> &'static str {
                self.as_str()
            }
        }
    )+};
}
vocabularies!(CallStatus, EventKind, KeyAction, Level, Scope, Service);

macro_rules! id_conversions {
    ($($name:ident),+) => {$(
        impl From<$name> for Id {
            fn from(id: $name) -> Self {
                Self(id.0)
            }
        }

        impl From<Id> for $name {
            fn from(id: Id) -> Self {
                Self(id.0)
            }
        }
    )+};
}
id_conversions!(CallId, KeyId, TenantId, WorkflowId);

impl From<Timestamp> for Time {
    fn from(instant: Timestamp) -> Self {
        Self(instant)
    }
}

impl ToSql<Key, Pg> for Id {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        out.write_all(self.0.as_bytes())?;
        Ok(IsNull::No)
    }
}

impl FromSql<Key, Pg> for Id {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        Ok(Self(Uuid::from_slice(value.as_bytes())?))
    }
}

impl ToSql<Key, Sqlite> for Id {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        out.set_value(self.0.as_bytes().as_slice());
        Ok(IsNull::No)
    }
}

impl FromSql<Key, Sqlite> for Id {
    fn from_sql(value: <Sqlite as Backend>::RawValue<'_>) -> deserialize::Result<Self> {
        let bytes = <Vec<u8> as FromSql<sql_types::Binary, Sqlite>>::from_sql(value)?;
        Ok(Self(Uuid::from_slice(&bytes)?))
    }
}

/// 2000-01-01T00:00:00Z, from which PostgreSQL counts.
const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;

impl ToSql<Instant, Pg> for Time {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        let since_2000 = PgTimestamp(self.0.as_micros() - POSTGRES_EPOCH_US);
        ToSql::<Timestamptz, Pg>::to_sql(&since_2000, &mut out.reborrow())
    }
}

impl FromSql<Instant, Pg> for Time {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        let PgTimestamp(since_2000) = FromSql::<Timestamptz, Pg>::from_sql(value)?;
        Ok(Self(Timestamp::from_micros(since_2000 + POSTGRES_EPOCH_US)))
    }
}

impl ToSql<Instant, Sqlite> for Time {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        out.set_value(self.0.as_micros());
        Ok(IsNull::No)
    }
}

impl FromSql<Instant, Sqlite> for Time {
    fn from_sql(value: <Sqlite as Backend>::RawValue<'_>) -> deserialize::Result<Self> {
        let micros = <i64 as FromSql<sql_types::BigInt, Sqlite>>::from_sql(value)?;
        Ok(Self(Timestamp::from_micros(micros)))
    }
}

impl<T: Vocabulary> ToSql<Text, Pg> for Word<T> {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        out.write_all(self.0.word().as_bytes())?;
        Ok(IsNull::No)
    }
}

impl<T: Vocabulary> ToSql<Text, Sqlite> for Word<T> {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        out.set_value(self.0.word());
        Ok(IsNull::No)
    }
}

impl<T: Vocabulary> FromSql<Text, Pg> for Word<T> {
    fn from_sql(value: PgValue<'_>) -> deserialize::Result<Self> {
        word(std::str::from_utf8(value.as_bytes())?)
    }
}

impl<T: Vocabulary> FromSql<Text, Sqlite> for Word<T> {
    fn from_sql(value: <Sqlite as Backend>::RawValue<'_>) -> deserialize::Result<Self> {
        word(&<String as FromSql<Text, Sqlite>>::from_sql(value)?)
    }
}

fn word<T: Vocabulary>(text: &str) -> deserialize::Result<Word<T>> {
    text.parse().map(Word).map_err(|_| format!("unknown word {text:?}").into())
}
