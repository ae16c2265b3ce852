//! Imports records from files, through the same parser and the same pipeline as HTTP.
//!
//! Records are written as they are read while they come about in the order of their starts. From the first one that does not,
//! the rest of the input is put in order before it is written: in no order, each record would touch sums of its own.

mod record_sort;
mod sorter;

use crate::admin::find_tenant;
use crate::command_line::ImportArguments;
use crate::import::record_sort::RecordSort;
use crate::serve::open;
use crate::settings::Settings;
use anyhow::Context;
use callscope_analytics::clock::{Clock, SystemClock};
use callscope_analytics::ingestion::{IngestQueue, ingestion};
use callscope_api::{FieldCode, FieldError, ParsedRecord, RecordContext, RefusedRecord, Rule, fault_of, parse_record};
use callscope_domain::{Incoming, Span, TenantId, Timestamp, TransitionKind};

use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use tokio::task::JoinHandle;

const CHUNK_RECORDS: usize = 5000;
/// Most bytes of a line; a longer one is no record.
const LINE_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Rejected lines that are shown one by one.
const REJECTED_SHOWN: u64 = 20;
/// Different reasons that are counted one by one.
const REASONS_MAX: usize = 100;
const BUFFER_BYTES: usize = 1 << 20;
/// How much earlier a record may have started than one before it without being out of order: calls are often in the order
/// of their ends.
const DISORDER_MAX: Span = Span::from_hours(24);
/// The bits of a position that are the number of the line; those above are the file's.
const LINE_BITS: u32 = 40;

#[derive(Default)]
struct Outcome {
    accepted: u64,
    rejected: u64,
    dropped_samples: u64,
    /// Unknown fields, of which at most [`REASONS_MAX`] are named.
    ignored_fields: BTreeSet<String>,
    /// How often each reason was given, by field and message.
    reasons: BTreeMap<String, u64>,
}

impl Outcome {
    fn ignore(&mut self, fields: Vec<String>) {
        for field in fields {
            if self.ignored_fields.len() < REASONS_MAX {
                self.ignored_fields.insert(field);
            }
        }
    }
}

