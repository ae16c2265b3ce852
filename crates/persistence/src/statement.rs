//! SQL as text with parameters, for statements whose columns follow from tables of the domain. A statement is a plain
//! value that both databases can run; where they speak differently, it knows both ways.

use crate::sql::{Id, Instant, Key, Time};
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::QueryResult;
use diesel::sql_types::{BigInt, Integer, SmallInt, Text, Untyped};
use diesel::sqlite::Sqlite;
use std::borrow::Cow;

/// A statement, or a part of one.
#[derive(Clone, Debug, Default)]
pub struct Statement {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug)]
enum Piece {
    Sql(Cow<'static, str>),
    /// A part for one database alone.
    OfPg(Vec<Piece>),
    OfSqlite(Vec<Piece>),
    Id(Id),
    Time(Time),
    Code(i16),
    Integer(i32),
    BigInt(i64),
    Text(Box<str>),
}

impl Statement {
    /// Adds SQL that both databases understand.
    pub fn push(&mut self, sql: impl Into<Cow<'static, str>>) -> &mut Self {
        self.pieces.push(Piece::Sql(sql.into()));
        self
    }

    /// Adds SQL that each database has a way of its own for.
    pub fn push_either(&mut self, of_pg: &'static str, of_sqlite: &'static str) -> &mut Self {
        self.pieces.push(Piece::OfPg(vec![Piece::Sql(of_pg.into())]));
        self.pieces.push(Piece::OfSqlite(vec![Piece::Sql(of_sqlite.into())]));
        self
    }

    /// Adds an id as a parameter.
    pub fn bind_id(&mut self, id: Id) -> &mut Self {
        self.pieces.push(Piece::Id(id));
        self
    }

    /// Adds an instant as a parameter.
    pub fn bind_time(&mut self, time: Time) -> &mut Self {
        self.pieces.push(Piece::Time(time));
        self
    }

    /// Adds a code as a parameter.
    pub fn bind_code(&mut self, code: i16) -> &mut Self {
        self.pieces.push(Piece::Code(code));
        self
    }

    /// Adds a number as a parameter.
    pub fn bind_integer(&mut self, number: i32) -> &mut Self {
        self.pieces.push(Piece::Integer(number));
        self
    }

    /// Adds a large number as a parameter.
    pub fn bind_bigint(&mut self, number: i64) -> &mut Self {
        self.pieces.push(Piece::BigInt(number));
        self
    }

    /// Adds a text as a parameter.
    pub fn bind_text(&mut self, text: impl Into<Box<str>>) -> &mut Self {
        self.pieces.push(Piece::Text(text.into()));
        self
    }

    /// The same for PostgreSQL, and nothing for SQLite.
    pub fn only_on_pg(&self) -> Self {
        Self { pieces: vec![Piece::OfPg(self.pieces.clone())] }
    }

    /// The same for SQLite, and nothing for PostgreSQL.
    pub fn only_on_sqlite(&self) -> Self {
        Self { pieces: vec![Piece::OfSqlite(self.pieces.clone())] }
    }

    /// Adds another statement, as a part.
    pub fn append(&mut self, part: &Self) -> &mut Self {
        self.pieces.extend_from_slice(&part.pieces);
        self
    }
}

impl Query for Statement {
    type SqlType = Untyped;
}

impl<Connection> diesel::RunQueryDsl<Connection> for Statement {}

impl QueryId for Statement {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

macro_rules! fragment {
    ($backend:ty, $own:ident, $other:ident) => {
        impl QueryFragment<$backend> for Piece {
            fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, $backend>) -> QueryResult<()> {
                match self {
                    Self::Sql(sql) => out.push_sql(sql),
                    Self::$own(pieces) => {
                        for piece in pieces {
                            piece.walk_ast(out.reborrow())?;
                        }
                    }
                    Self::$other(_) => {}
                    Self::Id(id) => out.push_bind_param::<Key, Id>(id)?,
                    Self::Time(time) => out.push_bind_param::<Instant, Time>(time)?,
                    Self::Code(code) => out.push_bind_param::<SmallInt, i16>(code)?,
                    Self::Integer(number) => out.push_bind_param::<Integer, i32>(number)?,
                    Self::BigInt(number) => out.push_bind_param::<BigInt, i64>(number)?,
                    Self::Text(text) => out.push_bind_param::<Text, str>(text)?,
                }
                Ok(())
            }
        }

        impl QueryFragment<$backend> for Statement {
            fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, $backend>) -> QueryResult<()> {
                for piece in &self.pieces {
                    piece.walk_ast(out.reborrow())?;
                }
                Ok(())
            }
        }
    };
}
fragment!(Pg, OfPg, OfSqlite);
fragment!(Sqlite, OfSqlite, OfPg);
