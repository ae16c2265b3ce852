//! Pieces of queries that Diesel has not, valid on both backends.

use crate::schema::calls;
use crate::sql::{Instant, Key};
use callscope_domain::CallStatus;
use diesel::backend::Backend;
use diesel::expression::{AppearsOnTable, Expression, SelectableExpression, ValidGrouping, is_aggregate};
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::QueryResult;
use diesel::sql_types::{BigInt, Binary, Bool, Integer, IntoNullable, Nullable, SqlType, Text};
use diesel::sqlite::Sqlite;

/// A condition that may be absent. Boxing the query would tie it to one backend.
#[derive(Clone, Debug)]
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

/// A condition that narrows rows already found: that a column is among the rows of a query, which runs once.
#[derive(Clone, Debug)]
pub struct IsIn<C, Q>(pub C, pub Q);

impl<C, Q> Expression for IsIn<C, Q> {
    type SqlType = Bool;
}

impl<C: AppearsOnTable<Source>, Q, Source> AppearsOnTable<Source> for IsIn<C, Q> {}
impl<C: SelectableExpression<Source>, Q, Source> SelectableExpression<Source> for IsIn<C, Q> {}

impl<C, Q, GroupBy> ValidGrouping<GroupBy> for IsIn<C, Q> {
    type IsAggregate = is_aggregate::Never;
}

impl<C, Q> QueryId for IsIn<C, Q> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<C: QueryFragment<Pg>, Q: QueryFragment<Pg>> QueryFragment<Pg> for IsIn<C, Q> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        self.0.walk_ast(out.reborrow())?;
        out.push_sql(" = ANY (ARRAY (");
        self.1.walk_ast(out.reborrow())?;
        out.push_sql("))");
        Ok(())
    }
}

impl<C: QueryFragment<Sqlite>, Q: QueryFragment<Sqlite>> QueryFragment<Sqlite> for IsIn<C, Q> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        self.0.walk_ast(out.reborrow())?;
        out.push_sql(" IN (");
        self.1.walk_ast(out.reborrow())?;
        out.push_sql(")");
        Ok(())
    }
}

/// The sum of a column of whole numbers, as such a number: PostgreSQL's own is a decimal. NULL where there are no rows.
#[derive(Clone, Copy, Debug, QueryId)]
pub struct Sum<C>(pub C);

impl<C> Expression for Sum<C> {
    type SqlType = BigInt;
}

impl<C: AppearsOnTable<Source>, Source> AppearsOnTable<Source> for Sum<C> {}
impl<C: SelectableExpression<Source>, Source> SelectableExpression<Source> for Sum<C> {}

impl<C, GroupBy> ValidGrouping<GroupBy> for Sum<C> {
    type IsAggregate = is_aggregate::Yes;
}

impl<C: QueryFragment<DB>, DB: Backend> QueryFragment<DB> for Sum<C> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        out.push_sql("CAST(SUM(");
        self.0.walk_ast(out.reborrow())?;
        out.push_sql(") AS bigint)");
        Ok(())
    }
}

/// One of two queries of the same columns, chosen when the statement is built.
#[derive(Clone, Debug)]
pub enum Either<L, R> {
    /// The first.
    Left(L),
    /// The second.
    Right(R),
}

impl<L: Query, R: Query<SqlType = L::SqlType>> Query for Either<L, R> {
    type SqlType = L::SqlType;
}

impl<L, R> QueryId for Either<L, R> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<L: QueryFragment<DB>, R: QueryFragment<DB>, DB: Backend> QueryFragment<DB> for Either<L, R> {
    fn walk_ast<'b>(&'b self, out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        match self {
            Self::Left(query) => query.walk_ast(out),
            Self::Right(query) => query.walk_ast(out),
        }
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

/// The rows of a query, as keys.
#[derive(Clone, Debug)]
pub struct RowsOf<Q> {
    /// The columns that the query gives.
    pub columns: &'static [&'static str],
    /// The query.
    pub query: Q,
}

impl<Q: QueryFragment<Pg> + QueryFragment<Sqlite> + Send + 'static> Keys for RowsOf<Q> {
    fn columns(&self) -> &'static [&'static str] {
        self.columns
    }

    fn walk_source<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("(");
        self.query.walk_ast(out.reborrow())?;
        out.push_sql(&format!(") AS {CHOSEN}"));
        Ok(())
    }

    fn walk_list<'b>(&'b self, out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        self.query.walk_ast(out)
    }
}

