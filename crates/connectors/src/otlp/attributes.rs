//! Attributes of resources, spans, events and log records.

use std::borrow::Cow;

/// Most attributes that are kept of one record. OpenTelemetry's own SDKs stop at 128.
pub const ATTRIBUTES_MAX: usize = 1_024;

/// A value that an attribute may have. Lists, maps and bytes are never read, so they are absent.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// UTF-8.
    Text(Cow<'a, str>),
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Double(f64),
}

/// Attributes by name. Of a name that is given twice the last value counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attributes<'a>(Vec<(Cow<'a, str>, Value<'a>)>);

impl<'a> Attributes<'a> {
    /// Appends an attribute, unless there are [`ATTRIBUTES_MAX`].
    pub fn push(&mut self, name: Cow<'a, str>, value: Value<'a>) {
        if self.0.len() < ATTRIBUTES_MAX {
            self.0.push((name, value));
        }
    }

    /// The value of an attribute.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value<'a>> {
        self.0.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// A text that is not empty.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Value::Text(text) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    /// A finite number. A text is none: libraries write `NOT_GIVEN` where they have no number.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<f64> {
        match self.get(name)? {
            Value::Int(number) => Some(*number as f64),
            Value::Double(number) if number.is_finite() => Some(*number),
            _ => None,
        }
    }

    /// A count: negative values and other types are 0, and fractions are cut off.
    #[must_use]
    pub fn count(&self, name: &str) -> u64 {
        match self.get(name) {
            Some(Value::Int(number)) => u64::try_from(*number).unwrap_or(0),
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
            Some(Value::Double(number)) => *number as u64,
            _ => 0,
        }
    }

    /// Whether an attribute is `true`, as a boolean or as a text.
    #[must_use]
    pub fn is_true(&self, name: &str) -> bool {
        match self.get(name) {
            Some(Value::Bool(value)) => *value,
            Some(Value::Text(text)) => text.eq_ignore_ascii_case("true"),
            _ => false,
        }
    }
}
