//! Bounded texts: what a client may write into a record, with the bound in the type.

use std::fmt;

/// Longest slug, in characters.
pub const SLUG_MAX: usize = 64;
/// Longest workflow name, in characters.
pub const WORKFLOW_NAME_MAX: usize = 200;
/// Longest agent name, in characters.
pub const AGENT_MAX: usize = 128;
/// Longest end reason, in characters.
pub const END_REASON_MAX: usize = 128;
/// Longest provider name, in characters.
pub const PROVIDER_NAME_MAX: usize = 64;
/// Longest error message, in characters: room for a stack trace.
pub const MESSAGE_MAX: usize = 4096;
/// Longest version of an agent, in characters.
pub const AGENT_VERSION_MAX: usize = 64;
/// Longest name of an environment, in characters.
pub const ENVIRONMENT_MAX: usize = 64;
/// Longest language tag, in characters.
pub const LANGUAGE_MAX: usize = 35;
/// Longest name of a model, in characters.
pub const MODEL_MAX: usize = 128;
/// Longest value of a tag, in characters.
pub const TAG_VALUE_MAX: usize = 256;
/// Longest id of a call in the system that it comes from, in characters.
pub const EXTERNAL_ID_MAX: usize = 256;

/// The display name of a workflow.
pub type WorkflowName = Text<WORKFLOW_NAME_MAX>;
/// The name of the agent that ran a call, or in which an error arose.
pub type AgentName = Text<AGENT_MAX>;
/// Why a call ended, in the client's words.
pub type EndReason = Text<END_REASON_MAX>;
/// The name of a provider, such as `deepgram`.
pub type ProviderName = Text<PROVIDER_NAME_MAX>;
/// The name of a model, such as `nova-3`.
pub type ModelName = Text<MODEL_MAX>;
/// The key of a tag: a slug, so that `tag.KEY` can name it.
pub type TagKey = Slug;
/// The value of a tag.
pub type TagValue = Text<TAG_VALUE_MAX>;
/// A call's id in the system that it comes from.
pub type ExternalId = Text<EXTERNAL_ID_MAX>;
/// The message of an error.
pub type Message = Text<MESSAGE_MAX>;

/// One to `MAX` characters, none of them NUL (which PostgreSQL cannot store).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text<const MAX: usize>(Box<str>);

/// Checks the bounds of a text of at most so many characters.
pub(crate) fn check_text(text: &str, max: usize) -> Result<(), TextFault> {
    if text.is_empty() {
        return Err(TextFault::Empty);
    }
    // Bytes bound characters from above, so most texts are not counted at all.
    if text.len() > max && text.chars().count() > max {
        return Err(TextFault::TooLong { max });
    }
    if text.as_bytes().contains(&0) {
        return Err(TextFault::ContainsNul);
    }
    Ok(())
}

/// Why a string is not a [`Text`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextFault {
    /// No characters.
    #[error("must not be empty")]
    Empty,
    /// More characters than the bound.
    #[error("must be at most {max} characters long")]
    TooLong {
        /// The bound.
        max: usize,
    },
    /// A U+0000 somewhere.
    #[error("must not contain the NUL character")]
    ContainsNul,
}

impl<const MAX: usize> Text<MAX> {
    /// Checks the bounds.
    pub fn new(text: impl Into<Box<str>>) -> Result<Self, TextFault> {
        let text = text.into();
        check_text(&text, MAX)?;
        Ok(Self(text))
    }

    /// A text that keeps the bounds: of this crate's own, or one that was checked.
    pub(crate) fn checked(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The characters.
    #[must_use]
    pub const fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> std::str::FromStr for Text<MAX> {
    type Err = TextFault;

    fn from_str(text: &str) -> Result<Self, TextFault> {
        Self::new(text)
    }
}

impl std::str::FromStr for Slug {
    type Err = SlugFault;

    fn from_str(text: &str) -> Result<Self, SlugFault> {
        Self::new(text)
    }
}

impl<const MAX: usize> fmt::Display for Text<MAX> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A name for URLs: `[a-z0-9][a-z0-9_-]{0,63}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slug(Box<str>);

/// Why a string is not a [`Slug`]; there is one rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must match [a-z0-9][a-z0-9_-]{{0,63}}: lower-case letters, digits, `-` and `_`, at most {SLUG_MAX} characters"
)]
pub struct SlugFault;

impl Slug {
    /// Checks the pattern.
    pub fn new(text: impl Into<Box<str>>) -> Result<Self, SlugFault> {
        let text = text.into();
        let bytes = text.as_bytes();
        let first_is_sound = bytes.first().is_some_and(u8::is_ascii_alphanumeric);
        let all_are_sound = bytes.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'));
        if first_is_sound && all_are_sound && bytes.len() <= SLUG_MAX { Ok(Self(text)) } else { Err(SlugFault) }
    }

    /// A slug of this crate's own, which follows the pattern.
    pub(crate) fn constant(text: &'static str) -> Self {
        Self(text.into())
    }

    /// The characters.
    #[must_use]
    pub const fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Slug {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_counted_in_characters_not_bytes() {
        let longest = "é".repeat(AGENT_MAX);
        assert!(AgentName::new(longest.clone()).is_ok());
        assert_eq!(AgentName::new(longest + "é"), Err(TextFault::TooLong { max: AGENT_MAX }));
    }

    #[test]
    fn a_text_is_neither_empty_nor_holds_nul() {
        assert_eq!(AgentName::new(""), Err(TextFault::Empty));
        assert_eq!(AgentName::new("a\0b"), Err(TextFault::ContainsNul));
    }

    #[test]
    fn a_slug_follows_its_pattern() {
        for sound in ["a", "0", "daily-call", "a_b-c9", &"x".repeat(SLUG_MAX)] {
            assert!(Slug::new(sound).is_ok(), "{sound}");
        }
        for unsound in ["", "-a", "_a", "Daily", "a b", "é", "a/b", &"x".repeat(SLUG_MAX + 1)] {
            assert_eq!(Slug::new(unsound), Err(SlugFault), "{unsound}");
        }
    }
}
