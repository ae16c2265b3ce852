//! Categories of end reasons, from `mapping/end_reasons.toml`, and a tenant's own categories over them.

use callscope_domain::{CallStatus, EndCategory, Service};
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use std::collections::HashMap;
use std::fmt::Display;
use std::str::FromStr;
use std::sync::LazyLock;

static TABLES: LazyLock<HashMap<String, Vec<Rule>>> = LazyLock::new(|| {
    toml::from_str(include_str!("../../mapping/end_reasons.toml")).expect("the embedded file is sound")
});

/// A field of a source whose values say why a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndTable {
    /// Bland's `answered_by`.
    BlandAnsweredBy,
    /// Bland's `call_ended_by`.
    BlandEndedBy,
    /// Bland's `status`.
    BlandStatus,
    /// Bolna's `telephony_data.hangup_reason`.
    BolnaHangup,
    /// Bolna's `status`.
    BolnaStatus,
    /// ElevenLabs's `failure_reason` of a call that could not be started.
    ElevenLabsFailure,
    /// ElevenLabs's `metadata.termination_reason`.
    ElevenLabsTermination,
    /// LiveKit's close reasons, and the end reasons that callscope gives to calls of any framework's telemetry.
    LiveKit,
    /// Retell's `disconnection_reason`.
    Retell,
    /// The type of an event of Tap's Agent Studio.
    Tap,
    /// Vapi's `endedReason`.
    Vapi,
}

impl EndTable {
    /// Every table.
    pub const ALL: &'static [Self] = &[
        Self::BlandAnsweredBy,
        Self::BlandEndedBy,
        Self::BlandStatus,
        Self::BolnaHangup,
        Self::BolnaStatus,
        Self::ElevenLabsFailure,
        Self::ElevenLabsTermination,
        Self::LiveKit,
        Self::Retell,
        Self::Tap,
        Self::Vapi,
    ];

    /// Its name in the file.
    const fn name(self) -> &'static str {
        match self {
            Self::BlandAnsweredBy => "bland_answered_by",
            Self::BlandEndedBy => "bland_ended_by",
            Self::BlandStatus => "bland_status",
            Self::BolnaHangup => "bolna_hangup",
            Self::BolnaStatus => "bolna_status",
            Self::ElevenLabsFailure => "elevenlabs_failure",
            Self::ElevenLabsTermination => "elevenlabs_termination",
            Self::LiveKit => "livekit",
            Self::Retell => "retell",
            Self::Tap => "tap",
            Self::Vapi => "vapi",
        }
    }
}

/// What the end of a call means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The category.
    pub category: EndCategory,
    /// Completed or failed.
    pub status: CallStatus,
    /// Where the error of a failed call arose.
    pub service: Service,
}

impl End {
    /// An end with the status of its category.
    #[must_use]
    pub const fn of(category: EndCategory) -> Self {
        Self { category, status: status_of(category), service: Service::Workflow }
    }

    /// An end of unknown cause.
    pub const UNKNOWN: Self = Self::of(EndCategory::Unknown);
}

/// The status of a call that ended so. A call that was never answered is a failed call.
#[must_use]
pub const fn status_of(category: EndCategory) -> CallStatus {
    use EndCategory as C;
    match category {
        C::CallerHangup
        | C::AgentHangup
        | C::TaskCompleted
        | C::Transferred
        | C::Voicemail
        | C::Silence
        | C::MaxDuration
        | C::Shutdown
        | C::Unknown => CallStatus::Completed,
        C::NoAnswer
        | C::Busy
        | C::Declined
        | C::Unreachable
        | C::Canceled
        | C::Blocked
        | C::Limit
        | C::ProviderError
        | C::AgentError
        | C::PlatformError
        | C::TelephonyError
        | C::Timeout
        | C::Lost => CallStatus::Failed,
    }
}

/// The meaning of a value of `table`; `None` if no rule of the table fits.
#[must_use]
pub fn end_of(table: EndTable, reason: &str) -> Option<End> {
    let rule = TABLES.get(table.name())?.iter().find(|rule| rule.fits(reason))?;
    Some(End {
        category: rule.category,
        status: rule.status.unwrap_or(status_of(rule.category)),
        service: rule.service.unwrap_or(Service::Workflow),
    })
}

/// The category of a value of `table`; `Unknown` if no rule of the table fits.
#[must_use]
pub fn end_category(table: EndTable, reason: &str) -> EndCategory {
    end_of(table, reason).unwrap_or(End::UNKNOWN).category
}

/// Categories that a tenant has chosen for end reasons, over those of the tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndOverrides(HashMap<(String, String), EndCategory>);

