//! The attacker's end of a connection: plain HTTP/1.1 over TCP from a chosen loopback address, every byte counted.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// Bytes of a head after which it is not read on.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Bytes that are read at a time.
const READ_BYTES: usize = 16 << 10;

/// What an attack has sent and got, over all of its connections.
#[derive(Default)]
pub struct Tally {
    /// Bytes that were sent.
    pub sent: AtomicU64,
    /// Bytes that were received.
    pub received: AtomicU64,
    /// Requests that were sent.
    pub requests: AtomicU64,
    outcomes: Mutex<BTreeMap<String, u64>>,
    faults: Mutex<Vec<String>>,
}

impl Tally {
    /// Counts an outcome: a status, or a word.
    pub fn count(&self, outcome: impl Into<String>) {
        *lock(&self.outcomes).entry(outcome.into()).or_default() += 1;
    }

    /// Notes what the attack itself found to be wrong.
    pub fn fault(&self, fault: impl Into<String>) {
        lock(&self.faults).push(fault.into());
    }

    /// The outcomes, as a cell of the table.
    pub fn outcomes(&self) -> String {
        let cells: Vec<String> = lock(&self.outcomes).iter().map(|(name, count)| format!("{name} x{count}")).collect();
        if cells.is_empty() { "none".to_owned() } else { cells.join(", ") }
    }

    /// What the attack itself found to be wrong.
    pub fn faults(&self) -> Vec<String> {
        lock(&self.faults).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One connection of an attacker.
pub struct Line {
    stream: TcpStream,
    tally: Arc<Tally>,
    received: Vec<u8>,
}

/// An answer; of its body only the length, and the first bytes, are kept.
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body, cut after some bytes.
    pub body: Vec<u8>,
}

impl Line {
    /// Connects from an address to a server; both must be on loopback. A `window` is the most bytes that the kernel
    /// takes from the server while nothing is read, about.
    pub async fn open(
        target: SocketAddr,
        source: Ipv4Addr,
        window: Option<u32>,
        tally: &Arc<Tally>,
    ) -> io::Result<Self> {
        assert!(target.ip().is_loopback() && source.is_loopback(), "a siege never leaves this machine");
        let socket = TcpSocket::new_v4()?;
        if let Some(window) = window {
            socket.set_recv_buffer_size(window)?;
        }
        socket.bind((source, 0).into())?;
        let stream = socket.connect(target).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, tally: Arc::clone(tally), received: Vec::new() })
    }

    /// Sends bytes.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(64 << 10) {
            self.stream.write_all(piece).await?;
            self.tally.sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Sends a request and counts it.
    pub async fn request(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.tally.requests.fetch_add(1, Ordering::Relaxed);
        self.send(bytes).await
    }

    /// Sends a request, receives its answer and counts the status.
    pub async fn ask(&mut self, bytes: &[u8]) -> io::Result<Answer> {
        self.request(bytes).await?;
        let answer = self.answer().await?;
        self.tally.count(answer.status.to_string());
        Ok(answer)
    }

    /// Receives a whole answer.
    pub async fn answer(&mut self) -> io::Result<Answer> {
        let head = loop {
            if let Some(end) = self.received.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                let head: Vec<u8> = self.received.drain(..end + 4).collect();
                break String::from_utf8_lossy(&head).to_ascii_lowercase();
            }
            if self.received.len() > HEAD_BYTES_MAX {
                return Err(io::Error::other("a head without end"));
            }
            self.receive().await?;
        };
        let status = head.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0);
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
        let body = match length {
            _ if status == 304 || status == 101 || status == 204 => Vec::new(),
            Some(length) => self.take(length).await?,
            None if head.contains("transfer-encoding: chunked") => Vec::new(),
            None => Vec::new(),
        };
        Ok(Answer { status, body })
    }

    /// Takes so many bytes; the first of them are given back.
    async fn take(&mut self, mut length: usize) -> io::Result<Vec<u8>> {
        const KEPT: usize = 64 << 10;
        let mut kept = Vec::new();
        loop {
            let taken = length.min(self.received.len());
            kept.extend_from_slice(&self.received[..taken.min(KEPT.saturating_sub(kept.len()))]);
            self.received.drain(..taken);
            length -= taken;
            if length == 0 {
                return Ok(kept);
            }
            self.receive().await?;
        }
    }

    /// Receives some bytes.
    pub async fn receive(&mut self) -> io::Result<usize> {
        self.received.reserve(READ_BYTES);
        let count = self.stream.read_buf(&mut self.received).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.tally.received.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }

    /// Sends bytes, and meanwhile receives what comes and throws it away.
    pub async fn send_and_receive(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (mut reader, mut writer) = self.stream.split();
        let (mut writing, mut buffer) = (std::pin::pin!(writer.write_all(bytes)), vec![0; READ_BYTES]);
        loop {
            tokio::select! {
                written = &mut writing => {
                    written?;
                    self.tally.sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    return Ok(());
                }
                received = reader.read(&mut buffer) => {
                    let count = received?;
                    if count == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    self.tally.received.fetch_add(count as u64, Ordering::Relaxed);
                }
            }
        }
    }

    /// Receives at most so many bytes and throws them away.
    pub async fn receive_at_most(&mut self, count: usize) -> io::Result<()> {
        let mut buffer = vec![0; count];
        if self.stream.read(&mut buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// Receives and throws away, until the server closes the connection.
    pub async fn wait_for_end(&mut self) {
        while self.receive().await.is_ok() {
            self.received.clear();
        }
    }

    /// Whether the server has closed the connection, looked up without waiting.
    pub fn is_closed(&self) -> bool {
        let mut byte = [0; 1];
        match self.stream.try_read(&mut byte) {
            Ok(count) => count == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }
}

/// The head and body of a request that carries a key.
pub fn request(method: &str, path: &str, key: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n");
    let length = body.len().to_string();
    let own = [("X-API-Key", key), ("Content-Length", if body.is_empty() { "" } else { &length })];
    for (name, value) in own.iter().chain(headers).filter(|(_, value)| !value.is_empty()) {
        request.push_str(name);
        request.push_str(": ");
        request.push_str(value);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    let mut request = request.into_bytes();
    request.extend_from_slice(body);
    request
}

/// A question.
pub fn get(path: &str, key: &str) -> Vec<u8> {
    request("GET", path, key, &[], &[])
}

/// The handshake of a WebSocket.
pub fn upgrade(path: &str, key: &str) -> Vec<u8> {
    let headers = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    request("GET", path, key, &headers, &[])
}

/// A frame of a client with fewer than 126 bytes, masked with zeros.
pub fn frame(opcode: u8, text: &[u8]) -> Vec<u8> {
    let length = u8::try_from(text.len()).unwrap_or(125).min(125);
    let mut frame = vec![0x80 | opcode, 0x80 | length, 0, 0, 0, 0];
    frame.extend_from_slice(&text[..usize::from(length)]);
    frame
}
