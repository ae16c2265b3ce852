//! The clients: threads of this process, on the same processors as the server.

use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

/// What one request sends.
#[derive(Clone)]
pub struct Batch {
    /// Whose records they are.
    pub key: Arc<str>,
    /// The records as NDJSON.
    pub body: Arc<Vec<u8>>,
    /// How many there are.
    pub records: usize,
}

/// Sends batches over so many connections, which are spread over the servers at these addresses; gives calls a second.
pub fn send(
    addresses: &[&str],
    connections: usize,
    batches: impl Iterator<Item = anyhow::Result<Batch>>,
) -> anyhow::Result<f64> {
    let (sender, receiver) = mpsc::sync_channel(connections);
    // The clients alone hold it: when all of them have failed, so does the sender.
    let receiver = Arc::new(Mutex::new(receiver));
    let started = Instant::now();
    let sent = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..connections)
            .map(|index| {
                let (address, receiver) = (addresses[index % addresses.len()], Arc::clone(&receiver));
                scope.spawn(move || send_batches(address, &receiver))
            })
            .collect();
        drop(receiver);
        let mut sent = 0;
        let outcome = feed(batches, &sender, &mut sent);
        drop(sender);
        for client in clients {
            client.join().map_err(|_| anyhow::anyhow!("a client panicked"))??;
        }
        outcome.map(|()| sent)
    })?;
    Ok(sent as f64 / started.elapsed().as_secs_f64())
}

fn feed(
    batches: impl Iterator<Item = anyhow::Result<Batch>>,
    sender: &mpsc::SyncSender<Batch>,
    sent: &mut usize,
) -> anyhow::Result<()> {
    for batch in batches {
        let batch = batch?;
        *sent += batch.records;
        sender.send(batch).map_err(|_| anyhow::anyhow!("all clients stopped"))?;
    }
    Ok(())
}

fn send_batches(address: &str, batches: &Mutex<mpsc::Receiver<Batch>>) -> anyhow::Result<()> {
    let agent = ureq::Agent::new_with_defaults();
    let url = format!("http://{address}/api/v1/ingest/calls");
    loop {
        let batch = batches.lock().map_err(|_| anyhow::anyhow!("a client panicked"))?.recv();
        let Ok(batch) = batch else { return Ok(()) };
        let request = agent.post(&url).header("X-API-Key", &*batch.key).header("Content-Type", "application/x-ndjson");
        let answer = request.send(&*batch.body)?.into_body().read_to_string()?;
        anyhow::ensure!(answer.contains(r#""rejected":[]"#), "records were rejected: {answer}");
    }
}

/// A client that asks questions on one connection.
pub struct Asker {
    agent: ureq::Agent,
    address: String,
    key: Arc<str>,
}

impl Asker {
    /// Asks the server at an address.
    pub fn new(address: &str, key: &Arc<str>) -> Self {
        Self { agent: ureq::Agent::new_with_defaults(), address: address.to_owned(), key: Arc::clone(key) }
    }

    /// Asks for a path below `/api/v1/analytics`; gives the answer and how long it took.
    pub fn ask(&self, path: &str) -> anyhow::Result<(Vec<u8>, Duration)> {
        let url = format!("http://{}/api/v1/analytics/{path}", self.address);
        let started = Instant::now();
        let answer = self.agent.get(&url).header("X-API-Key", &*self.key).call()?.into_body().read_to_vec()?;
        Ok((answer, started.elapsed()))
    }
}
