//! One connection to either database. A Diesel query is a plain value until it runs; the methods here demand that it
//! be valid on both backends, and choose one at run time. So each query is written once.

use crate::bulk::{Columns, Insert, Target};
use crate::errors::{store_error, unavailable};
use crate::lite::LiteManager;
use crate::pg::{CHANNEL, PgManager};
use callscope_analytics::ports::StoreError;
use callscope_domain::TenantId;
use diesel::IntoSql;
use diesel::connection::{AnsiTransactionManager as LiteTransactions, TransactionManager as _};
use diesel::dsl::sql;
use diesel::pg::Pg;
use diesel::query_dsl::methods as sync;
use diesel::sql_types::{Integer, Text};
use diesel::sqlite::SqliteConnection;
use diesel_async::methods::{ExecuteDsl, LoadQuery};
use diesel_async::{AnsiTransactionManager as PgTransactions, AsyncPgConnection, RunQueryDsl, TransactionManager};
use futures_util::TryStreamExt;

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

/// "on" where nothing can be changed.
const READ_ONLY: &str = "current_setting('transaction_read_only')";

/// The main database is a replica, or was made read-only.
#[derive(Debug, thiserror::Error)]
#[error("the database of database.url is read-only; it may be a replica that was not promoted yet")]
struct ReadOnly;

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
        match self {
            Self::Pg(conn) => conn.with(async |conn| ExecuteDsl::execute(statement, conn).await).await,
            Self::Lite(conn) => conn.with(|conn| sync::ExecuteDsl::execute(statement, conn)).await.map_err(store_error),
        }
    }

    /// Puts rows of a tenant into a table.
    pub async fn insert<C: Columns>(&mut self, target: Target, tenant: TenantId, columns: C) -> Result<(), StoreError> {
        for statement in Insert::statements(target, tenant.into(), columns, self.is_embedded()) {
            self.execute(statement).await?;
        }
        Ok(())
    }

    /// Whether the database is a file.
    pub const fn is_embedded(&self) -> bool {
        matches!(self, Self::Lite(_))
    }

    /// Runs a query and gives all its rows; the caller bounds how many there can be.
    pub async fn load<U: Send + 'static>(&mut self, query: impl Query<U>) -> Result<Vec<U>, StoreError> {
        match self {
            Self::Pg(conn) => {
                conn.with(async |conn| LoadQuery::internal_load(query, conn).await?.try_collect().await).await
            }
            Self::Lite(conn) => {
                let rows = conn.with(|conn| sync::LoadQuery::internal_load(query, conn)?.collect()).await;
                rows.map_err(store_error)
            }
        }
    }

    /// Succeeds when the database answers.
    pub async fn check(&mut self) -> Result<(), StoreError> {
        self.load::<i32>(diesel::select(1_i32.into_sql::<Integer>())).await.map(drop)
    }

    /// Succeeds when the database answers and takes changes; a replica does not.
    pub async fn check_writable(&mut self) -> Result<(), StoreError> {
        if self.is_embedded() {
            return self.check().await;
        }
        let read_only: Vec<String> = self.load(diesel::select(sql::<Text>(READ_ONLY))).await?;
        if read_only.iter().any(|setting| setting == "on") { Err(unavailable(ReadOnly)) } else { Ok(()) }
    }

    /// Tells the listeners of every process that is connected to the same server; nobody on SQLite.
    pub async fn notify(&mut self, payload: String) -> Result<(), StoreError> {
        match self {
            Self::Pg(conn) => {
                let notify =
                    diesel::sql_query("SELECT pg_notify($1, $2)").bind::<Text, _>(CHANNEL).bind::<Text, _>(payload);
                conn.with(async |conn| RunQueryDsl::execute(notify, conn).await).await.map(drop)
            }
            Self::Lite(_) => Ok(()),
        }
    }

    /// Begins a transaction. Until [`Self::commit`], dropping the connection rolls it back: the pool closes a
    /// connection that comes back with an open transaction.
    pub async fn begin(&mut self, access: Access) -> Result<(), StoreError> {
        match self {
            Self::Pg(conn) => {
                let begin = match access {
                    Access::Read => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
                    Access::Write => "BEGIN",
                };
                conn.with(async |conn| PgTransactions::begin_transaction_sql(conn, begin).await).await
            }
            Self::Lite(conn) => {
                let begin = match access {
                    Access::Read => "BEGIN",
                    Access::Write => "BEGIN IMMEDIATE",
                };
                conn.with(|conn| LiteTransactions::begin_transaction_sql(conn, begin)).await.map_err(store_error)
            }
        }
    }

    /// Ends a transaction; what it changed is durable when this returns.
    pub async fn commit(&mut self) -> Result<(), StoreError> {
        match self {
            Self::Pg(conn) => conn.with(async |conn| PgTransactions::commit_transaction(conn).await).await,
            Self::Lite(conn) => {
                let committed = conn.with(|conn: &mut SqliteConnection| LiteTransactions::commit_transaction(conn));
                committed.await.map_err(store_error)
            }
        }
    }
}

/// The columns of a row type, as a selection that is valid on both backends.
pub fn columns<Row: diesel::Selectable<Pg>>() -> Row::SelectExpression {
    Row::construct_selection()
}
