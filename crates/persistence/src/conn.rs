//! One connection to either database. A Diesel query is a plain value until it runs; the methods here demand that it
//! be valid on both backends, and choose one at run time. So each query is written once.

use crate::errors::store_error;
use crate::lite::LiteManager;
use callscope_analytics::ports::StoreError;
use diesel::connection::{AnsiTransactionManager as LiteTransactions, TransactionManager as _};
use diesel::pg::Pg;
use diesel::query_dsl::methods as sync;
use diesel::result::QueryResult;
use diesel::sqlite::SqliteConnection;
use diesel_async::methods::{ExecuteDsl, LoadQuery};
use diesel_async::pooled_connection::AsyncDieselConnectionManager;
use diesel_async::{AnsiTransactionManager as PgTransactions, AsyncPgConnection, TransactionManager};
use futures_util::TryStreamExt;

/// Opens connections to PostgreSQL for a pool.
pub type PgManager = AsyncDieselConnectionManager<AsyncPgConnection>;

/// A statement that is valid on both databases.
pub trait Statement: ExecuteDsl<AsyncPgConnection> + sync::ExecuteDsl<SqliteConnection> + Send + 'static {}
impl<T> Statement for T where T: ExecuteDsl<AsyncPgConnection> + sync::ExecuteDsl<SqliteConnection> + Send + 'static {}

/// A query for rows of `U` that is valid on both databases.
pub trait Query<U>:
    LoadQuery<'static, AsyncPgConnection, U> + for<'c> sync::LoadQuery<'c, SqliteConnection, U> + Send + 'static
{
}
impl<T, U> Query<U> for T where
    T: LoadQuery<'static, AsyncPgConnection, U> + for<'c> sync::LoadQuery<'c, SqliteConnection, U> + Send + 'static
{
}

/// A connection lent by a pool.
#[expect(clippy::large_enum_variant, reason = "a request has one of these; a box would cost more than it saves")]
pub enum Conn {
    /// To PostgreSQL.
    Pg(bb8::PooledConnection<'static, PgManager>),
    /// To an SQLite file.
    Lite(bb8::PooledConnection<'static, LiteManager>),
}

/// What a transaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It sees one state of the database and changes nothing.
    Read,
    /// It changes rows. On SQLite it is the only one that does.
    Write,
}

impl Conn {
    /// Runs a statement and gives the number of rows that it touched.
    pub async fn execute(&mut self, statement: impl Statement) -> Result<usize, StoreError> {
        let outcome = match self {
            Self::Pg(conn) => ExecuteDsl::execute(statement, &mut **conn).await,
            Self::Lite(conn) => conn.with(|conn| sync::ExecuteDsl::execute(statement, conn)).await,
        };
        outcome.map_err(store_error)
    }

    /// Runs a query and gives all its rows; the caller bounds how many there can be.
    pub async fn load<U: Send + 'static>(&mut self, query: impl Query<U>) -> Result<Vec<U>, StoreError> {
        let outcome: QueryResult<Vec<U>> = match self {
            Self::Pg(conn) => match LoadQuery::internal_load(query, &mut **conn).await {
                Ok(rows) => rows.try_collect().await,
                Err(error) => Err(error),
            },
            Self::Lite(conn) => conn.with(|conn| sync::LoadQuery::internal_load(query, conn)?.collect()).await,
        };
        outcome.map_err(store_error)
    }

    /// Begins a transaction. Until [`Self::commit`], dropping the connection rolls it back: the pool closes a
    /// connection that comes back with an open transaction.
    pub async fn begin(&mut self, access: Access) -> Result<(), StoreError> {
        let outcome = match self {
            Self::Pg(conn) => {
                let begin = match access {
                    Access::Read => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
                    Access::Write => "BEGIN",
                };
                PgTransactions::begin_transaction_sql(&mut **conn, begin).await
            }
            Self::Lite(conn) => match access {
                Access::Read => conn.begin_read(),
                Access::Write => {
                    conn.with(|conn| LiteTransactions::begin_transaction_sql(conn, "BEGIN IMMEDIATE")).await
                }
            },
        };
        outcome.map_err(store_error)
    }

    /// Ends a transaction; what it changed is durable when this returns.
    pub async fn commit(&mut self) -> Result<(), StoreError> {
        let outcome = match self {
            Self::Pg(conn) => PgTransactions::commit_transaction(&mut **conn).await,
            Self::Lite(conn) => {
                conn.with(|conn: &mut SqliteConnection| LiteTransactions::commit_transaction(conn)).await
            }
        };
        outcome.map_err(store_error)
    }
}

/// The columns of a row type, as a selection that is valid on both backends.
pub fn columns<Row: diesel::Selectable<Pg>>() -> Row::SelectExpression {
    Row::construct_selection()
}
