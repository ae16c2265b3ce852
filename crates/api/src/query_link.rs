//! The way from a figure to its calls: the address of the list that has exactly them.

use crate::query_request::Understood;
use crate::responses::rfc3339;
use callscope_domain::{Cell, Dimension, FiguresRow, Operator, Window};

/// The window of a cell: none where no window has just its calls.
pub fn window_of(asked: &Understood, cell: Cell, next: Option<Cell>) -> Option<Window> {
    let window = asked.question.window;
    let start = match cell {
        Cell::Window => return Some(window),
        Cell::HourOfWeek(_) => return None,
        Cell::Bucket(start) => start,
    };
    let end = if let Some(Cell::Bucket(next)) = next { next } else { window.end() };
    Window::new(start.max(window.start()), end.min(window.end())).ok()
}

/// Where the calls of a row are listed; none where a value cannot be written in a list of them.
pub fn link(asked: &Understood, row: &FiguresRow, window: Window) -> Option<String> {
    let mut pairs = vec![
        ("started_after".to_owned(), rfc3339(window.start())),
        ("started_before".to_owned(), rfc3339(window.end())),
    ];
    let mut of_axes: Vec<(String, Vec<String>)> = Vec::new();
    let mut add = |name: String, value: String| match of_axes.iter_mut().find(|(known, _)| *known == name) {
        Some((_, values)) => values.push(value),
        None => of_axes.push((name, vec![value])),
    };
    let written = |value: Option<&str>, prefix: &str| -> Option<String> {
        let value = value.unwrap_or(crate::filters::NONE);
        (!value.contains(',') && !value.starts_with('!')).then(|| format!("{prefix}{value}"))
    };
    let grouped = &asked.question.axes;
    for filter in &asked.question.filters {
        // A group is narrower than the filter that lets it through.
        if filter.operator == Operator::Is && grouped.contains(&filter.axis) {
            continue;
        }
        if filter.axis.dimension() == Some(Dimension::ErrorKind) {
            return None;
        }
        let prefix = if filter.operator == Operator::IsNot { "!" } else { "" };
        for value in &filter.values {
            add(filter.axis.to_string(), written(value.as_deref(), prefix)?);
        }
    }
    for (axis, value) in grouped.iter().zip(&row.values) {
        if axis.dimension() == Some(Dimension::ErrorKind) {
            return None;
        }
        let text = match value {
            Some(shown) => Some(shown.text.as_deref()?),
            None => None,
        };
        add(axis.to_string(), written(text, "")?);
    }
    pairs.extend(of_axes.into_iter().map(|(name, values)| (name, values.join(","))));
    Some(format!("/api/v1/analytics/calls?{}", serde_html_form::to_string(pairs).ok()?))
}
