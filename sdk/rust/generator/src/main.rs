//! Generates the Rust client: `callscope-client-generator OPENAPI_3_0.json LIB.rs`.

use anyhow::Context;
use progenitor::{GenerationSettings, Generator, InterfaceStyle, TagStyle};

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(document), Some(file), None) = (arguments.next(), arguments.next(), arguments.next()) else {
        anyhow::bail!("usage: callscope-client-generator OPENAPI_3_0.json LIB.rs");
    };
    let document = std::fs::read(document).context("cannot read the document")?;
    let document = serde_json::from_slice(&document).context("the document is no OpenAPI 3.0")?;
    let mut settings = GenerationSettings::default();
    settings.with_interface(InterfaceStyle::Builder).with_tag(TagStyle::Merged);
    let tokens = Generator::new(&settings).generate_tokens(&document)?;
    let source = with_named_periods(&prettyplease::unparse(&syn::parse2(tokens)?));
    std::fs::write(file, source).context("cannot write the client")
}

/// Gives periods names that can be read: the generator makes `X7d` of "7d", since no name starts with a digit, and has no
/// setting for it.
fn with_named_periods(source: &str) -> String {
    let is_of_name = |character: char| character.is_alphanumeric() || character == '_';
    let mut named = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find(is_of_name) {
        let length = rest[start..].find(|character| !is_of_name(character)).unwrap_or(rest.len() - start);
        let (before, name) = (&rest[..start], &rest[start..start + length]);
        named.push_str(before);
        named.push_str(&period_name(name).unwrap_or_else(|| name.to_owned()));
        rest = &rest[start + length..];
    }
    named.push_str(rest);
    named
}

/// `Last7Days` for `X7d`, `Last24Hours` for `X24h`; `None` for every other name.
fn period_name(name: &str) -> Option<String> {
    let period = name.strip_prefix('X')?;
    let (count, unit) = period.split_at_checked(period.len().checked_sub(1)?)?;
    let count: u32 = count.parse().ok()?;
    let unit = match unit {
        "h" => "Hour",
        "d" => "Day",
        _ => return None,
    };
    Some(format!("Last{count}{unit}{}", if count == 1 { "" } else { "s" }))
}
