//! Imports records from files, through the same parser and the same pipeline as HTTP.

use crate::admin::find_tenant;
use crate::command_line::ImportArguments;
use crate::serve::open;
use crate::settings::Settings;
use anyhow::Context;
use callscope_analytics::clock::{Clock, SystemClock};
use callscope_analytics::ingestion::{IngestQueue, ingestion};
use callscope_api::{FieldCode, FieldError, RecordContext, RefusedRecord, Rule, fault_of, parse_record};
use callscope_domain::{Incoming, TenantId, TransitionKind};
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
        queue,
        bar: bar.clone(),
        pending: None,
        outcome: Outcome::default(),
    };
    for file in &arguments.files {
        importer.import_file(file).await.with_context(|| format!("cannot import {}", file.display()))?;
    }
    importer.finish_pending().await?;
    let outcome = importer.outcome;
    importer.queue.close();
    writer.await.context("the writer panicked")?;
    bar.finish_and_clear();
    report(&outcome);
    Ok(if outcome.rejected == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct Importer {
    tenant: TenantId,
    /// Whether records with unknown fields are rejected.
    strict: bool,
    queue: IngestQueue,
    bar: ProgressBar,
    /// The chunk that is being written while the next one is read.
    pending: Option<Pending>,
    outcome: Outcome,
}

struct Pending {
    written: JoinHandle<anyhow::Result<Vec<TransitionKind>>>,
    path: PathBuf,
    lines: Vec<AcceptedLine>,
}

/// A valid line.
struct AcceptedLine {
    number: u64,
    dropped_samples: u64,
}

/// Records of one submission, and where they stand.
#[derive(Default)]
struct Chunk {
    arrivals: Vec<Incoming>,
    lines: Vec<AcceptedLine>,
}

impl Importer {
    async fn import_file(&mut self, path: &Path) -> anyhow::Result<()> {
        let mut reader = open_file(path, &self.bar)?;
        let mut chunk = Chunk::default();
        let mut line = Vec::new();
        for number in 1_u64.. {
            line.clear();
            if (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            if line.len() as u64 == LINE_BYTES_MAX && !line.ends_with(b"\n") {
                skip_line(&mut reader)?;
                let rule = Rule::owned(FieldCode::TooLong, format!("is longer than {LINE_BYTES_MAX} bytes"));
                let fault = FieldError::new("(record)", rule);
                self.reject(path, number, &RefusedRecord { call_id: None, errors: vec![fault] });
                continue;
            }
            let record = line.trim_ascii();
            if record.is_empty() {
                continue;
            }
            let (tenant, strict) = (self.tenant, self.strict);
            let context = RecordContext { tenant, path_id: None, received_at: SystemClock.now(), strict };
            match parse_record(record, context) {
                Ok(parsed) => {
                    self.outcome.ignore(parsed.ignored_fields);
                    self.outcome.accepted += 1;
                    self.outcome.dropped_samples += parsed.dropped_samples;
                    chunk.lines.push(AcceptedLine { number, dropped_samples: parsed.dropped_samples });
                    chunk.arrivals.push(Incoming::Record(parsed.call));
                }
                Err(refused) => self.reject(path, number, &refused),
            }
            if chunk.arrivals.len() == CHUNK_RECORDS {
                self.submit(path, std::mem::take(&mut chunk)).await?;
            }
        }
        self.submit(path, chunk).await
    }

    fn reject(&mut self, path: &Path, line: u64, refused: &RefusedRecord) {
        self.outcome.rejected += 1;
        for error in &refused.errors {
            // A reason is counted without the positions in it.
            let field: String = error.field.chars().filter(|character| !character.is_ascii_digit()).collect();
            let reason = format!("{field} {}", error.message);
            let is_new = !self.outcome.reasons.contains_key(&reason);
            let reason = if is_new && self.outcome.reasons.len() >= REASONS_MAX { "other".to_owned() } else { reason };
            *self.outcome.reasons.entry(reason).or_default() += 1;
            if self.outcome.rejected <= REJECTED_SHOWN {
                let path = path.display();
                self.bar.suspend(|| eprintln!("{path}:{line}: {} {}", error.field, error.message));
            }
        }
    }

    /// Begins to write a chunk, as soon as the one before is durable.
    async fn submit(&mut self, path: &Path, Chunk { arrivals, lines }: Chunk) -> anyhow::Result<()> {
        self.finish_pending().await?;
        self.bar.set_message(HumanCount(self.outcome.accepted).to_string());
        let (queue, tenant) = (self.queue.clone(), self.tenant);
        let written = tokio::spawn(async move { Ok(queue.submit(tenant, arrivals).await?) });
        self.pending = Some(Pending { written, path: path.to_owned(), lines });
        Ok(())
    }

    /// Waits for the chunk that is being written. Only then it shows which of its records are refused.
    async fn finish_pending(&mut self) -> anyhow::Result<()> {
        let Some(Pending { written, path, lines }) = self.pending.take() else { return Ok(()) };
        let kinds = written.await.context("writing panicked")?.context("a chunk could not be written")?;
        let refused = lines.iter().zip(kinds).filter_map(|(line, kind)| Some((line, fault_of(kind)?)));
        for (line, fault) in refused {
            self.outcome.accepted -= 1;
            self.outcome.dropped_samples -= line.dropped_samples;
            self.reject(&path, line.number, &RefusedRecord { call_id: None, errors: vec![fault] });
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
