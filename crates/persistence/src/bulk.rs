//! Rows that go into a table many at a time: one statement, written once for both databases.
//!
//! PostgreSQL gets each column as one array and unfolds them, so that a statement has the same text and the same few
//! parameters for one row and for fifty thousand. SQLite gets a list of VALUES.

use crate::fragment::{CHOSEN, Keys};
use crate::sql::{Id, Key};
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::result::QueryResult;
use diesel::sqlite::Sqlite;
use std::ops::Range;
use std::sync::Arc;

/// Parameters that a statement of SQLite may have.
const LITE_PARAMETERS_MAX: usize = 32_766;
/// Rows of one SQLite statement, where its parameters do not demand fewer: enough to make its cost small.
const LITE_ROWS_MAX: usize = 1000;
/// Rows of one PostgreSQL statement that adds nothing up: some hundredths of a second of work
/// for the thread that encodes them, on which other connections wait meanwhile.
const PG_ROWS_MAX: usize = 4000;

/// Rows of one tenant, column by column; `columns!` makes them.
pub trait Columns: Send + Sync + 'static {
    /// The columns beside `tenant_id`.
    const NAMES: &'static [&'static str];

    /// The number of rows.
    fn len(&self) -> usize;

    /// The columns that a statement for some rows has to name; others are left to their defaults.
    fn used(&self, _rows: &Range<usize>) -> Used {
        Used::ALL
    }

    /// Binds some rows of each column that is used as an array.
    fn bind_arrays<'b>(&'b self, rows: Range<usize>, used: Used, out: AstPass<'_, 'b, Pg>) -> QueryResult<()>;

    /// Binds the values of one row that are used, separated by commas.
    fn bind_row<'b>(&'b self, row: usize, used: Used, out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()>;
}

/// Some of the columns of a table, by their positions: at most 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used(u64);

impl Used {
    /// All of them.
    pub const ALL: Self = Self(u64::MAX);

    /// The columns at some positions.
    pub fn at(positions: impl IntoIterator<Item = usize>) -> Self {
        Self(positions.into_iter().fold(0, |used, position| used | 1 << position))
    }

    /// Whether a column is one of them.
    pub const fn has(self, position: usize) -> bool {
        self.0 >> position & 1 == 1
    }

    /// The names of them.
    fn names(self, all: &[&'static str]) -> Vec<&'static str> {
        let named = all.iter().enumerate().filter(|(position, _)| self.has(*position));
        named.map(|(_, name)| *name).collect()
    }
}

/// Makes a struct of columns, and the way to add a row: `push` takes a tuple of the values in the order of the fields.
macro_rules! columns {
    ($(#[$meta:meta])* $name:ident { $($column:ident: $rust:ty as $sql:ty),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Default)]
        pub struct $name {
            $($column: Vec<$rust>,)+
        }

        impl $name {
            /// Adds a row.
            pub fn push(&mut self, ($($column,)+): ($($rust,)+)) {
                $(self.$column.push($column);)+
            }
        }

        impl $crate::bulk::Columns for $name {
            const NAMES: &'static [&'static str] = &[$(stringify!($column)),+];

            fn len(&self) -> usize {
                [$(self.$column.len()),+][0]
            }

            fn bind_arrays<'b>(
                &'b self,
                rows: std::ops::Range<usize>,
                _: $crate::bulk::Used,
                mut out: diesel::query_builder::AstPass<'_, 'b, diesel::pg::Pg>,
            ) -> diesel::result::QueryResult<()> {
                let mut separator = "";
                $(
                    out.push_sql(separator);
                    out.push_bind_param::<diesel::sql_types::Array<$sql>, [$rust]>(&self.$column[rows.clone()])?;
                    separator = ", ";
                )+
                let _ = separator;
                Ok(())
            }

            fn bind_row<'b>(
                &'b self,
                row: usize,
                _: $crate::bulk::Used,
                mut out: diesel::query_builder::AstPass<'_, 'b, diesel::sqlite::Sqlite>,
            ) -> diesel::result::QueryResult<()> {
                let mut separator = "";
                $(
                    out.push_sql(separator);
                    out.push_bind_param::<$sql, $rust>(&self.$column[row])?;
                    separator = ", ";
                )+
                let _ = separator;
                Ok(())
            }
        }
    };
}
pub(crate) use columns;

/// What a row does that meets one with its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnConflict {
    /// The statement fails.
    Fail,
    /// Its values take the place of the other's.
    Replace,
    /// Its values are added to the other's.
    Add,
}

/// Where rows go.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The table.
    pub table: &'static str,
    /// The columns of its key beside `tenant_id`.
    pub key: &'static [&'static str],
    /// What happens to a row that is there already.
    pub on_conflict: OnConflict,
}

/// Puts rows of one tenant into a table.
#[derive(Debug)]
pub struct Insert<C> {
    target: Target,
    tenant: Id,
    columns: Arc<C>,
    rows: Range<usize>,
    used: Used,
}

