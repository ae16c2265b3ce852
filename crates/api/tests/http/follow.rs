//! Following: clients of the sockets and of the stream.

use crate::server::Server;
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_mins(1);

/// A client of a WebSocket.
pub struct Follower {
    socket: WebSocketStream<TcpStream>,
}

impl Follower {
    /// Opens a socket, or says with which status that was refused.
    pub async fn open(server: &Server, path: &str, key: &str) -> Result<Self, u16> {
        let stream = TcpStream::connect(server.address).await.expect("a connection");
        let mut request = format!("ws://{}{path}", server.address).into_client_request().expect("a request");
        request.headers_mut().insert("X-API-Key", key.parse().expect("a header"));
        match client_async(request, stream).await {
            Ok((socket, _)) => Ok(Self { socket }),
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    /// The next message of the server that is text.
    pub async fn next(&mut self) -> Value {
        loop {
            match self.receive().await {
                Message::Text(text) => return serde_json::from_str(&text).expect("JSON"),
                Message::Close(frame) => panic!("closed: {frame:?}"),
                _ => {}
            }
        }
    }

    /// The next messages, each as its type and one more of its fields.
    pub async fn brief(&mut self, count: usize) -> Vec<String> {
        let mut brief = Vec::new();
        for _ in 0..count {
            let message = self.next().await;
            let detail = ["call_id", "count", "cursor"].iter().find_map(|name| message.get(name));
            let detail = detail.map(|detail| detail.to_string().trim_matches('"').to_owned()).unwrap_or_default();
            // Of the id of a call, its number.
            let detail = match detail.rsplit_once('-') {
                Some((_, number)) => u64::from_str_radix(number, 16).unwrap_or(0).to_string(),
                None => detail,
            };
            brief.push(format!("{} {}", message["type"].as_str().unwrap_or_default(), detail));
        }
        brief
    }

    /// Says something.
    pub async fn say(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.expect("an open socket");
    }

    /// Sends any message.
    pub async fn send(&mut self, message: Message) {
        self.socket.send(message).await.expect("an open socket");
    }

    /// The code and the reason with which the server closes the socket.
    pub async fn end(&mut self) -> (u16, String) {
        loop {
            if let Message::Close(frame) = self.receive().await {
                let frame = frame.expect("a reason");
                return (frame.code.into(), frame.reason.to_string());
            }
        }
    }

    /// Reads, and so answers pings, for a while in which nothing else comes.
    pub async fn stay(&mut self, time: Duration) {
        let silence = async { while matches!(self.receive().await, Message::Ping(_) | Message::Pong(_)) {} };
        timeout(time, silence).await.expect_err("nothing comes");
    }

    async fn receive(&mut self) -> Message {
        timeout(PATIENCE, self.socket.next()).await.expect("a message").expect("an open socket").expect("a sound one")
    }
}

/// A client of a WebSocket that answers nothing.
pub struct Deaf {
    stream: TcpStream,
}

impl Deaf {
    /// Opens a socket.
    pub async fn open(server: &Server, path: &str, key: &str) -> Self {
        let mut stream = TcpStream::connect(server.address).await.expect("a connection");
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.expect("an open connection");
        Self { stream }
    }

    /// The code with which the server closes the socket.
    pub async fn end(&mut self) -> u16 {
        let mut received = Vec::new();
        timeout(PATIENCE, self.stream.read_to_end(&mut received)).await.expect("an end").expect("a sound one");
        // The last frame: its head, its length, its code, its reason.
        let close = received.windows(2).rposition(|pair| pair[0] == 0x88).expect("a close frame");
        u16::from_be_bytes([received[close + 2], received[close + 3]])
    }
}

/// A client of the stream.
pub struct Listener {
    lines: BufReader<TcpStream>,
    pub head: Vec<String>,
}

/// One server-sent event.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sent {
    pub event: String,
    pub id: Option<i64>,
    pub data: String,
}

impl Listener {
    /// Begins to listen.
    pub async fn open(server: &Server, query: &str, key: &str, headers: &str) -> Self {
        let mut stream = TcpStream::connect(server.address).await.expect("a connection");
        let request =
            format!("GET /api/v1/sse/calls/stream{query} HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.expect("an open connection");
        let mut listener = Self { lines: BufReader::new(stream), head: Vec::new() };
        loop {
            let line = listener.line().await;
            if line.is_empty() {
                return listener;
            }
            listener.head.push(line);
        }
    }

    /// The next event; comments are passed over.
    pub async fn next(&mut self) -> Sent {
        let mut sent = Sent::default();
        loop {
            let line = self.line().await;
            match line.split_once(": ") {
                Some(("event", event)) => event.clone_into(&mut sent.event),
                Some(("id", id)) => sent.id = id.parse().ok(),
                Some(("data", data)) => data.clone_into(&mut sent.data),
                // The sizes of chunks have no colon.
                _ => {}
            }
            if line.is_empty() && !sent.data.is_empty() {
                return sent;
            }
        }
    }

    /// Waits for the end of the stream.
    pub async fn end(&mut self) {
        let mut rest = Vec::new();
        timeout(PATIENCE, self.lines.read_to_end(&mut rest)).await.expect("an end").expect("a sound one");
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        timeout(PATIENCE, self.lines.read_line(&mut line)).await.expect("a line").expect("an open connection");
        line.trim_end().to_owned()
    }
}