/// Queries of several shapes as one statement: one round trip, and one state of the database. Each group holds queries
/// of one shape, and each row belongs to one group: it is NULL in the columns of all others. A group may be empty, but
/// not all of them.
#[derive(Debug)]
pub struct Mixed<Groups>(pub Groups);

/// A query that is valid on both databases, as a part of a larger one.
pub trait Part: Query + QueryFragment<Pg> + QueryFragment<Sqlite> + Send + 'static {}
impl<Q> Part for Q where Q: Query + QueryFragment<Pg> + QueryFragment<Sqlite> + Send + 'static {}

/// How PostgreSQL calls the types of the columns of a query.
pub trait ColumnTypes {
    /// One name a column.
    const NAMES: &'static [&'static str];
}

/// How PostgreSQL calls a type.
pub trait TypeName {
    /// The name.
    const NAME: &'static str;
}

macro_rules! type_names {
    ($($sql:ty: $name:literal),+ $(,)?) => {$(
        impl TypeName for $sql {
            const NAME: &'static str = $name;
        }
    )+};
}
type_names!(Instant: "timestamptz", Key: "uuid", Text: "text", BigInt: "int8", Integer: "int4", Binary: "bytea");

impl<T: TypeName + SqlType> TypeName for Nullable<T> {
    const NAME: &'static str = T::NAME;
}

macro_rules! column_types {
    ($($column:ident)+) => {
        impl<$($column: TypeName),+> ColumnTypes for ($($column,)+) {
            const NAMES: &'static [&'static str] = &[$($column::NAME),+];
        }
    };
}
column_types!(A);
column_types!(A B);
column_types!(A B C);
column_types!(A B C D);
column_types!(A B C D E F);
column_types!(A B C D E F G H);
column_types!(A B C D E F G H I J K L M N);

/// A backend, as far as a NULL is concerned.
pub trait TypedNull {
    /// Whether a NULL in the first part of a UNION needs a type.
    const NEEDS_TYPE: bool;
}

impl TypedNull for Pg {
    const NEEDS_TYPE: bool = true;
}

impl TypedNull for Sqlite {
    const NEEDS_TYPE: bool = false;
}

macro_rules! mixed {
    ($($group:ident $index:tt),+) => {
        impl<$($group: Query),+> Query for Mixed<($(Vec<$group>,)+)>
        where
            $($group::SqlType: IntoNullable,)+
        {
            type SqlType = ($(<$group::SqlType as IntoNullable>::Nullable,)+);
        }

        impl<$($group,)+ Connection> diesel::RunQueryDsl<Connection> for Mixed<($(Vec<$group>,)+)> {}

        impl<$($group),+> QueryId for Mixed<($(Vec<$group>,)+)> {
            type QueryId = ();
            const HAS_STATIC_QUERY_ID: bool = false;
        }

        impl<$($group,)+ DB> QueryFragment<DB> for Mixed<($(Vec<$group>,)+)>
        where
            DB: Backend + TypedNull,
            $($group: Query + QueryFragment<DB>, $group::SqlType: ColumnTypes,)+
        {
            fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, DB>) -> QueryResult<()> {
                let groups = [$(<$group::SqlType as ColumnTypes>::NAMES),+];
                let mut is_first = true;
                $(
                    for query in &self.0.$index {
                        out.push_sql(if is_first { "SELECT " } else { " UNION ALL SELECT " });
                        is_first = false;
                        push_columns($index, &groups, DB::NEEDS_TYPE, &mut |sql| out.push_sql(sql));
                        out.push_sql(" FROM (");
                        query.walk_ast(out.reborrow())?;
                        out.push_sql(") AS part");
                    }
                )+
                Ok(())
            }
        }
    };
}
mixed!(A 0, B 1, C 2);
mixed!(A 0, B 1, C 2, D 3);

/// Writes the columns of one group's part, and NULL for each column of the others.
fn push_columns(own: usize, groups: &[&[&str]], needs_type: bool, push: &mut dyn FnMut(&str)) {
    for (index, types) in groups.iter().enumerate() {
        if index > 0 {
            push(", ");
        }
        if index == own {
            push("part.*");
            continue;
        }
        for (index, name) in types.iter().enumerate() {
            push(if index > 0 { ", NULL" } else { "NULL" });
            if needs_type {
                push("::");
                push(name);
            }
        }
    }
}
