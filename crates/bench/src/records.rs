//! The records of a run: made from a seed, so that the same ones can be sent, imported and loaded into raw tables.

use crate::client::Batch;
use anyhow::Context;
use callscope_synthetic::{CallRecord, Detail, Generator, Profile, even_start_times, write_ndjson};
use chrono::{DateTime, TimeDelta, Utc};
use clap::ValueEnum;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::SliceRandom;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Records of one request.
pub const BATCH_RECORDS: usize = 5000;
/// Latency samples of every call.
pub const SAMPLES: usize = 18;
/// Workflows of a tenant, where nothing else is said.
const WORKFLOWS: usize = 8;
/// A record with [`SAMPLES`] has fewer bytes.
const RECORD_BYTES: usize = 1500;

/// The order in which records are sent.
#[derive(Clone, Copy)]
pub enum Order {
    /// By the start of the calls.
    Time,
    /// None.
    Shuffled,
}

/// How much each record says.
#[derive(Clone, Copy, ValueEnum)]
pub enum Fields {
    /// Status, times, workflow, agent, tokens, latencies and errors.
    Plain,
    /// Every field of a record.
    Full,
}

/// Calls that are spread evenly over 30 days.
#[derive(Clone, Copy)]
pub struct Records {
    /// When the 30 days end.
    pub end: DateTime<Utc>,
    /// How many.
    pub calls: usize,
    pub order: Order,
    /// Over how many workflows they are spread.
    pub workflows: usize,
    pub fields: Fields,
    /// Other seeds give other calls.
    pub seed: u64,
}

impl Records {
    pub fn in_order(end: DateTime<Utc>, calls: usize) -> Self {
        Self { end, calls, order: Order::Time, workflows: WORKFLOWS, fields: Fields::Full, seed: 1 }
    }

    /// Makes them, one by one.
    pub fn generate(&self) -> impl Iterator<Item = CallRecord> + use<> {
        let mut starts = even_start_times(self.end - TimeDelta::days(30), self.end, self.calls);
        if matches!(self.order, Order::Shuffled) {
            starts.shuffle(&mut Xoshiro256PlusPlus::seed_from_u64(self.seed));
        }
        let detail = match self.fields {
            Fields::Plain => Detail::Plain,
            Fields::Full => Detail::Full,
        };
        let workflows = self.workflows;
        let profile = Profile { workflows, samples_per_call: Some(SAMPLES), detail, ..Profile::default() };
        let mut generator = Generator::new(self.seed, profile);
        starts.into_iter().map(move |start| generator.call(start))
    }

    /// Writes them as NDJSON.
    pub fn write(&self, writer: impl Write) -> anyhow::Result<()> {
        let mut writer = BufWriter::with_capacity(1 << 20, writer);
        write_ndjson(&mut writer, self.generate())?;
        Ok(writer.flush()?)
    }

    /// A file of them in the folder of a run, written by whoever asks first, outside of every measurement.
    pub fn file(&self, folder: &Path) -> anyhow::Result<PathBuf> {
        let order = match self.order {
            Order::Time => "ordered",
            Order::Shuffled => "shuffled",
        };
        let fields = match self.fields {
            Fields::Plain => "plain",
            Fields::Full => "full",
        };
        let name = format!("{order}-{fields}-{}-{}-{}.ndjson", self.calls, self.workflows, self.seed);
        let path = folder.join(name);
        if !path.exists() {
            self.write(File::create(&path)?)?;
        }
        Ok(path)
    }
}

/// Reads a file of records, request by request.
pub fn batches(file: &Path, key: &Arc<str>) -> anyhow::Result<impl Iterator<Item = anyhow::Result<Batch>> + use<>> {
    let file = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let key = Arc::clone(key);
    Ok(std::iter::from_fn(move || read_batch(&mut reader, &key).transpose()))
}

fn read_batch(reader: &mut impl BufRead, key: &Arc<str>) -> anyhow::Result<Option<Batch>> {
    let mut body = Vec::with_capacity(BATCH_RECORDS * RECORD_BYTES);
    let mut records = 0;
    while records < BATCH_RECORDS && reader.read_until(b'\n', &mut body)? > 0 {
        records += 1;
    }
    Ok((records > 0).then(|| Batch { key: Arc::clone(key), body: Arc::new(body), records }))
}
