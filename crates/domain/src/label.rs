//! Texts that stand in lines: of the log, of lists on a terminal, of audits.

use crate::text::{Text, TextFault};
use std::fmt;

/// A [`Text`] without characters that break lines, steer terminals or reorder what stands around them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label<const MAX: usize>(Text<MAX>);

/// Why a string is not a [`Label`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelFault {
    /// It is no text within the bounds.
    #[error(transparent)]
    Text(#[from] TextFault),
    /// A control character, a line or paragraph separator, or a change of the direction of writing.
    #[error("must not contain control characters, line breaks or changes of the direction of writing")]
    Control,
}

impl<const MAX: usize> Label<MAX> {
    /// Checks the bounds and every character.
    pub fn new(text: impl Into<Box<str>>) -> Result<Self, LabelFault> {
        let text = Text::new(text)?;
        if text.as_str().chars().any(is_control) { Err(LabelFault::Control) } else { Ok(Self(text)) }
    }

    /// The characters.
    #[must_use]
    pub const fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// C0, DEL and C1; the line and the paragraph separator; embeddings, overrides and isolates of the bidirectional
/// algorithm (Unicode Standard Annex 9). Marks of direction, which only Arabic and Hebrew need, change nothing around
/// them.
fn is_control(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

impl<const MAX: usize> std::str::FromStr for Label<MAX> {
    type Err = LabelFault;

    fn from_str(text: &str) -> Result<Self, LabelFault> {
        Self::new(text)
    }
}

impl<const MAX: usize> fmt::Display for Label<MAX> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_holds_every_script_and_no_control() {
        for sound in ["Ada", "auth0|ü", "東京 — 🎧", "שלום\u{200F}", "a\u{AD}b"] {
            assert!(Label::<20>::new(sound).is_ok(), "{sound}");
        }
        let breaking = "\n\r\t\u{1B}\u{7F}\u{80}\u{85}\u{9B}\u{9F}\u{2028}\u{2029}\u{202A}\u{202E}\u{2066}\u{2069}";
        for character in breaking.chars() {
            assert_eq!(Label::<20>::new(format!("a{character}b")), Err(LabelFault::Control), "{character:?}");
        }
    }

    #[test]
    fn a_label_has_the_bounds_of_a_text() {
        assert_eq!(Label::<3>::new(""), Err(TextFault::Empty.into()));
        assert_eq!(Label::<3>::new("abcd"), Err(TextFault::TooLong { max: 3 }.into()));
        assert_eq!(Label::<3>::new("\0"), Err(TextFault::ContainsNul.into()));
    }
}
