//! A real browser, from outside the server's origin, follows the demo with a ticket.

use crate::client::Client;
use crate::demo;
use crate::fixture::Fixture;
use crate::process::{PATIENCE, Server};
use callscope_testkit::Backend;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// Ends the browser when it goes.
struct Browser(Child);

impl Drop for Browser {
    fn drop(&mut self) {
        // Both fail only for a process that has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A browser, if there is one.
fn browser() -> Option<&'static str> {
    let program = BROWSERS.into_iter().find(|name| Command::new(name).arg("--version").output().is_ok());
    if program.is_none() {
        println!("NOT RUN: there is no browser; install chromium");
    }
    program
}

#[test]
fn a_browser_follows_the_demo() {
    let Some(program) = browser() else { return };
    let fixture = Fixture::new(Backend::Sqlite);
    let server = demo::start(&fixture);
    let key = demo::key(&server);
    let calls = open(program, &fixture, &server, &key, "/ws/calls");
    assert_eq!(calls.receive("connected")["active_calls"].as_u64().map(|calls| calls < 100), Some(true));
    let started = calls.receive("call.started");
    assert!(started["data"]["workflow_slug"].is_string(), "{started}");
    let figures = open(program, &fixture, &server, &key, "/ws/analytics");
    assert!(figures.receive("summary")["data"]["total_calls"].as_u64() > Some(0));
}

/// The page needs the document, its own scripts and styles, and no exception from its policy.
#[test]
fn swagger_ui_keeps_to_the_policy_of_its_page() {
    let Some(program) = browser() else { return };
    let fixture = Fixture::new(Backend::Sqlite);
    let server = fixture.serve(&[]);
    let output = Command::new(program)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--enable-logging=stderr"])
        .arg(format!("--user-data-dir={}", fixture.folder().join("profile-of-swagger").display()))
        .args(["--virtual-time-budget=30000", "--dump-dom"])
        .arg(format!("{}/swagger-ui/", server.url()))
        .output()
        .unwrap();
    let (page, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(page.contains("/api/v1/analytics/summary"), "the document is not shown: {page}\n{log}");
    let violations: Vec<&str> = log.lines().filter(|line| line.contains("Content Security Policy")).collect();
    assert!(violations.is_empty(), "{violations:#?}");
}

/// A page that reports each message of a socket.
struct Page {
    messages: mpsc::Receiver<Value>,
    _browser: Browser,
}

impl Page {
    /// The next message of a type.
    fn receive(&self, kind: &str) -> Value {
        loop {
            let message = self.messages.recv_timeout(PATIENCE).expect("a message");
            if message["type"] == kind {
                return message;
            }
        }
    }
}

fn open(program: &str, fixture: &Fixture, server: &Server, key: &str, path: &str) -> Page {
    let answer = Client::new(&server.url(), Some(key)).post("/api/v1/auth/tickets", "application/json", b"");
    assert_eq!(answer.status, 201, "{answer:?}");
    let ticket = answer.json()["ticket"].as_str().unwrap().to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let report = format!("http://{}/", listener.local_addr().unwrap());
    let page = format!(
        "<script>
           const socket = new WebSocket('ws://{}{path}?ticket={ticket}');
           const report = text => fetch('{report}', {{method: 'POST', mode: 'no-cors', body: text}});
           socket.onmessage = event => report(event.data);
           socket.onclose = event => report(JSON.stringify({{type: 'closed', code: event.code}}));
         </script>",
        server.address
    );
    let file = fixture.folder().join(format!("{}.html", path.replace('/', "-")));
    std::fs::write(&file, page).unwrap();
    let (sender, messages) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let Some(message) = receive(stream) else { continue };
            if sender.send(message).is_err() {
                return;
            }
        }
    });
    let profile = fixture.folder().join(format!("profile{}", path.replace('/', "-")));
    let browser = Command::new(program)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-port=0"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("file://{}", file.display()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Page { messages, _browser: Browser(browser) }
}

/// The body of a request, which is answered.
fn receive(mut stream: TcpStream) -> Option<Value> {
    let mut lines = BufReader::new(stream.try_clone().ok()?);
    let mut length = 0;
    loop {
        let mut line = String::new();
        lines.read_line(&mut line).ok()?;
        let line = line.trim_end().to_ascii_lowercase();
        if let Some(text) = line.strip_prefix("content-length: ") {
            length = text.parse().ok()?;
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    lines.read_exact(&mut body).ok()?;
    stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").ok()?;
    serde_json::from_slice(&body).ok()
}
