//! Pieces of queries that Diesel has not, valid on both backends.

use diesel::backend::Backend;
use diesel::expression::{AppearsOnTable, Expression, SelectableExpression, ValidGrouping, is_aggregate};
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::QueryResult;
use diesel::sql_types::Bool;

/// A condition that may be absent. Boxing the query would tie it to one backend.
#[derive(Debug)]
pub struct Maybe<C>(Option<C>);

/// The condition, or one that always holds.
pub const fn maybe<C>(condition: Option<C>) -> Maybe<C> {
    Maybe(condition)
}

impl<C> Expression for Maybe<C> {
    type SqlType = Bool;
}

impl<C, Source> AppearsOnTable<Source> for Maybe<C> where C: AppearsOnTable<Source> {}
impl<C, Source> SelectableExpression<Source> for Maybe<C> where C: SelectableExpression<Source> {}

impl<C, GroupBy> ValidGrouping<GroupBy> for Maybe<C> {
    type IsAggregate = is_aggregate::Never;
}

impl<C> QueryId for Maybe<C> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<C: QueryFragment<DB>, DB: Backend> QueryFragment<DB> for Maybe<C> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        match &self.0 {
            None => out.push_sql("1 = 1"),
            Some(condition) => {
                out.push_sql("(");
                condition.walk_ast(out.reborrow())?;
                out.push_sql(")");
            }
        }
        Ok(())
    }
}

/// Queries of one shape, joined by UNION ALL: one round trip, and each part reads its own range of an index. There
/// must be at least one, and none may have an ORDER BY or a LIMIT.
#[derive(Debug)]
pub struct UnionAll<Q>(pub Vec<Q>);

impl<Q: Query> Query for UnionAll<Q> {
    type SqlType = Q::SqlType;
}

impl<Q, C> diesel::RunQueryDsl<C> for UnionAll<Q> {}

impl<Q> QueryId for UnionAll<Q> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<Q: QueryFragment<DB>, DB: Backend> QueryFragment<DB> for UnionAll<Q> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        for (index, query) in self.0.iter().enumerate() {
            if index > 0 {
                out.push_sql(" UNION ALL ");
            }
            query.walk_ast(out.reborrow())?;
        }
        Ok(())
    }
}
