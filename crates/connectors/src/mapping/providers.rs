//! Canonical names of providers, from `mapping/providers.toml`.

use callscope_domain::{PROVIDER_NAME_MAX, ProviderType};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

/// The name of an unknown provider.
const UNKNOWN: &str = "unknown";

static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    toml::from_str::<File>(include_str!("../../mapping/providers.toml")).expect("the embedded file is sound").into()
});

/// The canonical name of a provider that a source calls `raw`: at most 64 characters, never empty.
///
/// `model` names the vendor where `raw` is empty or an inference gateway. `stage` distinguishes the products that one
/// vendor sells under one name.
#[must_use]
pub fn normalize_provider(raw: &str, model: Option<&str>, stage: Option<ProviderType>) -> Cow<'static, str> {
    let lower = raw.trim().to_lowercase();
    let vendor_in_model = model.and_then(|model| model.split_once('/')).map(|(vendor, _)| vendor.to_lowercase());
    let name = match vendor_in_model {
        Some(vendor) if TABLES.gateways.contains(&lower) => vendor,
        _ => lower,
    };
    if let Some(host) = TABLES.hosts.iter().find(|host| host.fits(&name)) {
        return Cow::Borrowed(&host.provider);
    }
    if let Some(known) = find_canonical(&name) {
        let of_language_models = TABLES.language_models.get(known).filter(|_| stage == Some(ProviderType::Llm));
        return Cow::Borrowed(of_language_models.map_or(known, String::as_str));
    }
    let own = as_word(&name);
    if !own.is_empty() {
        return Cow::Owned(own);
    }
    // Only the names of language models identify their vendor: `nova` is Amazon's LLM and Deepgram's STT.
    let of_model = model.filter(|_| stage.is_none_or(|stage| stage == ProviderType::Llm)).and_then(vendor_of_model);
    Cow::Borrowed(of_model.unwrap_or(UNKNOWN))
}

/// [`normalize_provider`] for telemetry, where the name, the model or both may be empty.
#[must_use]
pub fn provider_of_telemetry(stage: ProviderType, raw: &str, model: &str) -> String {
    normalize_provider(raw, Some(model).filter(|model| !model.is_empty()), Some(stage)).into_owned()
}

/// The vendor of a language model, by the beginning of the model's name.
#[must_use]
pub fn vendor_of_model(model: &str) -> Option<&'static str> {
    let model = model.to_lowercase();
    TABLES.models.iter().find(|row| model.starts_with(&row.prefix)).map(|row| row.provider.as_str())
}

/// Looks `name` up, then `name` without one suffix after another.
fn find_canonical(name: &str) -> Option<&'static str> {
    let reduced: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    let mut rest = reduced.as_str();
    loop {
        if let Some(canonical) = TABLES.canonical.get(rest) {
            return Some(canonical);
        }
        rest = TABLES.suffixes.iter().find_map(|suffix| rest.strip_suffix(suffix).filter(|rest| !rest.is_empty()))?;
    }
}

/// The name itself, with every run of characters other than `[a-z0-9._-]` as `_`.
fn as_word(name: &str) -> String {
    let is_plain = |character: char| matches!(character, 'a'..='z' | '0'..='9' | '.' | '_' | '-');
    let mut word = String::new();
    for character in name.chars() {
        if is_plain(character) {
            word.push(character);
        } else if !word.ends_with('_') {
            word.push('_');
        }
    }
    // All that is left is ASCII, so characters are bytes.
    let word = word.trim_matches('_');
    word[..word.len().min(PROVIDER_NAME_MAX)].to_owned()
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    gateways: Vec<String>,
    suffixes: Vec<String>,
    hosts: Vec<Host>,
    language_models: HashMap<String, String>,
    models: Vec<Model>,
    aliases: HashMap<String, Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Host {
    #[serde(default)]
    prefix: String,
    suffix: String,
    provider: String,
}

impl Host {
    fn fits(&self, name: &str) -> bool {
        name.starts_with(&self.prefix) && name.ends_with(&self.suffix)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    prefix: String,
    provider: String,
}

/// The file, ready to be looked up in.
struct Tables {
    gateways: Vec<String>,
    suffixes: Vec<String>,
    hosts: Vec<Host>,
    language_models: HashMap<String, String>,
    models: Vec<Model>,
    /// By every spelling, reduced to `[a-z0-9]`.
    canonical: HashMap<String, String>,
}

impl From<File> for Tables {
    fn from(file: File) -> Self {
        let mut canonical = HashMap::new();
        for (name, spellings) in file.aliases {
            canonical.insert(name.replace('_', ""), name.clone());
            canonical.extend(spellings.into_iter().map(|spelling| (spelling, name.clone())));
        }
        Self {
            gateways: file.gateways,
            suffixes: file.suffixes,
            hosts: file.hosts,
            language_models: file.language_models,
            models: file.models,
            canonical,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_no_table_knows_stays_itself() {
        assert_eq!(normalize_provider(" My  Vendor!", None, None), "my_vendor");
        assert_eq!(normalize_provider(&"x".repeat(100), None, None), "x".repeat(PROVIDER_NAME_MAX));
    }

    #[test]
    fn an_empty_name_is_unknown() {
        for raw in ["", "  ", "東京"] {
            assert_eq!(normalize_provider(raw, None, None), UNKNOWN, "{raw}");
        }
    }

    #[test]
    fn a_model_names_the_vendor_of_a_language_model_alone() {
        assert_eq!(normalize_provider("", Some("nova-pro"), Some(ProviderType::Llm)), "aws_bedrock");
        assert_eq!(normalize_provider("", Some("nova-3"), Some(ProviderType::Stt)), UNKNOWN);
    }
}
