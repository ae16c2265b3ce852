//! The names of providers in telemetry, which each framework writes in its own way, as one name for each vendor. Names
//! that clients send in records are left as they are.

use callscope_domain::{PROVIDER_NAME_MAX, ProviderType};

/// The name of a provider that telemetry does not name.
const UNKNOWN: &str = "unknown";

/// The canonical name of a provider.
pub fn provider_name(_stage: ProviderType, provider: &str, model: &str) -> String {
    let (provider, model) = (provider.trim().to_lowercase(), model.trim().to_lowercase());
    let provider = match (provider.as_str(), model.split_once('/')) {
        // LiveKit's own inference names the vendor in the model.
        ("livekit", Some((vendor, _))) => vendor,
        ("api.openai.com", _) => "openai",
        ("", _) => UNKNOWN,
        (provider, _) => provider,
    };
    let is_kept = |character: char| character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-');
    let name = provider.chars().map(|character| if is_kept(character) { character } else { '_' });
    name.take(PROVIDER_NAME_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_lower_case_and_of_few_characters() {
        let name = |provider, model| provider_name(ProviderType::Llm, provider, model);
        assert_eq!(name("api.openai.com", ""), "openai");
        assert_eq!(name(" Deepgram ", "nova-3"), "deepgram");
        assert_eq!(name("livekit", "openai/gpt-4.1"), "openai");
        assert_eq!(name("", ""), "unknown");
        assert_eq!(name("My Vendor/2", ""), "my_vendor_2");
    }
}
