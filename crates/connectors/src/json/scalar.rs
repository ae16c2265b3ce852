//! A JSON value that is neither a list, an object nor a boolean.

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};
use std::borrow::Cow;
use std::fmt;

/// A number, a string or null. Anything else is refused before any of it is held.
#[derive(Debug, PartialEq)]
pub(crate) enum Scalar<'a> {
    Null,
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(Cow<'a, str>),
}

impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a number, a string or null")
    }

    fn visit_unit<E: Error>(self) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Null)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Unsigned(number))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Signed(number))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Float(number))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Text(Cow::Owned(text.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_strings_and_null_are_read_and_the_rest_is_refused() {
        let read = |json| serde_json::from_str::<Scalar<'_>>(json).ok();
        assert_eq!(read("null"), Some(Scalar::Null));
        assert_eq!(read("18446744073709551615"), Some(Scalar::Unsigned(u64::MAX)));
        assert_eq!(read("-1"), Some(Scalar::Signed(-1)));
        assert_eq!(read("1.5"), Some(Scalar::Float(1.5)));
        assert_eq!(read(r#""plain""#), Some(Scalar::Text("plain".into())));
        assert_eq!(read(r#""\u00e9""#), Some(Scalar::Text("é".into())));
        for other in ["true", "[1]", "{}"] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
