//! JSON objects whose unknown fields are set aside with their names, so that agents and servers can be upgraded at
//! different times.

use serde::de::value::CowStrDeserializer;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, forward_to_deserialize_any};
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

/// Most unknown fields of one object whose names are kept.
const UNKNOWN_MAX: usize = 16;
/// Longest name that is kept of an unknown field, in characters.
const NAME_MAX: usize = 64;

/// A `T` from a JSON object. A struct by itself would take a list as well, its fields by position.
pub struct Object<T> {
    pub value: T,
    /// Names of fields that `T` does not have, at most [`UNKNOWN_MAX`], cut at [`NAME_MAX`] characters.
    pub unknown: Vec<Box<str>>,
    pub known: &'static [&'static str],
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
        let (mut unknown, mut known) = (Vec::new(), &[][..]);
        let fields = KnownFields { map, known: &mut known, unknown: &mut unknown, next: 0 };
        let value = T::deserialize(fields)?;
        Ok(Object { value, unknown, known })
    }
}

/// Shows a struct only those fields of a map that the struct has.
struct KnownFields<'a, A> {
    map: A,
    known: &'a mut &'static [&'static str],
    unknown: &'a mut Vec<Box<str>>,
    /// The field after the last one: most clients send fields in the order of their documentation.
    next: usize,
}

impl<A> KnownFields<'_, A> {
    fn has_field(&mut self, name: &str) -> bool {
        let fields = *self.known;
        let rest = fields.get(self.next..).unwrap_or_default().iter().position(|field| *field == name);
        let position = rest.map(|offset| self.next + offset);
        let position = position.or_else(|| fields.iter().position(|field| *field == name));
        self.next = position.map_or(self.next, |position| position + 1);
        position.is_some()
    }

    fn set_aside(&mut self, name: &str) {
        let name: String = name.chars().take(NAME_MAX).collect();
        if self.unknown.len() < UNKNOWN_MAX && !self.unknown.iter().any(|known| **known == *name) {
            self.unknown.push(name.into());
        }
    }
}

impl<'de, A: MapAccess<'de>> Deserializer<'de> for KnownFields<'_, A> {
    type Error = A::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        *self.known = fields;
        visitor.visit_map(self)
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, A::Error> {
        visitor.visit_map(self.map)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for KnownFields<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        while let Some(name) = self.map.next_key_seed(Name)? {
            if self.has_field(&name) {
                return seed.deserialize(CowStrDeserializer::new(name)).map(Some);
            }
            self.set_aside(&name);
            self.map.next_value::<IgnoredAny>()?;
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

/// Reads the name of a field, borrowed where it has no escapes.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the name of a field")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Point<'a> {
        x: i32,
        #[serde(borrow, default)]
        label: Option<Cow<'a, str>>,
    }

    fn read(json: &str) -> Result<Object<Point<'_>>, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn unknown_fields_are_named_and_the_others_read_in_any_order() {
        let Object { value, unknown, known } =
            read(r#"{"z": {"deep": [1]}, "label": "a", "x": 1, "\u0079": 2, "z": 3}"#).expect("an object");
        assert_eq!((value.x, value.label.as_deref()), (1, Some("a")));
        assert_eq!((unknown, known), (vec!["z".into(), "y".into()], &["x", "label"][..]));
    }

    #[test]
    fn names_of_unknown_fields_are_bounded_in_number_and_length() {
        let many: Vec<String> = (0..100).map(|index| format!(r#""{}{index}": 0"#, "é".repeat(100))).collect();
        let short: Vec<String> = (0..100).map(|index| format!(r#""{index}": 0"#)).collect();
        let long = read(&format!(r#"{{"x": 1, {}}}"#, many.join(","))).expect("an object").unknown;
        assert_eq!(long, ["é".repeat(NAME_MAX).into()]);
        let short = read(&format!(r#"{{"x": 1, {}}}"#, short.join(","))).expect("an object").unknown;
        assert_eq!(short.len(), UNKNOWN_MAX);
    }

    #[test]
    fn known_fields_keep_their_rules() {
        for wrong in [r#"{"x": 1, "x": 2}"#, r#"{"x": "a"}"#, "{}", "[1]", r#"{"x": 1, "y": }"#] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
