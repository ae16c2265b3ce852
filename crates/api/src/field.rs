//! Faults of single fields: what is wrong, for people and for programs.

use callscope_domain::{
    AxisFault, CallFault, LabelFault, QuestionFault, RateFault, Refusal, SeriesFault, SlugFault, TextFault,
    TextRuleFault, UnknownWord, WindowFault, ZoneFault,
};
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use std::fmt::{self, Display};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
use utoipa::{PartialSchema, ToSchema};

/// Every kind of fault and its word, written once.
macro_rules! codes {
    ($($(#[doc = $doc:literal])* $name:ident = $word:literal;)+) => {
        /// Which rule a field breaks, for programs.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum FieldCode {
            $($(#[doc = $doc])* $name,)+
        }

        impl FieldCode {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name),+];
            const DESCRIPTION: &str = concat!(
                "Which rule the field breaks, for programs.", $("\n- `", $word, "`:", $($doc,)*)+
            );

            /// The word of it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word),+ }
            }
        }
    };
}

codes! {
    /// The field is missing.
    Required = "required";
    /// The field must be absent here.
    NotAllowed = "not_allowed";
    /// The field or parameter is given more than once.
    Duplicate = "duplicate";
    /// There is no such field or parameter.
    Unknown = "unknown";
    /// The value has the wrong JSON type.
    InvalidType = "invalid_type";
    /// The record is not valid JSON.
    InvalidJson = "invalid_json";
    /// The text does not have the form that is needed, such as a UUID or an RFC 3339 timestamp.
    InvalidFormat = "invalid_format";
    /// The value is none of those allowed.
    UnknownValue = "unknown_value";
    /// The text or list is empty.
    Empty = "empty";
    /// The text has too many characters or bytes, or is nested too deep.
    TooLong = "too_long";
    /// The list has too many entries.
    TooMany = "too_many";
    /// The number or time is too small or too large.
    OutOfRange = "out_of_range";
    /// The value contradicts another field.
    Inconsistent = "inconsistent";
    /// The call started before the retention horizon.
    Expired = "expired";
    /// A limit of what the tenant may keep is reached.
    LimitReached = "limit_reached";
}

impl Serialize for FieldCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

// By hand: derived, the schema would list the names of the variants, since the macro hides the words from it.
impl PartialSchema for FieldCode {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::String))
            .enum_values(Some(Self::ALL.iter().map(|code| code.as_str())))
            .description(Some(Self::DESCRIPTION))
            .into()
    }
}

impl ToSchema for FieldCode {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("FieldCode")
    }
}

/// A fault of one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// The parameter, or the path of the field in the body, such as `providers[0].provider_type`.
    #[schema(example = "period")]
    pub field: String,
    /// Which rule the field breaks.
    #[schema(example = "unknown_value")]
    pub code: FieldCode,
    /// What is wrong with the field, and what would be right.
    #[schema(example = "must be one of 1h, 24h, 7d, 30d, 90d")]
    pub message: String,
}

impl FieldError {
    /// A fault of a field.
    pub fn new(field: impl Into<String>, violation: impl Violation) -> Self {
        violation.at(field)
    }
}

/// A rule that a value breaks: what would be right, as text, and which kind of rule it is.
pub trait Violation: Display {
    /// The kind of rule.
    fn code(&self) -> FieldCode;

    /// The fault of the field that breaks the rule.
    fn at(self, field: impl Into<String>) -> FieldError
    where
        Self: Sized,
    {
        FieldError { field: field.into(), code: self.code(), message: self.to_string() }
    }
}

/// A rule of the wire format itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    code: FieldCode,
    message: Cow<'static, str>,
}

impl Rule {
    /// A rule whose text does not vary.
    #[must_use]
    pub const fn new(code: FieldCode, message: &'static str) -> Self {
        Self { code, message: Cow::Borrowed(message) }
    }

    /// A rule whose text depends on the value or a bound.
    #[must_use]
    pub fn owned(code: FieldCode, message: String) -> Self {
        Self { code, message: Cow::Owned(message) }
    }