impl EndOverrides {
    /// Puts calls of `source` whose record has the end reason `reason` into `category`.
    pub fn insert(&mut self, source: impl Into<String>, reason: impl Into<String>, category: EndCategory) {
        self.0.insert((source.into(), reason.into()), category);
    }

    /// The category that the tenant has chosen.
    #[must_use]
    pub fn find(&self, source: &str, reason: &str) -> Option<EndCategory> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&(source.to_owned(), reason.to_owned())).copied()
    }

    /// `end`, or what the tenant makes of its reason. The status follows the chosen category.
    #[must_use]
    pub fn apply(&self, source: &str, reason: Option<&str>, end: End) -> End {
        let chosen = reason.and_then(|reason| self.find(source, reason));
        chosen.map_or(end, |category| End { service: end.service, ..End::of(category) })
    }
}

impl<S: Into<String>, R: Into<String>> FromIterator<(S, R, EndCategory)> for EndOverrides {
    fn from_iter<I: IntoIterator<Item = (S, R, EndCategory)>>(rows: I) -> Self {
        let mut overrides = Self::default();
        for (source, reason, category) in rows {
            overrides.insert(source, reason, category);
        }
        overrides
    }
}

/// One rule of a table. Without `reasons`, `contains` and `ends_with` it fits every reason that `unless` lets through.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    #[serde(deserialize_with = "word")]
    category: EndCategory,
    #[serde(default, deserialize_with = "some_word")]
    status: Option<CallStatus>,
    #[serde(default, deserialize_with = "some_word")]
    service: Option<Service>,
    #[serde(default)]
    reasons: Vec<String>,
    #[serde(default)]
    contains: Vec<String>,
    #[serde(default)]
    ends_with: Vec<String>,
    #[serde(default)]
    unless: Vec<String>,
}

impl Rule {
    fn fits(&self, reason: &str) -> bool {
        let names_nothing = self.reasons.is_empty() && self.contains.is_empty() && self.ends_with.is_empty();
        let is_named = self.reasons.iter().any(|known| known == reason)
            || self.contains.iter().any(|pattern| contains(reason, pattern))
            || self.ends_with.iter().any(|end| reason.ends_with(end));
        (names_nothing || is_named) && !self.unless.iter().any(|pattern| contains(reason, pattern))
    }
}

/// Whether `pattern` is somewhere in `text`; `#` in it is a digit.
fn contains(text: &str, pattern: &str) -> bool {
    let fits = |(byte, wanted): (&u8, &u8)| if *wanted == b'#' { byte.is_ascii_digit() } else { byte == wanted };
    text.as_bytes().windows(pattern.len()).any(|window| window.iter().zip(pattern.as_bytes()).all(fits))
}

/// A word of one of the domain's vocabularies.
fn word<'de, D: Deserializer<'de>, W: FromStr<Err: Display>>(deserializer: D) -> Result<W, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}

/// A word that may be left out.
fn some_word<'de, D: Deserializer<'de>, W: FromStr<Err: Display>>(deserializer: D) -> Result<Option<W>, D::Error> {
    word(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_of_the_file_is_known_and_every_known_table_is_in_the_file() {
        let mut names: Vec<_> = TABLES.keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, EndTable::ALL.iter().map(|table| table.name()).collect::<Vec<_>>());
    }

    #[test]
    fn a_new_reason_is_unknown_unless_it_names_an_error() {
        assert_eq!(end_category(EndTable::Vapi, "customer-walked-away"), EndCategory::Unknown);
        let end = end_of(EndTable::Vapi, "pipeline-error-newvendor-llm-failed").unwrap_or(End::UNKNOWN);
        assert_eq!((end.category, end.service), (EndCategory::ProviderError, Service::Llm));
        assert_eq!(end_of(EndTable::Retell, "a_new_one"), None);
    }

    #[test]
    fn a_digit_of_a_pattern_is_a_digit_of_the_reason() {
        assert!(contains("error-503-x", "-###-"));
        assert!(!contains("error-50-x", "-###-"));
        assert!(!contains("", "-###-"));
    }

    #[test]
    fn a_tenants_category_replaces_the_tables_and_brings_its_status() {
        let overrides: EndOverrides = [("vapi", "voicemail", EndCategory::NoAnswer)].into_iter().collect();
        let voicemail = End::of(EndCategory::Voicemail);
        assert_eq!(overrides.apply("vapi", Some("voicemail"), voicemail), End::of(EndCategory::NoAnswer));
        assert_eq!(overrides.apply("retell", Some("voicemail"), voicemail), voicemail);
        assert_eq!(overrides.apply("vapi", None, voicemail), voicemail);
    }
}
