//! Strictness where the JSON reader has none, and what it complains of in our words: what should have been sent, and
//! never what was, which may be long.

use crate::field::{FieldCode, FieldError, Rule};
use callscope_domain::TAGS_PER_CALL_MAX;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Error;
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

/// The field that a fault of a whole record is put under.
pub const WHOLE_RECORD: &str = "(record)";
/// How the message about a record that is no JSON begins.
pub const NOT_JSON: &str = "is not valid JSON";
/// Longest path that is given back.
const PATH_MAX: usize = 64;

/// What is wrong with a record that is no `T`.
pub fn fault<'de, T: Deserialize<'de>>(json: &'de [u8], error: &Error) -> FieldError {
    if !error.is_data() {
        let rule = Rule::owned(FieldCode::InvalidJson, format!("{NOT_JSON}: {}", syntax(error)));
        return FieldError::new(WHOLE_RECORD, rule);
    }
    // Read once more, slowly, to find where.
    let mut reader = serde_json::Deserializer::from_slice(json);
    let located: Result<T, _> = serde_path_to_error::deserialize(&mut reader);
    let path = located.err().map(|located| located.path().clone()).filter(|path| path.iter().next().is_some());
    let path: Option<String> = path.map(|path| path.to_string().chars().take(PATH_MAX).collect());
    let text = error.to_string();
    // A field that stands twice is found in its object.
    let twice = text.strip_prefix("duplicate field `").and_then(|rest| rest.split('`').next());
    let field = match (path, twice) {
        (Some(object), Some(name)) => format!("{object}.{name}"),
        (Some(path), None) => path,
        (None, Some(name)) => name.to_owned(),
        (None, None) => WHOLE_RECORD.to_owned(),
    };
    FieldError::new(field, if twice.is_some() { Rule::TWICE } else { data(&text) })
}

/// What is wrong with text that is no JSON, and where.
pub fn syntax(error: &Error) -> String {
    let text = error.to_string();
    let text = text.split(" at line ").next().unwrap_or_default();
    match (error.line(), error.column()) {
        (0, _) | (_, 0) => text.to_owned(),
        // Most records are one line.
        (1, column) => format!("{text} (column {column})"),
        (line, column) => format!("{text} (line {line}, column {column})"),
    }
}

/// What a value should have been.
fn data(text: &str) -> Rule {
    let (text, _) = text.rsplit_once(" at line ").unwrap_or((text, ""));
    let Some((what, expected)) = text.rsplit_once(", expected ") else {
        return Rule::new(FieldCode::InvalidType, "has the wrong type");
    };
    let expected = match expected {
        "a sequence" => "a list",
        "i64" => "a whole number",
        "f64" => "a number",
        other => other,
    };
    let code = if what.starts_with("invalid value") { FieldCode::OutOfRange } else { FieldCode::InvalidType };
    Rule::owned(code, format!("must be {expected}"))
}

/// A JSON list of which at most `MAX` elements and one more are kept: enough to know that there are too many, whatever
/// the memory that the rest would have taken.
pub struct Bounded<T, const MAX: usize>(pub Vec<T>);

impl<T, const MAX: usize> Default for Bounded<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for Bounded<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(BoundedVisitor(PhantomData))
    }
}

struct BoundedVisitor<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for BoundedVisitor<T, MAX> {
    type Value = Bounded<T, MAX>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut kept = Vec::new();
        while kept.len() <= MAX {
            match list.next_element()? {
                Some(element) => kept.push(element),
                None => return Ok(Bounded(kept)),
            }
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Bounded(kept))
    }
}

/// Reads the elements of a JSON list up to one more than `max`, and fails there: the rest is not even looked at.
pub struct UpTo<'v, T> {
    pub max: usize,
    pub elements: &'v mut Vec<T>,
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for UpTo<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for UpTo<'_, T> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(element) = list.next_element()? {
            self.elements.push(element);
            if self.elements.len() > self.max {
                return Err(serde::de::Error::custom("too many elements"));
            }
        }
        Ok(())
    }
}

/// The tags of a record: pairs of texts, of which at most one more than allowed are kept.
pub struct Tags<'a>(pub Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'de: 'a, 'a> Deserialize<'de> for Tags<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(TagsVisitor(PhantomData))
    }
}

struct TagsVisitor<'a>(PhantomData<&'a ()>);

impl<'de: 'a, 'a> Visitor<'de> for TagsVisitor<'a> {
    type Value = Tags<'a>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of texts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tags<'a>, A::Error> {
        let mut tags = Vec::new();
        while tags.len() <= TAGS_PER_CALL_MAX {
            match map.next_entry::<Text<'a>, Text<'a>>()? {
                Some((key, value)) => tags.push((key.0, value.0)),
                None => return Ok(Tags(tags)),
            }
        }
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Tags(tags))
    }
}

/// A text, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// A whole number. JSON has one kind of number, so `1500.0` is as whole as `1500`, and some programs write it so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole(pub i64);

/// Past this, neighbours of a 64-bit float are further apart than 1.
const FLOAT_EXACT_MAX: f64 = 9_007_199_254_740_992.0;

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WholeVisitor).map(Self)
    }
}

struct WholeVisitor;

impl Visitor<'_> for WholeVisitor {
    type Value = i64;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a whole number")
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<i64, E> {
        Ok(number)
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<i64, E> {
        i64::try_from(number).map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<i64, E> {
        let is_whole = number.fract() == 0.0 && number.abs() <= FLOAT_EXACT_MAX;
        // Printed, it is an integer, which can be read as one.
        let whole = is_whole.then(|| format!("{number:.0}").parse().ok()).flatten();
        whole.ok_or_else(|| E::invalid_value(Unexpected::Float(number), &self))
    }
}
