//! HTTP/1.1 byte for byte, so that a test can say what no client library would let through.

use std::fmt::Write;
use std::net::SocketAddr;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// A request, sent exactly as it stands here.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: &'static str,
    pub target: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn new(method: &'static str, target: impl Into<String>) -> Self {
        Self { method, target: target.into(), headers: Vec::new(), body: Vec::new() }
    }

    pub fn get(target: impl Into<String>) -> Self {
        Self::new("GET", target)
    }

    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// A body of a media type.
    pub fn body(mut self, media_type: &'static str, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.header("Content-Type", media_type)
    }

    pub fn json(self, body: impl Into<Vec<u8>>) -> Self {
        self.body("application/json", body)
    }

    pub fn ndjson(self, body: impl Into<Vec<u8>>) -> Self {
        self.body("application/x-ndjson", body)
    }

    fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name))
    }

    /// Everything before the body. The length is added unless the test set one, or sends chunks.
    pub fn head(&self) -> String {
        let mut head = format!("{} {} HTTP/1.1\r\nHost: localhost\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        if !self.body.is_empty() && !self.has("Content-Length") && !self.has("Transfer-Encoding") {
            let _ = write!(head, "Content-Length: {}\r\n", self.body.len());
        }
        head + "\r\n"
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Whether `100 Continue` came first.
    pub continued: bool,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("answers are UTF-8")
    }

    /// The body as JSON, where its order does not matter.
    pub fn value(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn closes(&self) -> bool {
        self.header("Connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// One connection to a server.
pub struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("the server listens");
        Self { stream: BufReader::new(stream) }
    }

    /// Sends a request and reads its answer. The answer may come before the body is sent, and the server need not take
    /// the rest.
    pub async fn send(&mut self, request: &Request) -> Response {
        let head = request.head();
        let (read, mut write) = tokio::io::split(&mut self.stream);
        let mut read = BufReader::new(read);
        let writing = async {
            // Where the server has answered and hung up, the answer counts and not the broken pipe.
            let _ = write.write_all(head.as_bytes()).await;
            let _ = write.write_all(&request.body).await;
            let _ = write.flush().await;
        };
        tokio::pin!(writing);
        let reading = read_response(&mut read, request.method);
        tokio::pin!(reading);
        tokio::select! {
            response = &mut reading => response,
            () = &mut writing => reading.await,
        }
    }

    /// Sends a request without a body and reads the beginning of its answer, which need not end; a refusal is read
    /// whole.
    pub async fn send_for_head(&mut self, request: &Request) -> Response {
        self.write(request.head().as_bytes()).await;
        let (status, headers) = read_head(&mut self.stream).await;
        let mut response = Response { status, headers, body: Vec::new(), continued: false };
        if status >= 400 {
            let length = response.header("Content-Length").expect("a length").parse().expect("a number");
            response.body.resize(length, 0);
            self.stream.read_exact(&mut response.body).await.expect("the whole body arrives");
        }
        response
    }

    /// Sends bytes and waits for no answer.
    pub async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the server takes bytes");
        self.stream.flush().await.expect("the server takes bytes");
    }

    /// Says that no more will be sent.
    pub async fn finish(&mut self) {
        self.stream.shutdown().await.expect("the connection is open");
    }

    /// Reads one answer.
    pub async fn read(&mut self, method: &str) -> Response {
        read_response(&mut self.stream, method).await
    }

    /// Whether the server has hung up.
    pub async fn is_at_end(&mut self) -> bool {
        self.stream.fill_buf().await.is_ok_and(<[u8]>::is_empty)
    }
}

async fn read_response(stream: &mut (impl AsyncBufReadExt + Unpin), method: &str) -> Response {
    let mut continued = false;
    let (status, headers) = loop {
        let (status, headers) = read_head(stream).await;
        if status != 100 {
            break (status, headers);
        }
        continued = true;
    };
    let mut response = Response { status, headers, body: Vec::new(), continued };
    if method == "HEAD" || status == 204 || status == 304 {
        return response;
    }
    if response.header("Transfer-Encoding") == Some("chunked") {
        response.body = read_chunks(stream).await;
    } else {
        let length = response.header("Content-Length").map_or(0, |length| length.parse().expect("a length"));
        response.body.resize(length, 0);
        stream.read_exact(&mut response.body).await.expect("the whole body arrives");
    }
    response
}

async fn read_head(stream: &mut (impl AsyncBufReadExt + Unpin)) -> (u16, Vec<(String, String)>) {
    let status_line = read_line(stream).await;
    let status = status_line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.unwrap_or_else(|| panic!("no status line: {status_line:?}"));
    let mut headers = Vec::new();
    loop {
        let line = read_line(stream).await;
        let Some((name, value)) = line.split_once(':') else { return (status, headers) };
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
}

async fn read_chunks(stream: &mut (impl AsyncBufReadExt + Unpin)) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let length = usize::from_str_radix(&read_line(stream).await, 16).expect("a chunk's length");
        let start = body.len();
        body.resize(start + length, 0);
        stream.read_exact(&mut body[start..]).await.expect("the whole chunk arrives");
        assert_eq!(read_line(stream).await, "");
        if length == 0 {
            return body;
        }
    }
}

async fn read_line(stream: &mut (impl AsyncBufReadExt + Unpin)) -> String {
    let mut line = String::new();
    stream.read_line(&mut line).await.expect("an answer arrives");
    line.trim_end_matches(['\r', '\n']).to_owned()
}
