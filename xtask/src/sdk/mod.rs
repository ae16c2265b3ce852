//! Clients in other languages, by public generators whose versions are pinned under `sdk/`. What they make goes into
//! `target/sdk`; nothing generated is checked in.

mod document;
mod python;
mod rust;
mod typescript;

use crate::smoke::SmokeServer;
use clap::{Args, ValueEnum};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

const DOCUMENT: &str = "openapi/openapi.json";
/// Where clients go, each into a folder with its language's name.
const FOLDER: &str = "target/sdk";

/// Which clients.
#[derive(Args)]
pub struct Arguments {
    /// The language.
    #[arg(value_enum, default_value_t = Language::All)]
    language: Language,
    /// Then use each client against a server.
    #[arg(long)]
    test: bool,
}

/// A language that there is a client for.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Language {
    All,
    Typescript,
    Python,
    Rust,
}

/// How the client of a language is made and tried.
struct Maker {
    language: Language,
    /// Also the slug of the tenant whose calls the test sends.
    name: &'static str,
    missing: fn() -> Option<&'static str>,
    generate: fn(&Value) -> anyhow::Result<()>,
    /// Checks the types of the test program, and gives the command that runs it.
    test: fn() -> anyhow::Result<Command>,
}

const MAKERS: [Maker; 3] = [
    Maker {
        language: Language::Typescript,
        name: "typescript",
        missing: typescript::missing,
        generate: typescript::generate,
        test: typescript::test,
    },
    Maker {
        language: Language::Python,
        name: "python",
        missing: crate::python::missing,
        generate: python::generate,
        test: python::test,
    },
    Maker { language: Language::Rust, name: "rust", missing: || None, generate: rust::generate, test: rust::test },
];

/// Generates clients, and tries them if asked to.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let wanted = |maker: &&Maker| arguments.language == Language::All || arguments.language == maker.language;
    for maker in MAKERS.iter().filter(wanted) {
        if let Some(reason) = (maker.missing)() {
            anyhow::bail!("the {} client cannot be made: {reason}", maker.name);
        }
        maker.run(arguments.test)?;
    }
    Ok(())
}

/// Generates and tries every client that the machine has the tools for; says of the others why not. Where `all` must be
/// tried, a missing tool is a failure.
pub fn check(all: bool) -> anyhow::Result<()> {
    for maker in &MAKERS {
        match (maker.missing)() {
            Some(reason) if all => anyhow::bail!("the {} client cannot be tried: {reason}", maker.name),
            Some(reason) => println!("the {} client is not tried: {reason}", maker.name),
            None => maker.run(true)?,
        }
    }
    Ok(())
}

impl Maker {
    fn run(&self, test: bool) -> anyhow::Result<()> {
        let document: Value = serde_json::from_slice(&std::fs::read(DOCUMENT)?)?;
        std::fs::create_dir_all(Path::new(FOLDER).join("build"))?;
        (self.generate)(&document::for_clients(document))?;
        println!("wrote {FOLDER}/{}", self.name);
        if test {
            let mut program = (self.test)()?;
            let server = SmokeServer::start(&[])?;
            let key = server.create_tenant(self.name)?;
            crate::program::run(program.env("CALLSCOPE_URL", server.url()).env("CALLSCOPE_KEY", key))?;
            println!("the {} client works", self.name);
        }
        Ok(())
    }
}

/// Writes a document for a generator into a file; gives its path.
fn write(document: &Value, name: &str) -> anyhow::Result<String> {
    let file = format!("{FOLDER}/build/{name}");
    std::fs::write(&file, document.to_string())?;
    Ok(file)
}
