//! Checks and corrects rollups from the command line, a day at a time; what is interrupted can be resumed.

use crate::admin::{date, find_tenant};
use crate::command_line::{AuditArguments, RollupsCommand, TenantDay};
use crate::serve::{open, stop_signal};
use crate::settings::Settings;
use anyhow::{Context, bail};
use callscope_analytics::ports::{RollupStore, TenantStore};
use callscope_analytics::rollups::{Audit, Mismatch, rebuild_day, verify_day};
use callscope_domain::{Tenant, Timestamp};
use callscope_persistence::Database;
use chrono::{DateTime, NaiveTime, Utc};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::pin::pin;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const MISMATCHES_SHOWN: usize = 20;
/// Without a terminal, progress is printed at most this often.
const TELL_INTERVAL: Duration = Duration::from_secs(10);
/// The exit code of a program that was interrupted.
const INTERRUPTED: u8 = 130;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    Verify,
    Rebuild,
}

/// `callscope rollups …`: exit code 1 if something differs.
pub async fn rollups(settings: &Settings, command: RollupsCommand) -> anyhow::Result<ExitCode> {
    let (work, arguments) = match command {
        RollupsCommand::Verify(arguments) => (Work::Verify, arguments),
        RollupsCommand::Rebuild(arguments) => (Work::Rebuild, arguments),
    };
    let database = open(settings).await?;
    let tenants = list_tenants(&database, &arguments).await?;
    let mut stop = pin!(stop_signal()?);
    let mut progress = Progress::new()?;
    let mut all_equal = true;
    for tenant in tenants {
        let mut days = database.list_days(tenant.id).await?;
        days.retain(|day| arguments.resume.as_ref().is_none_or(|from| is_reached(from, &tenant, *day)));
        let mut tally = Tally::default();
        progress.start_tenant(&tenant, days.len());
        for (index, &day) in days.iter().enumerate() {
            progress.start_day(index, day);
            let audited = async {
                match work {
                    Work::Verify => verify_day(&database, tenant.id, day).await,
                    Work::Rebuild => rebuild_day(&database, tenant.id, day).await,
                }
            };
            // Dropped half-way, a day is checked or corrected again when it is resumed.
            let audited = tokio::select! { biased; () = &mut stop => None, audited = audited => Some(audited) };
            if let Some(Ok(audit)) = audited {
                tally.add(audit);
                continue;
            }
            progress.finish_tenant();
            tally.report(&tenant, work, "so far ");
            let resume = command_to_resume(&TenantDay { tenant: tenant.slug, day: utc(day).date_naive() });
            let Some(Err(error)) = audited else {
                eprintln!("interrupted; this goes on: {resume}");
                return Ok(ExitCode::from(INTERRUPTED));
            };
            return Err(error).with_context(|| format!("cannot go on; when the cause is gone, this does: {resume}"));
        }
        progress.finish_tenant();
        tally.report(&tenant, work, "");
        all_equal &= work == Work::Rebuild || tally.mismatches == 0;
    }
    Ok(if all_equal { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The tenants to go over, by slug, without those that were gone over before.
async fn list_tenants(database: &Database, arguments: &AuditArguments) -> anyhow::Result<Vec<Tenant>> {
    let mut tenants = match &arguments.tenant {
        Some(slug) => vec![find_tenant(database, slug).await?],
        None => database.list_tenants().await?,
    };
    // The database's order of strings may be another one, and may change.
    tenants.sort_by(|left, right| left.slug.cmp(&right.slug));
    if let Some(TenantDay { tenant, .. }) = &arguments.resume {
        find_tenant(database, tenant).await?;
        tenants.retain(|other| other.slug >= *tenant);
        if let Some(only) = arguments.tenant.as_ref().filter(|only| *only != tenant) {
            bail!("--resume names the tenant {tenant}, but --tenant {only}");
        }
    }
    Ok(tenants)
}

/// Whether a day is not before the one to go on at.
fn is_reached(from: &TenantDay, tenant: &Tenant, day: Timestamp) -> bool {
    tenant.slug != from.tenant || day >= Timestamp::from(from.day.and_time(NaiveTime::MIN).and_utc())
}

/// The command that was given, going on at a day.
fn command_to_resume(at: &TenantDay) -> String {
    let mut words = Vec::new();
    let mut given = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    while let Some(word) = given.next() {
        if word == "--resume" {
            given.next();
        } else if !word.starts_with("--resume=") {
            words.push(quoted(word));
        }
    }
    format!("{} --resume {at}", words.join(" "))
}

/// Quotes a word for a shell.
fn quoted(word: String) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "-_./:=@%+,".contains(character);
    if !word.is_empty() && word.chars().all(is_plain) { word } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

fn utc(day: Timestamp) -> DateTime<Utc> {
    day.to_datetime().unwrap_or_default()
}

/// Counts of one tenant.
#[derive(Default)]
struct Tally {
    days: u64,
    calls: u64,
    buckets: u64,
    mismatches: usize,
    /// The first mismatches.
    shown: Vec<Mismatch>,
}

impl Tally {
    fn add(&mut self, audit: Audit) {
        let Audit { days, calls, buckets, mismatches } = audit;
        self.days += days;
        self.calls += calls;
        self.buckets += buckets;
        self.mismatches += mismatches.len();
        let room = MISMATCHES_SHOWN - self.shown.len();
        self.shown.extend(mismatches.into_iter().take(room));
    }

    fn report(&self, tenant: &Tenant, work: Work, so_far: &str) {
        let Self { days, calls, buckets, mismatches, shown } = self;
        let slug = &tenant.slug;
        match (work, mismatches) {
            (Work::Rebuild, _) => println!(
                "{slug}: {so_far}mended {mismatches} wrong rollups; {buckets} rollups from {calls} calls on {days} days \
                 are right"
            ),
            (Work::Verify, 0) => println!("{slug}: {so_far}equal ({buckets} rollups, {calls} calls, {days} days)"),
            (Work::Verify, _) => {
                println!("{slug}: {so_far}NOT EQUAL: {mismatches} rollups differ from their {calls} calls");
                for Mismatch { resolution, bucket } in shown {
                    println!("  {resolution} {}", date(*bucket));
                }
                println!("  `callscope rollups rebuild --tenant {slug}` corrects them");
            }
        }
    }
}

/// A bar on a terminal; elsewhere a line now and then.
struct Progress {
    style: ProgressStyle,
    bar: ProgressBar,
    slug: String,
    told_at: Instant,
    is_terminal: bool,
}

impl Progress {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            style: ProgressStyle::with_template("{prefix} {bar:40} day {pos} of {len}, {eta} left")?,
            bar: ProgressBar::hidden(),
            slug: String::new(),
            told_at: Instant::now(),
            is_terminal: std::io::stderr().is_terminal(),
        })
    }

    fn start_tenant(&mut self, tenant: &Tenant, days: usize) {
        self.slug = tenant.slug.to_string();
        self.bar = ProgressBar::new(days as u64).with_style(self.style.clone()).with_prefix(self.slug.clone());
    }

    fn start_day(&mut self, index: usize, day: Timestamp) {
        self.bar.set_position(index as u64);
        if !self.is_terminal && self.told_at.elapsed() >= TELL_INTERVAL {
            self.told_at = Instant::now();
            let days = self.bar.length().unwrap_or(0);
            eprintln!("{}: day {} of {days}, {}", self.slug, index + 1, utc(day).date_naive());
        }
    }

    fn finish_tenant(&self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_so_that_a_shell_reads_them_as_they_are() {
        for (word, expected) in
            [("--config=a/b.toml", "--config=a/b.toml"), ("my file", "'my file'"), ("it's", r"'it'\''s'"), ("", "''")]
        {
            assert_eq!(quoted(word.to_owned()), expected);
        }
    }
}
