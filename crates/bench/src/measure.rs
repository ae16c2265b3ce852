//! Measures the release build on SQLite and on PostgreSQL: reads, ingestion, bytes on disk, memory. Absolute figures
//! drift with the machine, so each claim is a ratio of two figures of one run.

mod against;
mod cached;
mod contention;
mod floor;
mod growth;
mod ingestion;
mod live;
mod neighbours;
mod plain_sql;
mod processes;
pub mod reads;

use crate::database::Engine;
use crate::records::{self, Fields, Records};
use crate::report::{Report, short};
use crate::server::{Instance, Program, build};
use anyhow::Context;
use chrono::{DateTime, TimeDelta, Utc};
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};

/// How to measure.
#[derive(Args)]
pub struct Arguments {
    /// Which databases.
    #[arg(long, value_enum, default_value_t = Databases::Both)]
    database: Databases,
    /// Calls of the largest tenant.
    #[arg(long, default_value_t = 1_000_000)]
    calls: usize,
    /// Most calls that are sent over HTTP: of a larger tenant, only reads are measured.
    #[arg(long, default_value_t = 1_000_000)]
    sent_calls: usize,
    /// The fields of the records.
    #[arg(long, value_enum, default_value_t = Fields::Full)]
    records: Fields,
    /// Questions per endpoint and size.
    #[arg(long, default_value_t = 200)]
    questions: usize,
    /// Other tenants in the same tables, each with a tenth of the calls.
    #[arg(long, default_value_t = 20)]
    neighbours: usize,
    /// Tenants that several processes ingest for at a time.
    #[arg(long, default_value_t = 16)]
    tenants: usize,
    /// Repetitions of a slow aggregate by SQL, per index.
    #[arg(long, default_value_t = 3)]
    repetitions: usize,
    /// Only these parts; all if not given.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "PART")]
    only: Vec<Part>,
    /// Another build of the server, such as one of an earlier commit. Measures only how this build compares with it.
    #[arg(long, value_name = "PROGRAM")]
    against: Option<PathBuf>,
    /// The folder for records and SQLite files, some four kilobytes a call; the temporary folder if not given.
    /// PostgreSQL's files are in /tmp.
    #[arg(long)]
    folder: Option<PathBuf>,
}

/// Which databases to measure.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Databases {
    Sqlite,
    Postgres,
    Both,
}

impl Databases {
    const fn each(self) -> &'static [Self] {
        match self {
            Self::Sqlite => &[Self::Sqlite],
            Self::Postgres => &[Self::Postgres],
            Self::Both => &[Self::Sqlite, Self::Postgres],
        }
    }
}

/// A part of the benchmark.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// In time order, against the floor, shuffled.
    Ingestion,
    /// At several sizes, and against plain SQL.
    Reads,
    /// One tenant among others.
    Neighbours,
    /// Several servers on one PostgreSQL.
    Processes,
    /// Reads while records go in.
    Contention,
    /// Reads of answers that are kept.
    Cached,
    /// Those who follow calls as they happen.
    Live,
}

/// What all parts need to know, about one database.
struct Bench<'a> {
    arguments: &'a Arguments,
    engine: &'a Engine,
    /// Where records are.
    folder: &'a Path,
    /// When the records end; the same for all, so that databases can be compared.
    end: DateTime<Utc>,
    report: Report,
}

/// Runs every benchmark and prints its figures.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    build()?;
    let parent = arguments.folder.clone().unwrap_or_else(std::env::temp_dir);
    std::fs::create_dir_all(&parent)?;
    let folder = tempfile::Builder::new().prefix("callscope-bench-").tempdir_in(parent)?;
    let end = Utc::now() - TimeDelta::minutes(10);
    let mut reports = Vec::new();
    for database in arguments.database.each() {
        let engine = match database {
            Databases::Postgres => Engine::postgres()?,
            _ => Engine::Sqlite(folder.path().to_owned()),
        };
        let report = Report::new(engine.name());
        let mut bench = Bench { arguments, engine: &engine, folder: folder.path(), end, report };
        bench.measure().context("the benchmark failed")?;
        reports.push(bench.report);
    }
    reports.iter().for_each(Report::print);
    Ok(())
}

impl Bench<'_> {
    fn measure(&mut self) -> anyhow::Result<()> {
        let records = self.records();
        println!("\n# {}", self.engine.description()?);
        println!("NDJSON, {} records a request, {} latency samples a call", records::BATCH_RECORDS, records::SAMPLES);
        if let Some(program) = &self.arguments.against {
            return against::measure(self, &Program::at(program));
        }
        if self.has(Part::Live) {
            live::measure(self)?;
        }
        if self.arguments.only == [Part::Live] {
            return Ok(());
        }
        let mut loaded = if self.has(Part::Ingestion) {
            ingestion::measure(self)?
        } else {
            println!("importing {} calls", short(records.calls));
            Instance::import(self.engine, "large", &records)?
        };
        if self.has(Part::Reads) {
            growth::measure(self, &mut loaded)?;
        }
        if self.has(Part::Neighbours) {
            neighbours::measure(self, &loaded)?;
        }
        if self.has(Part::Contention) {
            contention::measure(self, &loaded)?;
        }
        if self.has(Part::Cached) {
            cached::measure(self, &mut loaded)?;
        }
        loaded.remove()?;
        // SQLite is for one process.
        if self.has(Part::Processes) && matches!(self.engine, Engine::Postgres(_)) {
            processes::measure(self)?;
        }
        Ok(())
    }

    fn has(&self, part: Part) -> bool {
        self.arguments.only.is_empty() || self.arguments.only.contains(&part)
    }

    /// The calls of the measured tenant.
    fn records(&self) -> Records {
        let calls = self.arguments.calls.min(self.arguments.sent_calls);
        Records { fields: self.arguments.records, ..Records::in_order(self.end, calls) }
    }
}
