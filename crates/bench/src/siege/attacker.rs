//! What an attack is given: the server's address, keys, and ways to send much that are bounded in time and count.

use crate::siege::wire::{Line, Tally};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

/// Where a tenant attacks from.
pub const TENANT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// Where a stranger attacks from.
pub const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
/// Where the attacker's accomplice is.
pub const ACCOMPLICE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 4);

/// Most requests of one attack, whatever its time.
const REQUESTS_MAX: u64 = 3_000_000;
/// The pause after a connection that failed.
const PAUSE: Duration = Duration::from_millis(20);
/// When it is looked whether connections are held.
const LOOK_BEFORE_END: Duration = Duration::from_secs(1);
/// Connections beside those of an attack: those that measure, and those to the database.
const HELD_MAX: usize = 32;
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_mins(2);

/// Keys of tenants that attack.
#[derive(Clone)]
pub struct Keys {
    /// Of acme: reads and writes.
    pub acme: String,
    /// Of acme: manages keys as well.
    pub admin: String,
    /// Of initech, which helps acme: reads and writes.
    pub initech: String,
    /// The id of acme, as tokens name it.
    pub acme_id: String,
}

/// The attacker. Cheap to clone.
#[derive(Clone)]
pub struct Attacker {
    /// The server.
    pub target: SocketAddr,
    /// Its process.
    pub process: u32,
    /// Its database, where that is a file.
    pub file: Option<PathBuf>,
    /// The keys.
    pub keys: Arc<Keys>,
    /// What is counted.
    pub tally: Arc<Tally>,
    /// Says that the attack is prepared.
    pub prepared: Arc<watch::Sender<bool>>,
    /// When the attack ends, from when on it may begin.
    pub end: watch::Receiver<Option<Instant>>,
}

impl Attacker {
    /// Says that everything is prepared, and waits for the attack to begin.
    pub async fn begin(&mut self) {
        self.prepared.send_replace(true);
        // The sender outlives the attack.
        let _ = self.end.wait_for(Option::is_some).await;
    }

    /// When the attack ends.
    pub fn end(&self) -> Instant {
        self.end.borrow().unwrap_or_else(|| Instant::now() + PATIENCE)
    }

    /// Whether the attack is over.
    pub fn is_over(&self) -> bool {
        Instant::now() >= self.end() || self.tally.requests.load(Ordering::Relaxed) >= REQUESTS_MAX
    }

    /// A connection.
    pub async fn open(&self, source: Ipv4Addr) -> io::Result<Line> {
        Line::open(self.target, source, None, &self.tally).await
    }

    /// A connection of which the kernel buffers next to nothing.
    pub async fn open_narrow(&self, source: Ipv4Addr) -> io::Result<Line> {
        Line::open(self.target, source, Some(4096), &self.tally).await
    }

    /// Runs so many tasks side by side, until all are done or the attack is over. A task's error is counted.
    pub async fn swarm<F>(&self, count: usize, work: impl Fn(usize) -> F)
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let (mut tasks, end) = (JoinSet::new(), self.end());
        for index in 0..count {
            let (work, tally) = (work(index), Arc::clone(&self.tally));
            tasks.spawn(async move {
                match timeout_at(end, work).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tally.count(word(&error)),
                    Err(_) => tally.count("held to the end"),
                }
            });
        }
        while tasks.join_next().await.is_some() {}
    }

    /// As [`Self::swarm`], for connections that the server must not hold for so long: notes a fault if it still does
    /// shortly before the attack is over.
    pub async fn swarm_to_be_closed<F>(&self, count: usize, work: impl Fn(usize) -> F)
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let before = self.descriptors();
        let look = async {
            sleep_until(self.end() - LOOK_BEFORE_END).await;
            let held = self.descriptors().saturating_sub(before);
            if held > HELD_MAX {
                self.tally.fault(format!("{held} connections are held to the end"));
            }
        };
        tokio::join!(look, self.swarm(count, work));
    }

    /// Open descriptors of the server.
    fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.process)).map_or(0, Iterator::count)
    }

    /// Sends requests one after the other on each of so many connections, and receives the answers. The number of a
    /// request is unique within the flood.
    pub async fn flood(
        &self,
        source: Ipv4Addr,
        connections: usize,
        request: impl Fn(u64) -> Vec<u8> + Send + Sync + 'static,
    ) {
        let (request, number) = (Arc::new(request), Arc::new(AtomicU64::new(0)));
        self.swarm(connections, |_| {
            let (attacker, request, number) = (self.clone(), Arc::clone(&request), Arc::clone(&number));
            async move {
                while !attacker.is_over() {
                    if let Err(error) = attacker.ask_on_one_line(source, &*request, &number).await {
                        attacker.tally.count(word(&error));
                        sleep(PAUSE).await;
                    }
                }
                Ok(())
            }
        })
        .await;
    }

    async fn ask_on_one_line(
        &self,
        source: Ipv4Addr,
        request: &(impl Fn(u64) -> Vec<u8> + Send + Sync),
        number: &AtomicU64,
    ) -> io::Result<()> {
        let mut line = self.open(source).await?;
        while !self.is_over() {
            line.ask(&request(number.fetch_add(1, Ordering::Relaxed))).await?;
        }
        Ok(())
    }

    /// Sends one request outside of the attack, such as those that prepare it; it must succeed.
    pub async fn prepare(&self, request: &[u8]) -> anyhow::Result<Vec<u8>> {
        let answer = async {
            let mut line = Line::open(self.target, TENANT, None, &Arc::default()).await?;
            line.request(request).await?;
            line.answer().await
        };
        let answer = tokio::time::timeout(PATIENCE, answer).await??;
        let text = String::from_utf8_lossy(&answer.body);
        anyhow::ensure!(answer.status < 300, "{}: {text}", answer.status);
        Ok(answer.body)
    }
}

/// What became of a connection that failed.
fn word(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "refused",
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionAborted => "closed",
        io::ErrorKind::AddrNotAvailable => "no port left",
        _ => "failed",
    }
}
