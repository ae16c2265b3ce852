//! Tables for people: columns that line up, whatever the lengths.

use std::fmt;

/// Spaces between columns.
const GAP: usize = 2;

/// Headings and rows of `N` columns.
pub struct Table<const N: usize> {
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// A table with nothing but headings.
    pub fn new(headings: [&str; N]) -> Self {
        Self { rows: vec![headings.map(str::to_owned)] }
    }

    pub fn add(&mut self, row: [String; N]) {
        self.rows.push(row);
    }
}

impl<const N: usize> fmt::Display for Table<N> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: [usize; N] = std::array::from_fn(width);
        for row in &self.rows {
            let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}{:GAP$}", ""));
            writeln!(formatter, "{}", cells.collect::<String>().trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_whatever_the_lengths() {
        let mut table = Table::new(["ID", "SLUG", "NAME"]);
        table.add(["1".to_owned(), "bäckerei-am-markt".to_owned(), "Bäckerei am Markt".to_owned()]);
        table.add(["22".to_owned(), "b".to_owned(), String::new()]);
        let expected = "ID  SLUG               NAME\n1   bäckerei-am-markt  Bäckerei am Markt\n22  b\n";
        assert_eq!(table.to_string(), expected);
    }
}
