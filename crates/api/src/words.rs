//! The domain's enumerations and instants on the wire. The words stay the domain's; here they get a schema.

use crate::field::{FieldCode, Rule};
use callscope_domain::Timestamp;
use chrono::{DateTime, Utc};
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
use utoipa::{PartialSchema, ToSchema};

/// An instant in RFC 3339, and one that RFC 3339 can name in UTC: an offset may lead out of the years 0000 to 9999.
pub fn timestamp(text: &str) -> Result<Timestamp, Rule> {
    const FORM: Rule =
        Rule::new(FieldCode::InvalidFormat, "must be an RFC 3339 timestamp such as 2026-01-17T10:30:00Z");
    const YEARS: Rule = Rule::new(FieldCode::OutOfRange, "must lie within the years 0000 to 9999 of UTC");
    let instant = DateTime::parse_from_rfc3339(text).map_err(|_| FORM)?;
    let instant = Timestamp::from(instant.with_timezone(&Utc));
    if instant.is_nameable() { Ok(instant) } else { Err(YEARS) }
}

/// A word of the domain with its schema, and what is meant where it is left out. Each is a component of the document, so
/// that every generated client has one type for it, by its name.
macro_rules! word {
    ($(#[doc = $doc:literal])+ $name:ident = $schema_name:literal $(, or $default:expr)?) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name(pub callscope_domain::$name);

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.0.as_str())
            }
        }

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                ObjectBuilder::new()
                    .schema_type(SchemaType::Type(Type::String))
                    .enum_values(Some(callscope_domain::$name::WORDS.iter().copied()))
                    .description(Some(concat!($($doc),+).trim()))
                    $(.default(Some($default.as_str().into())))?
                    .into()
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed($schema_name)
            }
        }
    };
}

word! {
    /// How far a call has come.
    CallStatus = "CallStatus"
}
word! {
    /// Which way a call went.
    Direction = "Direction"
}
word! {
    /// Why a call ended, in one vocabulary for all sources.
    EndCategory = "EndCategory"
}
word! {
    /// Whether a call reached what it was for.
    Outcome = "Outcome"
}
word! {
    /// The width of a series' buckets. A week starts on Monday.
    VolumeInterval = "Interval", or callscope_domain::VolumeInterval::default()
}
word! {
    /// How bad an error is: `error` affected the call, `warning` did not.
    Level = "ErrorLevel"
}
word! {
    /// The length of a window: one hour, or 24 hours times 1, 7, 30 or 90.
    Period = "Period", or callscope_domain::Period::default()
}
word! {
    /// The stage that a provider serves: speech to text, language model, or text to speech.
    ProviderType = "ProviderType"
}
word! {
    /// A right: to ask the analytics endpoints, to send call records, or to list, create and revoke API keys.
    Scope = "Scope"
}
word! {
    /// Where an error arose.
    Service = "ErrorService"
}