impl<C: Columns> Insert<C> {
    /// The statements for some rows: on SQLite as many as its parameters demand; on PostgreSQL few, and one for sums.
    pub fn statements(target: Target, tenant: Id, columns: C, is_embedded: bool) -> impl Iterator<Item = Self> {
        let count = columns.len();
        let rows_max = match target.on_conflict {
            _ if is_embedded => lite_rows_max::<C>(),
            OnConflict::Add => count,
            OnConflict::Fail | OnConflict::Replace => PG_ROWS_MAX,
        };
        let columns = Arc::new(columns);
        slices(count, rows_max).map(move |rows| {
            let used = columns.used(&rows);
            Self { target, tenant, columns: Arc::clone(&columns), rows, used }
        })
    }
}

/// Rows of one SQLite statement: each has its columns and the tenant.
fn lite_rows_max<C: Columns>() -> usize {
    (LITE_PARAMETERS_MAX / (C::NAMES.len() + 1)).min(LITE_ROWS_MAX)
}

/// The rows of each statement.
fn slices(count: usize, rows_max: usize) -> impl Iterator<Item = Range<usize>> {
    let step = rows_max.max(1);
    (0..count).step_by(step).map(move |start| start..count.min(start + step))
}

impl<C: 'static> QueryId for Insert<C> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<C, Conn> diesel::RunQueryDsl<Conn> for Insert<C> {}

impl<C: Columns> QueryFragment<Pg> for Insert<C> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let names = self.used.names(C::NAMES);
        push_insert(&self.target, &names, &mut |sql| out.push_sql(sql));
        out.push_sql(" SELECT ");
        out.push_bind_param::<Key, Id>(&self.tenant)?;
        out.push_sql(", * FROM unnest(");
        self.columns.bind_arrays(self.rows.clone(), self.used, out.reborrow())?;
        out.push_sql(")");
        push_conflict(&self.target, &names, &mut |sql| out.push_sql(sql));
        Ok(())
    }
}

impl<C: Columns> QueryFragment<Sqlite> for Insert<C> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        // Only full statements come again.
        if self.rows.len() < lite_rows_max::<C>() {
            out.unsafe_to_cache_prepared();
        }
        let names = self.used.names(C::NAMES);
        push_insert(&self.target, &names, &mut |sql| out.push_sql(sql));
        out.push_sql(" VALUES ");
        for row in self.rows.clone() {
            out.push_sql(if row == self.rows.start { "(" } else { ", (" });
            out.push_bind_param::<Key, Id>(&self.tenant)?;
            out.push_sql(", ");
            self.columns.bind_row(row, self.used, out.reborrow())?;
            out.push_sql(")");
        }
        push_conflict(&self.target, &names, &mut |sql| out.push_sql(sql));
        Ok(())
    }
}

fn push_insert(target: &Target, names: &[&str], push: &mut dyn FnMut(&str)) {
    push("INSERT INTO ");
    push(target.table);
    push(" (tenant_id");
    for name in names {
        push(", ");
        push(name);
    }
    push(")");
}

fn push_conflict(target: &Target, names: &[&str], push: &mut dyn FnMut(&str)) {
    if target.on_conflict == OnConflict::Fail {
        return;
    }
    push(" ON CONFLICT (tenant_id");
    for name in target.key {
        push(", ");
        push(name);
    }
    push(") DO UPDATE SET ");
    let mut separator = "";
    for name in names.iter().filter(|name| !target.key.contains(name)) {
        push(separator);
        push(name);
        push(" = ");
        if target.on_conflict == OnConflict::Add {
            push(target.table);
            push(".");
            push(name);
            push(" + ");
        }
        push("excluded.");
        push(name);
        separator = ", ";
    }
}

/// Keys to be looked for: rows of their columns.
#[derive(Debug)]
pub struct OneOf<C> {
    keys: Arc<C>,
    rows: Range<usize>,
}

impl<C> Clone for OneOf<C> {
    fn clone(&self) -> Self {
        Self { keys: Arc::clone(&self.keys), rows: self.rows.clone() }
    }
}

impl<C: Columns> OneOf<C> {
    /// Splits keys into those of each statement: on SQLite as many as its parameters demand, on PostgreSQL one.
    pub fn split(keys: C, is_embedded: bool) -> impl Iterator<Item = Self> {
        let count = keys.len();
        let keys = Arc::new(keys);
        slices(count, if is_embedded { lite_rows_max::<C>() } else { count })
            .map(move |rows| Self { keys: Arc::clone(&keys), rows })
    }
}

impl<C: Columns> Keys for OneOf<C> {
    fn walk_source<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("unnest(");
        self.keys.bind_arrays(self.rows.clone(), Used::ALL, out.reborrow())?;
        out.push_sql(&format!(") AS {CHOSEN} ({})", C::NAMES.join(", ")));
        Ok(())
    }

    fn walk_list<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        if self.rows.len() < lite_rows_max::<C>() {
            out.unsafe_to_cache_prepared();
        }
        out.push_sql("VALUES ");
        for row in self.rows.clone() {
            out.push_sql(if row == self.rows.start { "(" } else { ", (" });
            self.keys.bind_row(row, Used::ALL, out.reborrow())?;
            out.push_sql(")");
        }
        Ok(())
    }
}
