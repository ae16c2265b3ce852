//! Durations, sizes and lists, as people write them in settings.

use bytesize::ByteSize;
use serde::{Deserialize, Deserializer, Serializer, de};

/// `"250ms"`, `"4h"`: for `#[serde(with = "duration")]`.
pub mod duration {
    use super::{Deserialize, Deserializer, Serializer, de};
    use std::time::Duration;

    const DAY_SECONDS: u64 = 24 * 60 * 60;

    /// Writes one: whole days as such, since years and months of settings have no fixed length.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        let seconds = duration.as_secs();
        if seconds > 0 && seconds.is_multiple_of(DAY_SECONDS) && duration.subsec_nanos() == 0 {
            return serializer.collect_str(&format_args!("{}d", seconds / DAY_SECONDS));
        }
        serializer.collect_str(&humantime::format_duration(*duration))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text).map_err(|_| {
            de::Error::custom(format!("{text:?} is no duration; write one like \"250ms\", \"30s\" or \"4h\""))
        })
    }
}

/// `"64MiB"`: for `#[serde(with = "size")]`.
pub mod size {
    use super::{ByteSize, Deserialize, Deserializer, Serializer, de};

    /// Units, largest first.
    const UNITS: [(usize, &str); 4] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B")];

    /// Writes one, exactly, in the largest unit that divides it.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
    pub fn serialize<S: Serializer>(size: &usize, serializer: S) -> Result<S::Ok, S::Error> {
        let unit = UNITS.iter().find(|(bytes, _)| size.is_multiple_of(*bytes) && size >= bytes);
        let (bytes, name) = unit.copied().unwrap_or((1, "B"));
        serializer.collect_str(&format_args!("{}{name}", size / bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
        let text = String::deserialize(deserializer)?;
        let size: Option<ByteSize> = text.parse().ok();
        size.and_then(|size| usize::try_from(size.as_u64()).ok())
            .ok_or_else(|| de::Error::custom(format!("{text:?} is no size; write one like \"64MiB\"")))
    }
}

/// A list; in the environment, which has no lists, its elements are separated by commas.
pub fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "must be a list of texts")]
    enum Written {
        List(Vec<String>),
        Text(String),
    }
    Ok(match Written::deserialize(deserializer)? {
        Written::List(elements) => elements,
        Written::Text(text) => {
            text.split(',').map(str::trim).filter(|element| !element.is_empty()).map(str::to_owned).collect()
        }
    })
}
