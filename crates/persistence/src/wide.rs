//! Queries of several shapes as one statement: one round trip, and one state of the database.
//!
//! The parts of a statement are joined with UNION ALL, so all have the same columns: a number that says which part a row
//! is of, some cells of each type, and a number for each measure that the statement asks for. A part fills the cells that
//! it needs and leaves the others NULL.

use crate::sql::{Id, Instant, Key, Time, Vocabulary, Word};
use crate::statement::Statement;
use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql};
use diesel::row::Row;
use diesel::sql_types::{BigInt, Binary, Integer, Nullable, Text};
use std::marker::PhantomData;

/// A cell of a row, beside the number of its part and its measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    Number,
    Time0,
    Time1,
    Bytes0,
    Bytes1,
    Bytes2,
    Bytes3,
    Text0,
    Text1,
    Text2,
    Text3,
    Text4,
    Text5,
    Text6,
    Text7,
    Text8,
    Text9,
    Text10,
    Key0,
    Key1,
}

/// The cells in the order of the columns, and what PostgreSQL calls their types.
const CELLS: [(Cell, &str); 20] = [
    (Cell::Number, "int8"),
    (Cell::Time0, "timestamptz"),
    (Cell::Time1, "timestamptz"),
    (Cell::Bytes0, "bytea"),
    (Cell::Bytes1, "bytea"),
    (Cell::Bytes2, "bytea"),
    (Cell::Bytes3, "bytea"),
    (Cell::Text0, "text"),
    (Cell::Text1, "text"),
    (Cell::Text2, "text"),
    (Cell::Text3, "text"),
    (Cell::Text4, "text"),
    (Cell::Text5, "text"),
    (Cell::Text6, "text"),
    (Cell::Text7, "text"),
    (Cell::Text8, "text"),
    (Cell::Text9, "text"),
    (Cell::Text10, "text"),
    (Cell::Key0, "uuid"),
    (Cell::Key1, "uuid"),
];

/// The column of a cell; the first is the number of the part.
const fn column(cell: Cell) -> usize {
    1 + cell as usize
}

/// The column of the first measure.
const FIRST_MEASURE: usize = 1 + CELLS.len();

/// A statement whose parts are queries of several shapes.
#[derive(Debug)]
pub struct WideStatement {
    statement: Statement,
    /// The columns of measures.
    measures: Vec<&'static str>,
    is_empty: bool,
}

impl WideStatement {
    /// No part yet; rows have a number for each of some columns of measures.
    pub fn new(measures: Vec<&'static str>) -> Self {
        Self { statement: Statement::default(), measures, is_empty: true }
    }

    /// Adds a query. `cells` says where its columns go; with `has_measures` it has those of the measures as well.
    pub fn add(&mut self, part: i32, cells: &[(Cell, &'static str)], has_measures: bool, query: &Statement) {
        // In the first part, NULLs and narrow numbers need their type.
        let is_first = std::mem::replace(&mut self.is_empty, false);
        let push = |statement: &mut Statement, value: Option<&'static str>, of_type: &'static str| {
            statement.push(", ");
            match value {
                Some(column) => statement.push("part.").push(column),
                None => statement.push("NULL"),
            };
            if is_first {
                statement.push_either("::", "").push_either(of_type, "");
            }
        };
        let statement = &mut self.statement;
        statement.push(if is_first { "SELECT " } else { " UNION ALL SELECT " }).push(part.to_string());
        for (cell, of_type) in CELLS {
            let value = cells.iter().find(|(filled, _)| *filled == cell).map(|&(_, column)| column);
            push(statement, value, of_type);
        }
        for &measure in &self.measures {
            push(statement, has_measures.then_some(measure), "int8");
        }
        statement.push(" FROM (").append(query).push(") AS part");
    }

    /// The whole.
    pub fn finish(self) -> Statement {
        self.statement
    }
}

/// A row of such a statement while it is read. Each cell of a part has the type that the part filled it with.
pub trait WideRow {
    /// The number of the part.
    fn part(&self) -> deserialize::Result<i32>;

    /// A number, or NULL.
    fn number(&self, cell: Cell) -> deserialize::Result<Option<i64>>;

    /// An instant, or NULL.
    fn time(&self, cell: Cell) -> deserialize::Result<Option<Time>>;

    /// Bytes, or NULL.
    fn bytes(&self, cell: Cell) -> deserialize::Result<Option<Vec<u8>>>;

    /// A text, or NULL.
    fn text(&self, cell: Cell) -> deserialize::Result<Option<String>>;

    /// An id, or NULL.
    fn id(&self, cell: Cell) -> deserialize::Result<Option<Id>>;

    /// The measures: as many as the statement asked for.
    fn measures(&self) -> deserialize::Result<Vec<i64>>;

    /// The value of an enumeration.
    fn word<T: Vocabulary>(&self, cell: Cell) -> deserialize::Result<Word<T>>
    where
        Self: Sized,
    {
        let text = present(self.text(cell)?)?;
        text.parse().map(Word).map_err(|_| format!("unknown word {text:?}").into())
    }
}

/// What a cell holds, of a column that is never NULL.
pub fn present<T>(value: Option<T>) -> deserialize::Result<T> {
    value.ok_or_else(|| "a column is NULL that never is".into())
}

/// Makes no difference to what may be sent or borrowed.
type Of<'a, DB> = (&'a (), fn() -> DB);

/// A row of either database.
pub struct OfBackend<'r, 'a, R, DB> {
    row: &'r R,
    backend: PhantomData<Of<'a, DB>>,
}

impl<'r, 'a, R: Row<'a, DB>, DB: Backend> OfBackend<'r, 'a, R, DB> {
    /// A row as the database gave it.
    pub const fn new(row: &'r R) -> Self {
        Self { row, backend: PhantomData }
    }
}

impl<'a, R, DB> WideRow for OfBackend<'_, 'a, R, DB>
where
    R: Row<'a, DB>,
    DB: Backend,
    i32: FromSql<Integer, DB>,
    i64: FromSql<BigInt, DB>,
    Time: FromSql<Instant, DB>,
    Vec<u8>: FromSql<Binary, DB>,
    String: FromSql<Text, DB>,
    Id: FromSql<Key, DB>,
{
    fn part(&self) -> deserialize::Result<i32> {
        self.row.get_value::<Integer, i32, usize>(0)
    }

    fn number(&self, cell: Cell) -> deserialize::Result<Option<i64>> {
        self.row.get_value::<Nullable<BigInt>, _, usize>(column(cell))
    }

    fn time(&self, cell: Cell) -> deserialize::Result<Option<Time>> {
        self.row.get_value::<Nullable<Instant>, _, usize>(column(cell))
    }

    fn bytes(&self, cell: Cell) -> deserialize::Result<Option<Vec<u8>>> {
        self.row.get_value::<Nullable<Binary>, _, usize>(column(cell))
    }

    fn text(&self, cell: Cell) -> deserialize::Result<Option<String>> {
        self.row.get_value::<Nullable<Text>, _, usize>(column(cell))
    }

    fn id(&self, cell: Cell) -> deserialize::Result<Option<Id>> {
        self.row.get_value::<Nullable<Key>, _, usize>(column(cell))
    }

    fn measures(&self) -> deserialize::Result<Vec<i64>> {
        (FIRST_MEASURE..self.row.field_count()).map(|column| self.row.get_value::<BigInt, i64, usize>(column)).collect()
    }
}
