//! One attack on one server: prepared, measured idle, measured under attack, judged, and looked at afterwards.

use crate::database::Engine;
use crate::siege::attacker::Attacker;
use crate::siege::attacks::Attack;
use crate::siege::measured::{Measured, measure};
use crate::siege::target::{Target, Usage};
use crate::siege::verdict::{Evidence, Row, judge};
use crate::siege::wire::Tally;
use anyhow::{Context, bail};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How much less urgent the attacker's threads are than the server's and those that measure, in steps of `nice`.
pub const ATTACKER_NICE: i32 = 10;
/// Threads of the attacker.
const ATTACKER_THREADS: usize = 2;
/// How long an attack may prepare itself.
const PREPARATION_MAX: Duration = Duration::from_mins(3);
/// How long an attack may take to end.
const GRACE: Duration = Duration::from_secs(5);
/// Before anything is measured.
const WARM_UP: Duration = Duration::from_secs(1);
/// How long reads and writes are measured without an attack: some 300 samples and more.
const IDLE: Duration = Duration::from_secs(6);
/// How long the server may take to be as before.
pub const RECOVERY_MAX: Duration = Duration::from_secs(30);
/// Memory that a server may keep after an attack, beside what it had: caches of its own and of its database.
pub const KEPT_BYTES_MAX: u64 = 128 << 20;
/// Descriptors that a server may keep.
pub const KEPT_DESCRIPTORS_MAX: usize = 32;
/// Lines that its metrics may grow by: each line stands for a series, which stays.
pub const METRICS_GROWTH_MAX: usize = 200;

/// How attacks are run.
pub struct Options<'a> {
    /// The program that is attacked.
    pub binary: &'a Path,
    /// Its database.
    pub engine: &'a Engine,
    /// How long an attack takes.
    pub duration: Duration,
}

/// Runs an attack against a server of its own.
pub fn fight(attack: &Attack, options: &Options<'_>) -> anyhow::Result<Row> {
    let mut target = Target::start(options.binary, options.engine, attack.name, attack.settings)?;
    let runtime = attackers()?;
    let (prepared, mut is_prepared) = watch::channel(false);
    let (begin, end) = watch::channel(None);
    let attacker = Attacker {
        target: target.server.address.parse()?,
        process: target.server.id(),
        file: target.file(),
        keys: Arc::clone(&target.keys),
        tally: Arc::new(Tally::default()),
        prepared: Arc::new(prepared),
        end,
    };
    let tally = Arc::clone(&attacker.tally);
    let attack_task = runtime.spawn((attack.run)(attacker));
    let attack_task = prepare(&runtime, attack_task, &mut is_prepared)?;
    drop(measure(&target, WARM_UP));
    let (disk, idle_started) = (settled_disk(&target), Instant::now());
    let idle = measure(&target, IDLE);
    let idle_growth = idle.usage.disk.saturating_sub(disk) as f64 / idle_started.elapsed().as_secs_f64();
    let metrics = target.metrics_lines()?;
    let log = target.log.bytes.load(Ordering::Relaxed);
    let before = Usage { disk: settled_disk(&target), ..target.usage() };

    let duration = options.duration.max(attack.duration_min);
    begin.send_replace(Some(tokio::time::Instant::now() + duration));
    let during = measure(&target, duration);
    if let Some(fault) = finish(&runtime, attack_task) {
        tally.fault(fault);
    }
    runtime.shutdown_background();
    let ended = during.usage.disk.max(target.usage().disk);
    let logged = target.log.bytes.load(Ordering::Relaxed) - log;
    let growth = (ended.saturating_sub(before.disk) + logged) as f64 - idle_growth * duration.as_secs_f64();
    let mut faults = tally.faults();
    faults.extend(aftermath(&mut target, before, metrics).err().map(|error| format!("{error:#}")));
    let evidence = Evidence {
        attack,
        database: options.engine.name(),
        limit: target.limit(),
        idle,
        during,
        growth: growth.max(0.0),
        sent: tally.sent.load(Ordering::Relaxed),
        requests: tally.requests.load(Ordering::Relaxed),
        outcomes: tally.outcomes(),
        faults,
    };
    target.remove()?;
    Ok(judge(evidence))
}

/// Threads that yield to the server and to those that measure.
fn attackers() -> anyhow::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(ATTACKER_THREADS).enable_all().on_thread_start(|| {
        // On Linux, the value is a thread's own. Where it cannot be set, what is measured looks worse than it is.
        let _ = rustix::process::nice(ATTACKER_NICE);
    });
    Ok(builder.build()?)
}

type AttackTask = JoinHandle<anyhow::Result<()>>;

/// Waits until the attack is prepared.
fn prepare(
    runtime: &Runtime,
    mut task: AttackTask,
    is_prepared: &mut watch::Receiver<bool>,
) -> anyhow::Result<AttackTask> {
    runtime.block_on(async {
        tokio::select! {
            _ = is_prepared.wait_for(|&is_prepared| is_prepared) => Ok(task),
            ended = &mut task => {
                ended?.context("the attack could not be prepared")?;
                bail!("the attack ended before it began")
            }
            () = tokio::time::sleep(PREPARATION_MAX) => bail!("the attack was not prepared in time"),
        }
    })
}

/// Ends the attack; gives the reason if it went wrong.
fn finish(runtime: &Runtime, mut task: AttackTask) -> Option<String> {
    runtime.block_on(async {
        match tokio::time::timeout(GRACE, &mut task).await {
            Ok(Ok(Ok(()))) => None,
            Ok(Ok(Err(error))) => Some(format!("the attack failed: {error:#}")),
            Ok(Err(_)) => Some("the attack panicked".to_owned()),
            Err(_) => {
                task.abort();
                None
            }
        }
    })
}

/// Bytes on disk, when what waited in a log is in its place.
fn settled_disk(target: &Target) -> u64 {
    // A server that is busy may hold the log; the size is then what it is.
    let _ = target.database.checkpoint();
    target.usage().disk
}

/// Waits until the server is as before.
fn aftermath(target: &mut Target, before: Usage, metrics: usize) -> anyhow::Result<()> {
    let deadline = Instant::now() + RECOVERY_MAX;
    loop {
        target.check_alive()?;
        let fault = match recovered(target, before, metrics) {
            Ok(()) => return Ok(()),
            Err(fault) => fault,
        };
        if Instant::now() > deadline {
            return Err(fault.context(format!("{} s after the attack", RECOVERY_MAX.as_secs())));
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

fn recovered(target: &Target, before: Usage, metrics: usize) -> anyhow::Result<()> {
    let Measured { mut reads, mut writes, .. } = measure(target, WARM_UP);
    for (name, failures) in [("reads", reads.failures()), ("writes", writes.failures())] {
        anyhow::ensure!(failures.is_empty(), "{name} of globex: {failures}");
    }
    let slowest = reads.max().max(writes.max());
    anyhow::ensure!(slowest < crate::siege::verdict::P99_MS_MAX, "globex waits {slowest:.0} ms");
    let now = target.usage();
    let kept = now.resident.saturating_sub(before.resident);
    anyhow::ensure!(kept <= KEPT_BYTES_MAX, "{} MiB of memory are kept", kept >> 20);
    let descriptors = now.descriptors.saturating_sub(before.descriptors);
    anyhow::ensure!(descriptors <= KEPT_DESCRIPTORS_MAX, "{descriptors} connections are kept");
    let lines = target.metrics_lines()?.saturating_sub(metrics);
    anyhow::ensure!(lines <= METRICS_GROWTH_MAX, "the metrics have {lines} more lines");
    Ok(())
}
