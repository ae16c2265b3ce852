//! Lenient JSON: a field of another type than expected is absent, and fields that are not asked for are skipped without a copy.

mod scalar;

pub(crate) use scalar::Scalar;

use chrono::{DateTime, NaiveDateTime, Utc};
use serde::de::{DeserializeOwned, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

/// A text that is not one JSON object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotAnObject;

/// The fields of an object that `T` asks for.
pub(crate) fn read<T: DeserializeOwned>(json: &[u8]) -> Result<T, NotAnObject> {
    let is_object = json.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    if is_object { serde_json::from_slice(json).map_err(|_| NotAnObject) } else { Err(NotAnObject) }
}

/// A value, or its default where the value is missing, null or of another type.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lenient<T>(T);

/// A value that may be absent.
pub(crate) type Maybe<T> = Lenient<Option<T>>;

impl<T> Deref for Lenient<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Lenient<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The value is taken whole first, so that the rest of the body can be read whatever it is.
        let raw = <&RawValue>::deserialize(deserializer)?;
        Ok(Self(serde_json::from_str(raw.get()).unwrap_or_default()))
    }
}

/// Elements of one list or map that are kept, so that a body of nothing but brackets stays small in memory. A call of a day
/// with a message a second has 86,400.
const ELEMENTS_MAX: usize = 100_000;

/// A list without its elements of other types.
#[derive(Debug)]
pub(crate) struct Items<T>(Vec<T>);

impl<T> Default for Items<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Deref for Items<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Items<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Elements<T> {
            type Value = Items<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Items<T>, A::Error> {
                let mut elements = Vec::new();
                while let Some(raw) = list.next_element::<&RawValue>()? {
                    if elements.len() < ELEMENTS_MAX {
                        elements.extend(serde_json::from_str(raw.get()).ok());
                    }
                }
                Ok(Items(elements))
            }
        }

        deserializer.deserialize_seq(Elements(PhantomData))
    }
}

/// A map in the order of the text, without its values of other types.
#[derive(Debug)]
pub(crate) struct Entries<T>(Vec<(String, T)>);

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Deref for Entries<T> {
    type Target = [(String, T)];

    fn deref(&self) -> &[(String, T)] {
        &self.0
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entry<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entry<T> {
            type Value = Entries<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<T>, A::Error> {
                let mut entries = Vec::new();
                while let Some((key, raw)) = map.next_entry::<String, &RawValue>()? {
                    if entries.len() < ELEMENTS_MAX {
                        entries.extend(serde_json::from_str(raw.get()).ok().map(|value| (key, value)));
                    }
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(Entry(PhantomData))
    }
}

/// Elements that are counted and not read.
pub(crate) type Counted = Lenient<Vec<IgnoredAny>>;

/// A string of at least one character that is no space. NUL, which PostgreSQL cannot store, is dropped.
#[derive(Debug)]
pub(crate) struct Text(String);

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?.replace('\0', "");
        if text.trim().is_empty() { Err(D::Error::custom("an empty text")) } else { Ok(Self(text)) }
    }
}

/// An id: a string, or a whole number.
#[derive(Debug)]
pub(crate) struct Id(String);

impl Deref for Id {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Scalar::deserialize(deserializer)? {
            Scalar::Unsigned(number) => Ok(Self(number.to_string())),
            Scalar::Signed(number) => Ok(Self(number.to_string())),
            Scalar::Text(text) => Ok(Self(text.into_owned())),
            Scalar::Float(_) | Scalar::Null => Err(D::Error::custom("not an id")),
        }
    }
}

/// A finite number, or a string that is one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Number(f64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = match Scalar::deserialize(deserializer)? {
            Scalar::Unsigned(number) => number as f64,
            Scalar::Signed(number) => number as f64,
            Scalar::Float(number) => number,
            Scalar::Text(text) => text.trim().parse().map_err(D::Error::custom)?,
            Scalar::Null => return Err(D::Error::custom("not a number")),
        };
        if number.is_finite() { Ok(Self(number)) } else { Err(D::Error::custom("not a number")) }
    }
}

impl Number {
    /// The number itself.
    pub(crate) const fn get(self) -> f64 {
        self.0
    }

    /// A count; fractions are cut off, and negative numbers are 0.
    pub(crate) fn count(self) -> i64 {
        #[expect(clippy::cast_possible_truncation, reason = "the conversion stops at the type's bounds")]
        let whole = self.0 as i64;
        whole.max(0)
    }

