//! Followers: what a socket costs, how soon all are told, and what they cost those who send.

use crate::client::Batch;
use crate::measure::Bench;
use crate::measure::reads::Latency;
use crate::report::{Bound, short};
use crate::server::Instance;
use anyhow::Context;
use chrono::{SecondsFormat, TimeDelta, Utc};
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::time::timeout;
use uuid::Uuid;

/// Sockets that do nothing.
const IDLE_SOCKETS: usize = 5000;
/// Followers of a tenant that ingests at full speed.
const FOLLOWERS: usize = 1000;
/// Calls that are sent one by one, and how many in a second.
const SINGLE_CALLS: u32 = 2000;
const SINGLE_CALLS_PER_SECOND: u32 = 200;
/// Who sends them, in turn: one alone would wait for each commit.
const SINGLE_SENDERS: u32 = 4;
/// Calls of one measurement at full speed.
const FULL_SPEED_CALLS: usize = 200_000;
/// Calls of one request at full speed.
const BATCH_CALLS: usize = 2000;
/// Measurements at full speed, with and without followers in turn.
const ROUNDS: usize = 3;
/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long the server settles before its memory is looked at.
const SETTLE: Duration = Duration::from_secs(3);

/// Measures followers on a database of their own.
pub fn measure(bench: &mut Bench) -> anyhow::Result<()> {
    println!("\n## {}: followers", bench.engine.name());
    let instance = Instance::create(bench.engine, "live")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    measure_delay(bench, &instance, &runtime)?;
    measure_many(bench, &instance, &runtime)?;
    measure_cost(bench, &instance, &runtime)?;
    instance.remove()
}

/// A record of a call that has just ended.
fn record(id: Uuid) -> String {
    let rfc3339 = |instant: chrono::DateTime<Utc>| instant.to_rfc3339_opts(SecondsFormat::Millis, true);
    let (start, end) = (rfc3339(Utc::now() - TimeDelta::minutes(1)), rfc3339(Utc::now()));
    format!(
        r#"{{"call_id":"{id}","status":"completed","started_at":"{start}","ended_at":"{end}","workflow":{{"slug":"daily-call"}},"agent":"greeter"}}"#
    )
}

/// Opens a socket, and reads to the end of the server's answer.
async fn open(address: &str, key: &str) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!(
        "GET /ws/calls HTTP/1.1\r\nHost: {address}\r\nX-API-Key: {key}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(PATIENCE, stream.read_u8()).await??);
    }
    anyhow::ensure!(head.starts_with(b"HTTP/1.1 101"), "no socket: {}", String::from_utf8_lossy(&head));
    Ok(stream)
}

