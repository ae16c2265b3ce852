//! Texts of sources, brought within the bounds of a record.

use callscope_domain::{LANGUAGE_MAX, SLUG_MAX};
use std::borrow::Cow;

/// Cuts a text to `max` characters and removes NUL, which PostgreSQL cannot store; none if nothing is left.
pub(crate) fn cut<'t, T: From<Cow<'t, str>>>(text: &'t str, max: usize) -> Option<T> {
    // No text has more characters than bytes.
    let cut = if text.len() <= max && !text.as_bytes().contains(&0) {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.chars().filter(|character| *character != '\0').take(max).collect())
    };
    (!cut.is_empty()).then(|| cut.into())
}

/// A slug made of a name: lower case, with `-` for each run of characters that a slug cannot have.
pub(crate) fn slug(name: &str) -> Option<String> {
    let mut slug = String::new();
    for character in name.chars().flat_map(char::to_lowercase) {
        if matches!(character, 'a'..='z' | '0'..='9' | '_' | '-') {
            slug.push(character);
        } else if !slug.ends_with('-') {
            slug.push('-');
        }
    }
    let slug: String = slug.trim_matches(['-', '_']).chars().take(SLUG_MAX).collect();
    (!slug.is_empty()).then_some(slug)
}

/// The bytes of a text of hexadecimal digits in either case; none if it has another character, or half a byte.
pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let nibble = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| Some(nibble(*high)? << 4 | nibble(*low)?));
    if rest.is_empty() { bytes.collect() } else { None }
}

/// Whether a text has the form of a BCP 47 tag, such as `en-US`.
pub(crate) fn is_language_tag(text: &str) -> bool {
    let is_part = |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    text.len() <= LANGUAGE_MAX
        && text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.split('-').all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_by_characters_and_lose_nul() {
        assert_eq!(cut::<String>("héllo", 2).as_deref(), Some("hé"));
        assert_eq!(cut::<String>("a\0b", 3).as_deref(), Some("ab"));
        assert_eq!(cut::<String>("\0", 3), None);
        assert_eq!(cut::<String>("", 3), None);
    }

    #[test]
    fn a_slug_is_made_of_any_name() {
        assert_eq!(slug("Daily Check-up / Bérlin").as_deref(), Some("daily-check-up-b-rlin"));
        assert_eq!(slug("Clinic  receptionist (v2)").as_deref(), Some("clinic-receptionist-v2"));
        assert_eq!(slug("_Größe_").as_deref(), Some("gr-e"));
        assert_eq!(slug("--_x_--").as_deref(), Some("x"));
        assert_eq!(slug("東京"), None);
        assert_eq!(slug(&"a".repeat(100)).map(|slug| slug.len()), Some(SLUG_MAX));
    }

    #[test]
    fn hexadecimal_digits_are_bytes() {
        assert_eq!(from_hex("00aFf9"), Some(vec![0x00, 0xaf, 0xf9]));
        assert_eq!(from_hex(""), Some(Vec::new()));
        for other in ["0", "0g", "+1", " 1", "é", "0x00"] {
            assert_eq!(from_hex(other), None, "{other}");
        }
    }

    #[test]
    fn a_language_tag_has_parts_of_letters_and_digits() {
        for tag in ["en", "en-US", "zh-Hans-CN", "es-419"] {
            assert!(is_language_tag(tag), "{tag}");
        }
        for other in ["", "-", "en-", "en_US", "9", "multilingual", "é"] {
            assert!(!is_language_tag(other), "{other}");
        }
    }
}
