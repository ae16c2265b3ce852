//! Pieces of queries that Diesel has not, valid on both backends.

use crate::schema::calls;
use callscope_domain::CallStatus;
use diesel::backend::Backend;
use diesel::expression::{AppearsOnTable, Expression, SelectableExpression, ValidGrouping, is_aggregate};
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::result::QueryResult;
use diesel::sql_types::Bool;
use diesel::sqlite::Sqlite;

/// A condition: that a call is active. The word is a part of the statement and not a parameter, or no plan that holds
/// for every parameter could use the partial indexes of active calls.
#[derive(Clone, Copy, Debug, QueryId)]
pub struct IsActive;

impl Expression for IsActive {
    type SqlType = Bool;
}

impl AppearsOnTable<calls::table> for IsActive {}
impl SelectableExpression<calls::table> for IsActive {}

impl<GroupBy> ValidGrouping<GroupBy> for IsActive {
    type IsAggregate = is_aggregate::Never;
}

impl<DB: Backend> QueryFragment<DB> for IsActive {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        out.push_identifier("calls")?;
        out.push_sql(".");
        out.push_identifier("status")?;
        out.push_sql(" = '");
        out.push_sql(CallStatus::Active.as_str());
        out.push_sql("'");
        Ok(())
    }
}

/// Keys whose rows are looked for: some columns, and where their values come from.
pub trait Keys: Send + 'static {
    /// Writes what stands in PostgreSQL's FROM, with a name for itself and its columns.
    fn walk_source<'b>(&'b self, out: AstPass<'_, 'b, Pg>) -> QueryResult<()>;

    /// Writes what stands between the parentheses of SQLite's IN.
    fn walk_list<'b>(&'b self, out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()>;
}

/// What PostgreSQL's source of keys is called.
pub const CHOSEN: &str = "chosen";