    /// An instant, of seconds since 1970.
    pub(crate) fn as_unix_seconds(self) -> Option<DateTime<Utc>> {
        self.as_micros(1e6).and_then(DateTime::from_timestamp_micros)
    }

    /// An instant, of milliseconds since 1970.
    pub(crate) fn as_unix_ms(self) -> Option<DateTime<Utc>> {
        self.as_micros(1e3).and_then(DateTime::from_timestamp_micros)
    }

    /// A duration, of seconds.
    pub(crate) fn seconds(self) -> Option<chrono::TimeDelta> {
        self.as_micros(1e6).map(chrono::TimeDelta::microseconds)
    }

    /// A duration, of milliseconds.
    pub(crate) fn milliseconds(self) -> Option<chrono::TimeDelta> {
        self.as_micros(1e3).map(chrono::TimeDelta::microseconds)
    }

    /// A duration, of minutes.
    pub(crate) fn minutes(self) -> Option<chrono::TimeDelta> {
        self.as_micros(60e6).map(chrono::TimeDelta::microseconds)
    }

    /// `None` for negative times and those past the year 5138.
    fn as_micros(self, factor: f64) -> Option<i64> {
        let micros = (self.0 * factor).round();
        #[expect(clippy::cast_possible_truncation, reason = "0 <= value <= 1e17")]
        (0.0..=1e17).contains(&micros).then_some(micros as i64)
    }
}

/// An instant in ISO 8601; without an offset it is UTC.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Time(pub(crate) DateTime<Utc>);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let with_offset = DateTime::parse_from_rfc3339(&text).map(|time| time.to_utc());
        let without = |_| text.parse::<NaiveDateTime>().map(|time| time.and_utc());
        with_offset.or_else(without).map(Self).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct Body {
        id: Maybe<Id>,
        name: Maybe<Text>,
        length: Maybe<Number>,
        at: Maybe<Time>,
        list: Lenient<Items<Number>>,
        map: Lenient<Entries<Number>>,
        counted: Counted,
    }

    fn body(json: &str) -> Body {
        read(json.as_bytes()).expect("a JSON object")
    }

    #[test]
    fn a_field_of_another_type_is_absent() {
        for wrong in ["null", "true", "{}", "[[1]]"] {
            let json = format!(r#"{{"id": {wrong}, "name": {wrong}, "length": {wrong}, "at": {wrong}}}"#);
            let body = body(&json);
            assert!(body.id.is_none() && body.name.is_none() && body.at.is_none(), "{wrong}");
            assert!(body.length.is_none(), "{wrong}");
        }
    }

    #[test]
    fn an_element_of_another_type_is_left_out() {
        let body = body(r#"{"list": [1, null, "2.5", {}], "map": {"b": 1, "a": [], "c": 3}, "counted": [1, {}]}"#);
        assert_eq!(body.list.iter().map(|number| number.get()).collect::<Vec<_>>(), [1.0, 2.5]);
        assert_eq!(body.map.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(body.counted.len(), 2);
    }

    #[test]
    fn a_list_is_kept_up_to_its_bound() {
        let list = "1,".repeat(ELEMENTS_MAX + 9);
        let body = body(&format!(r#"{{"list": [{list}1], "name": "after it"}}"#));
        assert_eq!(body.list.len(), ELEMENTS_MAX);
        assert_eq!(body.name.as_deref(), Some("after it"));
    }

    #[test]
    fn a_number_may_be_a_string_and_an_id_a_number() {
        let body = body(r#"{"id": 17, "length": "81", "at": "2024-01-23T01:14:37"}"#);
        assert_eq!(body.id.as_deref(), Some("17"));
        assert_eq!(body.length.and_then(Number::seconds), Some(chrono::TimeDelta::seconds(81)));
        assert_eq!(body.at.map(|time| time.0.timestamp()), Some(1_705_972_477));
    }

    #[test]
    fn a_body_is_a_json_object() {
        for wrong in ["", "[]", "[{}]", "null", "1", "{", "{}}", "{\"id\": }", "\u{FEFF}{}"] {
            assert_eq!(read::<Body>(wrong.as_bytes()).err(), Some(NotAnObject), "{wrong}");
        }
        assert_eq!(read::<Body>(b"{\"id\": \"\xFF\"}").err(), Some(NotAnObject));
        assert!(read::<Body>(b" \n{}").is_ok());
    }

    #[test]
    fn an_absurd_time_is_absent() {
        for absurd in [-1.0, 1e30, f64::MAX] {
            assert_eq!(Number(absurd).as_unix_seconds(), None);
        }
    }
}