    /// The rule of a number's bounds.
    #[must_use]
    pub fn whole_number(least: impl Display, most: impl Display) -> Self {
        Self::owned(FieldCode::OutOfRange, format!("must be a whole number from {least} to {most}"))
    }

    /// The rule that a name is unknown here.
    #[must_use]
    pub fn unknown(allowed: &[&str]) -> Self {
        let message = match allowed {
            [] => "is unknown; this operation takes no parameters".to_owned(),
            allowed => format!("is unknown; allowed: {}", allowed.join(", ")),
        };
        Self::owned(FieldCode::Unknown, message)
    }

    /// A field that must be given.
    pub const REQUIRED: Self = Self::new(FieldCode::Required, "is required");
    /// A name that stands twice.
    pub const TWICE: Self = Self::new(FieldCode::Duplicate, "must not be given more than once");
}

impl Display for Rule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl Violation for Rule {
    fn code(&self) -> FieldCode {
        self.code
    }
}

impl Violation for TextFault {
    fn code(&self) -> FieldCode {
        match self {
            Self::Empty => FieldCode::Empty,
            Self::TooLong { .. } => FieldCode::TooLong,
            Self::ContainsNul => FieldCode::InvalidFormat,
        }
    }
}

impl Violation for LabelFault {
    fn code(&self) -> FieldCode {
        match self {
            Self::Text(fault) => fault.code(),
            Self::Control => FieldCode::InvalidFormat,
        }
    }
}

impl Violation for SlugFault {
    fn code(&self) -> FieldCode {
        FieldCode::InvalidFormat
    }
}

impl Violation for TextRuleFault {
    fn code(&self) -> FieldCode {
        match self {
            Self::Text(fault) => fault.code(),
            Self::Slug(fault) => fault.code(),
            Self::Word(fault) => fault.code(),
        }
    }
}

impl Violation for AxisFault {
    fn code(&self) -> FieldCode {
        FieldCode::UnknownValue
    }
}

impl Violation for UnknownWord {
    fn code(&self) -> FieldCode {
        FieldCode::UnknownValue
    }
}

impl Violation for ZoneFault {
    fn code(&self) -> FieldCode {
        FieldCode::UnknownValue
    }
}

impl Violation for WindowFault {
    fn code(&self) -> FieldCode {
        FieldCode::Inconsistent
    }
}

impl Violation for RateFault {
    fn code(&self) -> FieldCode {
        FieldCode::OutOfRange
    }
}

impl Violation for SeriesFault {
    fn code(&self) -> FieldCode {
        FieldCode::TooMany
    }
}

impl Violation for QuestionFault {
    fn code(&self) -> FieldCode {
        match self {
            Self::Series(fault) => fault.code(),
            Self::NoSuchFigure { .. } | Self::Combination(..) => FieldCode::NotAllowed,
            Self::Unaligned(_) => FieldCode::OutOfRange,
        }
    }
}

impl Violation for CallFault {
    fn code(&self) -> FieldCode {
        match self {
            Self::EndMissing => FieldCode::Required,
            Self::EndWhileActive => FieldCode::NotAllowed,
            Self::EndBeforeStart | Self::TooLong | Self::ErrorOutsideCall(_) => FieldCode::Inconsistent,
            Self::StartInFuture | Self::NumberOutOfBounds(_) => FieldCode::OutOfRange,
            Self::TooManyProviders | Self::TooManySamples | Self::TooManyErrors | Self::TooManyTags => {
                FieldCode::TooMany
            }
            Self::ErrorsTooLong => FieldCode::TooLong,
        }
    }
}

impl Violation for Refusal {
    fn code(&self) -> FieldCode {
        match self {
            Self::StartTooOld { .. } => FieldCode::OutOfRange,
            Self::ActiveCalls { .. } | Self::Rows { .. } => FieldCode::LimitReached,
        }
    }
}
