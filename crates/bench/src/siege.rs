//! Attacks on a server that this program starts itself, and what they cost the tenants that do not take part. Every attack
//! is bounded in time and count, and stays on loopback.

mod attacker;
mod attacks;
mod battle;
mod cage;
mod measured;
mod records;
mod report;
mod target;
mod verdict;
mod wire;

use crate::database::Engine;
use crate::server::build;
use anyhow::ensure;
use attacks::{Attack, COVERED_BY_TESTS, all};
use battle::{Options, fight};
use clap::{Args, ValueEnum};
use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;
use verdict::Row;

/// Open files and connections that attacks need.
const DESCRIPTORS: u64 = 10_000;

/// What to attack, and how.
#[derive(Args)]
pub struct Arguments {
    /// Which databases.
    #[arg(long, value_enum, default_value_t = Databases::Both)]
    database: Databases,
    /// Only these attacks; all if not given.
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    only: Vec<String>,
    /// How long each attack takes, in seconds; some need longer.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(5..=120))]
    seconds: u64,
    /// Write the table to this file, as Markdown.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Only list the attacks.
    #[arg(long)]
    list: bool,
    /// Attack this program, and build nothing; a new release build of the server if not given.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Databases {
    Sqlite,
    Postgres,
    Both,
}

/// Runs the attacks; fails when one was not withstood.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let attacks = all();
    if arguments.list {
        print!("{}", describe(&attacks)?);
        return Ok(());
    }
    for name in &arguments.only {
        ensure!(attacks.iter().any(|attack| attack.name == name), "no attack is called {name}; see --list");
    }
    let binary = match &arguments.binary {
        Some(binary) => binary.canonicalize()?,
        None => build()?,
    };
    raise_descriptors();
    let folder = tempfile::Builder::new().prefix("callscope-siege-").tempdir()?;
    let postgres = match arguments.database {
        Databases::Sqlite => None,
        _ => Some(Engine::postgres()?),
    };
    let mut rows = Vec::new();
    for attack in attacks.iter().filter(|attack| is_chosen(arguments, attack)) {
        // The server creates the folder.
        let sqlite = Engine::Sqlite(folder.path().join(attack.name));
        let sqlite = Some(&sqlite).filter(|_| arguments.database != Databases::Postgres);
        for engine in sqlite.into_iter().chain(&postgres).filter(|engine| attack.is_for(engine)) {
            let options = Options { binary: &binary, engine, duration: Duration::from_secs(arguments.seconds) };
            let row = fight(attack, &options).unwrap_or_else(|error| Row::not_fought(attack, engine.name(), &error));
            report::print(&row);
            rows.push(row);
        }
    }
    if let Some(path) = &arguments.report {
        report::write(path, &rows, arguments.seconds, &describe(&attacks)?)?;
    }
    let failed: Vec<String> =
        rows.iter().filter(|row| !row.is_passed).map(|row| format!("{} ({})", row.cells[0], row.cells[1])).collect();
    println!("\n{} of {} attacks were withstood", rows.len() - failed.len(), rows.len());
    ensure!(failed.is_empty(), "not withstood: {}", failed.join(", "));
    Ok(())
}

fn is_chosen(arguments: &Arguments, attack: &Attack) -> bool {
    arguments.only.is_empty() || arguments.only.iter().any(|name| name == attack.name)
}

/// The attacks, as Markdown.
fn describe(attacks: &[Attack]) -> anyhow::Result<String> {
    let mut text = String::from("## The attacks\n\n");
    for attack in attacks {
        write!(text, "- `{}` ({}): {}", attack.name, attack.from, attack.about)?;
        if !attack.settings.is_empty() {
            let settings: Vec<String> = attack.settings.iter().map(|(key, _)| format!("`{key}`")).collect();
            write!(text, " With a setting that is not the default: {}.", settings.join(", "))?;
        }
        text.push('\n');
    }
    text.push_str("\n## Attacks that tests cover\n\n");
    for (attack, test) in COVERED_BY_TESTS {
        writeln!(text, "- {attack}: `{test}`")?;
    }
    Ok(text)
}

/// Allows this process as many connections as attacks need; the server keeps the limit that it was started with.
fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= DESCRIPTORS) {
        return;
    }
    let maximum = maximum.map(|maximum| maximum.max(DESCRIPTORS));
    if setrlimit(Resource::Nofile, Rlimit { current: Some(DESCRIPTORS), maximum }).is_err() {
        println!("fewer connections than the attacks want: the limit of open files cannot be raised");
    }
}