/// `callscope import`: exit code 1 if a line was rejected.
pub async fn import(settings: &Settings, arguments: &ImportArguments) -> anyhow::Result<ExitCode> {
    let database = open(settings).await?;
    let tenant = find_tenant(&database, &arguments.tenant).await?;
    let (queue, writer) = ingestion(Arc::new(database), settings.into());
    let writer = tokio::spawn(writer.with_kept_limits(settings.into()).run());
    let bar = progress_bar(&arguments.files)?;
    let mut importer = Importer {
        tenant: tenant.id,
        strict: arguments.strict,
        files: &arguments.files,
        queue,
        bar: bar.clone(),
        latest_start: None,
        chunk: Chunk::default(),
        pending: None,
        outcome: Outcome::default(),
    };
    let mut sort = None;
    for (number, file) in (0..).zip(&arguments.files) {
        let read = importer.read_file(number, &mut sort).await;
        read.with_context(|| format!("cannot import {}", file.display()))?;
    }
    if let Some(sort) = sort {
        importer.write_sorted(sort).await.context("cannot put the records in order")?;
    }
    importer.submit().await?;
    importer.finish_pending().await?;
    let outcome = importer.outcome;
    importer.queue.close();
    writer.await.context("the writer panicked")?;
    bar.finish_and_clear();
    report(&outcome);
    Ok(if outcome.rejected == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct Importer<'a> {
    tenant: TenantId,
    /// Whether records with unknown fields are rejected.
    strict: bool,
    files: &'a [PathBuf],
    queue: IngestQueue,
    bar: ProgressBar,
    /// The latest start of all records so far.
    latest_start: Option<Timestamp>,
    chunk: Chunk,
    /// The chunk that is being written while the next one is read.
    pending: Option<Pending>,
    outcome: Outcome,
}

struct Pending {
    written: JoinHandle<anyhow::Result<Vec<TransitionKind>>>,
    lines: Vec<AcceptedLine>,
}

/// A valid line.
struct AcceptedLine {
    position: u64,
    dropped_samples: u64,
}

/// Records of one submission, and where they stand.
#[derive(Default)]
struct Chunk {
    arrivals: Vec<Incoming>,
    lines: Vec<AcceptedLine>,
}

impl Importer<'_> {
    /// Writes the records of a file, or puts them with those that have to be put in order first.
    async fn read_file(&mut self, file: u64, sort: &mut Option<RecordSort>) -> anyhow::Result<()> {
        let path = self.files.get(usize::try_from(file)?).context("there is no such file")?;
        let mut reader = open_file(path, &self.bar)?;
        let mut line = Vec::new();
        for number in 1_u64.. {
            let position = file << LINE_BITS | number;
            line.clear();
            if (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            if line.len() as u64 == LINE_BYTES_MAX && !line.ends_with(b"\n") {
                skip_line(&mut reader)?;
                let rule = Rule::owned(FieldCode::TooLong, format!("is longer than {LINE_BYTES_MAX} bytes"));
                let fault = FieldError::new("(record)", rule);
                self.reject(position, &RefusedRecord { call_id: None, errors: vec![fault] });
                continue;
            }
            let record = line.trim_ascii();
            if record.is_empty() {
                continue;
            }
            if let Some(sort) = sort {
                sort.push(position, record)?;
                continue;
            }
            let Some(parsed) = self.parse(position, record) else { continue };
            let start = parsed.call.facts().started_at;
            let latest = self.latest_start.map_or(start, |latest| latest.max(start));
            self.latest_start = Some(latest);
            if latest.since(start) <= DISORDER_MAX {
                self.take(position, parsed).await?;
            } else {
                self.bar.set_message("in no order: reading before writing");
                sort.insert(RecordSort::new(self.tenant)).push(position, record)?;
            }
        }
        Ok(())
    }

    /// Writes records in the order of their starts.
    async fn write_sorted(&mut self, sort: RecordSort) -> anyhow::Result<()> {
        let (mut lines, records) = sort.finish()?;
        self.bar.finish_and_clear();
        let template = "{bar:40} {human_pos} of {human_len} records written, {eta} left";
        self.bar = ProgressBar::new(records).with_style(ProgressStyle::with_template(template)?);
        let mut line = Vec::new();
        while let Some(position) = lines.take(&mut line)? {
            if let Some(call) = self.parse(position, &line) {
                self.take(position, call).await?;
            }
            self.bar.inc(1);
        }
        self.bar.finish_and_clear();
        Ok(())
    }

    /// The call of a record; none if the record is rejected.
    fn parse(&mut self, position: u64, record: &[u8]) -> Option<ParsedRecord> {
        let (tenant, strict) = (self.tenant, self.strict);
        let context = RecordContext { tenant, path_id: None, received_at: SystemClock.now(), strict };
        parse_record(record, context).map_err(|refused| self.reject(position, &refused)).ok()
    }

    async fn take(&mut self, position: u64, parsed: ParsedRecord) -> anyhow::Result<()> {
        let ParsedRecord { call, dropped_samples, ignored_fields } = parsed;
        self.outcome.ignore(ignored_fields);
        self.outcome.accepted += 1;
        self.outcome.dropped_samples += dropped_samples;
        self.chunk.lines.push(AcceptedLine { position, dropped_samples });
        self.chunk.arrivals.push(Incoming::Record(call));
        if self.chunk.arrivals.len() == CHUNK_RECORDS { self.submit().await } else { Ok(()) }
    }

    fn reject(&mut self, position: u64, refused: &RefusedRecord) {
        self.outcome.rejected += 1;
        let file = usize::try_from(position >> LINE_BITS).ok().and_then(|file| self.files.get(file));
        let (path, line) = (file.map(|file| file.display()), position & ((1 << LINE_BITS) - 1));
        for error in &refused.errors {
            // A reason is counted without the positions in it.
            let field: String = error.field.chars().filter(|character| !character.is_ascii_digit()).collect();
            let reason = format!("{field} {}", error.message);
            let is_new = !self.outcome.reasons.contains_key(&reason);
            let reason = if is_new && self.outcome.reasons.len() >= REASONS_MAX { "other".to_owned() } else { reason };
            *self.outcome.reasons.entry(reason).or_default() += 1;
            if self.outcome.rejected <= REJECTED_SHOWN {
                let place = path.as_ref().map_or_else(|| line.to_string(), |path| format!("{path}:{line}"));
                self.bar.suspend(|| eprintln!("{place}: {} {}", error.field, error.message));
            }
        }
    }

    /// Begins to write the chunk, as soon as the one before is durable.
    async fn submit(&mut self) -> anyhow::Result<()> {
        self.finish_pending().await?;
        self.bar.set_message(HumanCount(self.outcome.accepted).to_string());
        let Chunk { arrivals, lines } = std::mem::take(&mut self.chunk);
        let (queue, tenant) = (self.queue.clone(), self.tenant);
        let written = tokio::spawn(async move { Ok(queue.submit(tenant, arrivals).await?) });
        self.pending = Some(Pending { written, lines });
        Ok(())
    }

    /// Waits for the chunk that is being written. Only then it shows which of its records are refused.
    async fn finish_pending(&mut self) -> anyhow::Result<()> {
        let Some(Pending { written, lines }) = self.pending.take() else { return Ok(()) };
        let kinds = written.await.context("writing panicked")?.context("a chunk could not be written")?;
        let refused = lines.iter().zip(kinds).filter_map(|(line, kind)| Some((line, fault_of(kind)?)));
        for (line, fault) in refused {
            self.outcome.accepted -= 1;
            self.outcome.dropped_samples -= line.dropped_samples;
            self.reject(line.position, &RefusedRecord { call_id: None, errors: vec![fault] });
        }
        Ok(())
    }
}

/// A bar over the bytes of all files; without their sizes (standard input), a counter.
fn progress_bar(files: &[impl AsRef<Path>]) -> anyhow::Result<ProgressBar> {
    let mut bytes = 0;
    for file in files.iter().map(AsRef::as_ref) {
        if is_standard_input(file) {
            let style = ProgressStyle::with_template("{spinner} {msg} records, {bytes} at {bytes_per_sec}")?;
            return Ok(ProgressBar::no_length().with_style(style));
        }
        bytes += file.metadata().with_context(|| format!("cannot read {}", file.display()))?.len();
    }
    let template = "{bar:40} {bytes} of {total_bytes} at {bytes_per_sec}, {msg} records, {eta} left";
    Ok(ProgressBar::new(bytes).with_style(ProgressStyle::with_template(template)?))
}

fn is_standard_input(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn open_file(path: &Path, bar: &ProgressBar) -> anyhow::Result<Box<dyn BufRead + Send>> {
    let raw: Box<dyn Read + Send> =
        if is_standard_input(path) { Box::new(std::io::stdin()) } else { Box::new(File::open(path)?) };
    let raw = bar.wrap_read(raw);
    let unpacked: Box<dyn Read + Send> = match path.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => Box::new(flate2::read::MultiGzDecoder::new(raw)),
        Some("zst" | "zstd") => Box::new(zstd::stream::read::Decoder::new(raw)?),
        _ => Box::new(raw),
    };
    Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, unpacked)))
}

/// Reads on to the end of a line.
fn skip_line(reader: &mut dyn BufRead) -> std::io::Result<()> {
    loop {
        let buffer = reader.fill_buf()?;
        let end = buffer.iter().position(|&byte| byte == b'\n');
        let (used, is_end) = end.map_or((buffer.len(), buffer.is_empty()), |at| (at + 1, true));
        reader.consume(used);
        if is_end {
            return Ok(());
        }
    }
}

fn report(outcome: &Outcome) {
    let Outcome { accepted, rejected, dropped_samples, ignored_fields, reasons } = outcome;
    println!("accepted {accepted}, rejected {rejected}, dropped latency samples {dropped_samples}");
    if !ignored_fields.is_empty() {
        // The names come from the file and go to a terminal.
        let names: Vec<String> = ignored_fields.iter().map(|name| name.escape_debug().to_string()).collect();
        println!("ignored fields (--strict rejects their records): {}", names.join(", "));
    }
    let mut reasons: Vec<_> = reasons.iter().collect();
    reasons.sort_by_key(|(reason, count)| (std::cmp::Reverse(**count), reason.as_str()));
    for (reason, count) in reasons {
        println!("  {count} x {reason}");
    }
}
