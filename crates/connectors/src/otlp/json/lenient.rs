//! Deserializers for the parts of OTLP's JSON that writers encode differently, and for lists and objects that are read
//! without collecting them.

use crate::json::Scalar;
use crate::text::from_hex;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// A text; none if it is null.
#[derive(Default)]
pub struct Text<'a>(pub Option<Cow<'a, str>>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Scalar::deserialize(deserializer)? {
            Scalar::Null => Ok(Self(None)),
            Scalar::Text(text) => Ok(Self(Some(text))),
            Scalar::Unsigned(_) | Scalar::Signed(_) | Scalar::Float(_) => Err(D::Error::custom("no text")),
        }
    }
}

/// A number, or a text with a number.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Number {
    /// Null, missing, or a text without a number.
    #[default]
    None,
    Unsigned(u64),
    Signed(i64),
    Float(f64),
}

impl Number {
    pub fn as_u64(self) -> Option<u64> {
        match self {
            Self::None => None,
            Self::Unsigned(number) => Some(number),
            Self::Signed(number) => u64::try_from(number).ok(),
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, and within the bounds")]
            Self::Float(number) => (number.fract() == 0.0 && (0.0..18_446_744_073_709_551_616.0).contains(&number))
                .then_some(number as u64),
        }
    }

    pub fn as_i64(self) -> Option<i64> {
        match self {
            Self::None => None,
            Self::Unsigned(number) => i64::try_from(number).ok(),
            Self::Signed(number) => Some(number),
            #[expect(clippy::cast_possible_truncation, reason = "whole, and within the bounds")]
            Self::Float(number) => {
                let bound = 9_223_372_036_854_775_808.0;
                (number.fract() == 0.0 && (-bound..bound).contains(&number)).then_some(number as i64)
            }
        }
    }

    pub fn as_f64(self) -> Option<f64> {
        match self {
            Self::None => None,
            Self::Unsigned(number) => Some(number as f64),
            Self::Signed(number) => Some(number as f64),
            Self::Float(number) => Some(number),
        }
    }

    fn of_text(text: &str) -> Self {
        let unsigned = || text.parse().ok().map(Self::Unsigned);
        let signed = || text.parse().ok().map(Self::Signed);
        let float = || text.parse().ok().filter(|number: &f64| number.is_finite()).map(Self::Float);
        unsigned().or_else(signed).or_else(float).unwrap_or_default()
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Scalar::deserialize(deserializer)? {
            Scalar::Null => Self::None,
            Scalar::Unsigned(number) => Self::Unsigned(number),
            Scalar::Signed(number) => Self::Signed(number),
            Scalar::Float(number) => Self::Float(number),
            Scalar::Text(text) => Self::of_text(&text),
        })
    }
}

/// The bytes of a hexadecimal text in either case; empty if there is none.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Hex(pub Vec<u8>);

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Text::deserialize(deserializer)?.0.unwrap_or_default();
        // No id is longer than that of a trace.
        let bytes = if text.len() > 32 { None } else { from_hex(&text) };
        bytes.map(Self).ok_or_else(|| D::Error::custom("no id"))
    }
}

/// The wanted members of an object, by name; each may have several. Of a name that is given twice the last value
/// counts.
pub struct Members<const N: usize>([&'static [&'static str]; N]);

impl<const N: usize> Members<N> {
    pub fn of_body<'a>(
        body: &'a [u8],
        names: [&'static [&'static str]; N],
    ) -> Result<[Option<&'a RawValue>; N], serde_json::Error> {
        let mut deserializer = serde_json::Deserializer::from_slice(body);
        let members = Self(names).deserialize(&mut deserializer)?;
        deserializer.end()?;
        Ok(members)
    }

    pub fn of<'a>(
        object: &'a RawValue,
        names: [&'static [&'static str]; N],
    ) -> Result<[Option<&'a RawValue>; N], serde_json::Error> {
        Self(names).deserialize(object)
    }
}

impl<'de, const N: usize> DeserializeSeed<'de> for Members<N> {
    type Value = [Option<&'de RawValue>; N];

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, const N: usize> Visitor<'de> for Members<N> {
    type Value = [Option<&'de RawValue>; N];

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object or null")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = [None; N];
        while let Some(Text(name)) = map.next_key()? {
            let name = name.unwrap_or_default();
            match self.0.iter().position(|names| names.contains(&&*name)) {
                Some(index) => members[index] = Some(map.next_value()?),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(members)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok([None; N])
    }
}

/// The elements of a list, one after the other.
pub struct Elements<F>(F);

impl<'a, F: FnMut(&'a RawValue) -> Result<(), serde_json::Error>> Elements<F> {
    /// Gives each element to `each`. A list that is missing or null is empty.
    pub fn each(list: Option<&'a RawValue>, each: F) -> Result<(), serde_json::Error> {
        list.map_or(Ok(()), |list| list.deserialize_any(Self(each)))
    }
}

impl<'de, F: FnMut(&'de RawValue) -> Result<(), serde_json::Error>> Visitor<'de> for Elements<F> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a list or null")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        while let Some(element) = list.next_element()? {
            // The message is replaced at the edge of this module, and might quote the body.
            (self.0)(element).map_err(|_| A::Error::custom("an element"))?;
        }
        Ok(())
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }
}
