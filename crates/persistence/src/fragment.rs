//! Pieces of queries that Diesel has not, valid on both backends.

use crate::schema::calls;
use callscope_domain::CallStatus;
use diesel::backend::Backend;
use diesel::expression::{AppearsOnTable, Expression, SelectableExpression, ValidGrouping, is_aggregate};
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
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
    /// The columns.
    fn columns(&self) -> &'static [&'static str];

    /// Writes what stands in PostgreSQL's FROM, with a name for itself and its columns.
    fn walk_source<'b>(&'b self, out: AstPass<'_, 'b, Pg>) -> QueryResult<()>;

    /// Writes what stands between the parentheses of SQLite's IN.
    fn walk_list<'b>(&'b self, out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()>;
}

/// What PostgreSQL's source of keys is called.
pub const CHOSEN: &str = "chosen";

/// A condition: that some columns of a row are one of many keys. Only inside of [`ForEach`] with the same keys.
#[derive(Clone, Debug)]
pub struct IsChosen<K>(pub K);

impl<K> Expression for IsChosen<K> {
    type SqlType = Bool;
}

impl<K, Source> AppearsOnTable<Source> for IsChosen<K> {}
impl<K, Source> SelectableExpression<Source> for IsChosen<K> {}

impl<K, GroupBy> ValidGrouping<GroupBy> for IsChosen<K> {
    type IsAggregate = is_aggregate::Never;
}

impl<K> QueryId for IsChosen<K> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<K: Keys> QueryFragment<Pg> for IsChosen<K> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let equal = |column: &&str| format!("{column} = {CHOSEN}.{column}");
        out.push_sql(&self.0.columns().iter().map(equal).collect::<Vec<_>>().join(" AND "));
        Ok(())
    }
}

impl<K: Keys> QueryFragment<Sqlite> for IsChosen<K> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_sql(&format!("({}) IN (", self.0.columns().join(", ")));
        self.0.walk_list(out.reborrow())?;
        out.push_sql(")");
        Ok(())
    }
}

/// A query for the rows of many keys, which it names with [`IsChosen`]. On PostgreSQL each key is looked up in the
/// index on its own, which is what a planner that has no statistics yet would not do by itself; SQLite does.
#[derive(Debug)]
pub struct ForEach<K, Q>(pub K, pub Q);

impl<K, Q: Query> Query for ForEach<K, Q> {
    type SqlType = Q::SqlType;
}

impl<K, Q, Connection> diesel::RunQueryDsl<Connection> for ForEach<K, Q> {}

impl<K, Q> QueryId for ForEach<K, Q> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<K: Keys, Q: QueryFragment<Pg>> QueryFragment<Pg> for ForEach<K, Q> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT found.* FROM ");
        self.0.walk_source(out.reborrow())?;
        out.push_sql(" CROSS JOIN LATERAL (");
        self.1.walk_ast(out.reborrow())?;
        // It changes no row, but keeps the planner from turning the two into another kind of join.
        out.push_sql(" OFFSET 0) AS found");
        Ok(())
    }
}

impl<K: Keys, Q: QueryFragment<Sqlite>> QueryFragment<Sqlite> for ForEach<K, Q> {
    fn walk_ast<'b>(&'b self, out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        self.1.walk_ast(out)
    }
}
