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
    let source = prettyplease::unparse(&syn::parse2(tokens)?);
    std::fs::write(file, source).context("cannot write the client")
}