/// The next message of the server; it sends no fragments, and masks nothing.
async fn next(stream: &mut TcpStream) -> anyhow::Result<Vec<u8>> {
    let mut head = [0; 2];
    stream.read_exact(&mut head).await?;
    let length = match head[1] {
        126 => usize::from(stream.read_u16().await?),
        127 => usize::try_from(stream.read_u64().await?)?,
        short => usize::from(short),
    };
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// From the moment a record is due to be sent to the moment its event arrives, which holds the commit and more.
fn measure_delay(bench: &mut Bench, instance: &Instance, runtime: &Runtime) -> anyhow::Result<()> {
    let (address, key) = (instance.server.address.clone(), Arc::clone(&instance.key));
    let (sender, mut arrivals) = mpsc::unbounded_channel();
    let mut stream = runtime.block_on(open(&address, &key))?;
    runtime.spawn(async move {
        while let Ok(message) = next(&mut stream).await {
            let at = Instant::now();
            let text = String::from_utf8_lossy(&message).into_owned();
            if text.contains("call.ended") && sender.send((text, at)).is_err() {
                return;
            }
        }
    });
    let started = Instant::now();
    let sent: HashMap<String, Instant> = std::thread::scope(|scope| {
        let senders: Vec<_> =
            (0..SINGLE_SENDERS).map(|first| scope.spawn(move || send_single(instance, started, first))).collect();
        let sent = senders.into_iter().map(|sender| sender.join().map_err(|_| anyhow::anyhow!("a sender panicked"))?);
        sent.collect::<anyhow::Result<Vec<_>>>()
    })?
    .into_iter()
    .flatten()
    .collect();
    let rate = f64::from(SINGLE_CALLS) / started.elapsed().as_secs_f64();
    let mut delays = Vec::new();
    while delays.len() < sent.len() {
        let (text, at) =
            runtime.block_on(async { timeout(PATIENCE, arrivals.recv()).await })?.context("the socket was closed")?;
        let call = text.split(r#""call_id":""#).nth(1).and_then(|rest| rest.get(..36)).unwrap_or_default();
        let sent_at = sent.get(call).context("an event of a call that was not sent")?;
        delays.push(at.duration_since(*sent_at));
    }
    let delay = Latency::from(&mut delays[..]);
    println!("from sending to socket, {rate:.0} calls/s one by one: p50 {:.1} ms, p99 {:.1} ms", delay.p50, delay.p99);
    let wanted = f64::from(SINGLE_CALLS_PER_SECOND);
    bench.report.claim("calls/s while that is measured / those wanted", rate / wanted, Bound::AtLeast(0.95));
    bench.report.claim("p99 in ms from sending a record to its event on a socket", delay.p99, Bound::AtMost(100.0));
    Ok(())
}

/// Sends the single calls from `first` on whose turn it is, each when it is due; gives back when each was due, by its id.
fn send_single(instance: &Instance, started: Instant, first: u32) -> anyhow::Result<Vec<(String, Instant)>> {
    let agent = ureq::Agent::new_with_defaults();
    let pace = Duration::from_secs(1) / SINGLE_CALLS_PER_SECOND;
    let mut sent = Vec::new();
    for number in (first..SINGLE_CALLS).step_by(SINGLE_SENDERS as usize) {
        let due = started + pace * number;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        sent.push((put_call(&agent, instance)?.to_string(), due));
    }
    Ok(sent)
}

/// Sends a call that has just ended, and gives its id back once it is stored.
fn put_call(agent: &ureq::Agent, instance: &Instance) -> anyhow::Result<Uuid> {
    let id = Uuid::now_v7();
    let url = format!("http://{}/api/v1/ingest/calls/{id}", instance.server.address);
    let request = agent.put(&url).header("X-API-Key", &*instance.key).header("Content-Type", "application/json");
    request.send(record(id))?.into_body().read_to_vec()?;
    Ok(id)
}

/// What idle sockets cost, and how soon all of them are told of one event.
fn measure_many(bench: &mut Bench, instance: &Instance, runtime: &Runtime) -> anyhow::Result<()> {
    let before = instance.server.resident_kib()?;
    let told = Arc::new(AtomicUsize::new(0));
    let followers = follow(instance, runtime, IDLE_SOCKETS, &told)?;
    std::thread::sleep(SETTLE);
    let each = (instance.server.resident_kib()?.saturating_sub(before)) as f64 / IDLE_SOCKETS as f64;
    println!("resident for each of {} idle sockets: {each:.1} KiB", short(IDLE_SOCKETS));
    bench.report.claim("KiB resident for an idle socket", each, Bound::AtMost(20.0));
    told.store(0, Ordering::Relaxed);
    let agent = ureq::Agent::new_with_defaults();
    let started = Instant::now();
    put_call(&agent, instance)?;
    while told.load(Ordering::Relaxed) < IDLE_SOCKETS {
        anyhow::ensure!(started.elapsed() < PATIENCE, "only {} were told", told.load(Ordering::Relaxed));
        std::thread::sleep(Duration::from_millis(1));
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("one event to {} sockets: all are told within {seconds:.3} s", short(IDLE_SOCKETS));
    bench.report.claim("seconds from sending a record until 5,000 sockets have its event", seconds, Bound::AtMost(1.0));
    drop(followers);
    Ok(())
}

/// Ends its followers when it goes.
struct Followers(Vec<tokio::task::JoinHandle<()>>);

impl Drop for Followers {
    fn drop(&mut self) {
        self.0.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

/// Opens sockets that count the ends of calls that they are told of.
fn follow(
    instance: &Instance,
    runtime: &Runtime,
    sockets: usize,
    told: &Arc<AtomicUsize>,
) -> anyhow::Result<Followers> {
    let mut followers = Followers(Vec::new());
    for _ in 0..sockets {
        let mut stream = runtime.block_on(open(&instance.server.address, &instance.key))?;
        let told = Arc::clone(told);
        followers.0.push(runtime.spawn(async move {
            while let Ok(message) = next(&mut stream).await {
                if message.starts_with(br#"{"type":"call.ended"#) {
                    told.fetch_add(1, Ordering::Relaxed);
                }
            }
        }));
    }
    Ok(followers)
}

/// What followers cost those who send at full speed.
fn measure_cost(bench: &mut Bench, instance: &Instance, runtime: &Runtime) -> anyhow::Result<()> {
    let (mut alone, mut followed) = (0.0, 0.0);
    let told = Arc::new(AtomicUsize::new(0));
    for _ in 0..ROUNDS {
        alone += send(instance)?;
        let followers = follow(instance, runtime, FOLLOWERS, &told)?;
        followed += send(instance)?;
        drop(followers);
        std::thread::sleep(SETTLE);
    }
    let (alone, followed) = (alone / ROUNDS as f64, followed / ROUNDS as f64);
    println!("calls/s that happen now: {alone:.0}; before {FOLLOWERS} followers: {followed:.0}");
    println!("({} deliveries; the followers share this machine's processors)", told.load(Ordering::Relaxed));
    bench.report.claim("ingestion before 1,000 followers / without", followed / alone, Bound::AtLeast(0.8));
    Ok(())
}

fn send(instance: &Instance) -> anyhow::Result<f64> {
    let batches = (0..FULL_SPEED_CALLS / BATCH_CALLS).map(|_| {
        let mut body = String::new();
        for _ in 0..BATCH_CALLS {
            writeln!(body, "{}", record(Uuid::now_v7()))?;
        }
        Ok(Batch { key: Arc::clone(&instance.key), body: Arc::new(body.into_bytes()), records: BATCH_CALLS })
    });
    // Made before, so that this is not what is measured.
    let batches: Vec<_> = batches.collect();
    instance.send(batches.into_iter())
}
