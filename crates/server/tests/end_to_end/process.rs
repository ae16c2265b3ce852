//! Processes of the binary: started, listened to, stopped, and never left behind.

use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long anything may take that should be quick, on a busy machine.
pub const PATIENCE: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(10);

/// Asks again and again until there is an answer.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what} has not happened within {PATIENCE:?}");
        std::thread::sleep(POLL);
    }
}

/// A command that has ended.
#[derive(Debug)]
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    /// What it printed; it must have succeeded.
    pub fn stdout_of_success(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }

    /// What it complained of; it must have failed in an orderly way.
    pub fn stderr_of_failure(self) -> String {
        assert!(matches!(self.code, Some(1 | 2)), "{self:?}");
        self.assert_says_nothing_twice();
        self.stderr
    }
}

impl Finished {
    /// No cause of an error follows itself.
    pub fn assert_says_nothing_twice(&self) {
        let text = self.stderr.trim_end();
        let is_repeated = |(end, _): (usize, &str)| text[..end].ends_with(&text[end + 2..]);
        assert!(!text.match_indices(": ").any(is_repeated), "{text}");
    }
}

/// Runs a command to its end.
pub fn run(command: Command, input: &[u8]) -> Finished {
    Running::start(command, input).finish()
}

/// A command under way. It is killed when this goes.
pub struct Running {
    process: Guard,
    stdout: JoinHandle<String>,
    /// None when it goes elsewhere.
    stderr: Option<JoinHandle<String>>,
}

impl Running {
    /// Starts a command.
    pub fn start(mut command: Command, input: &[u8]) -> Self {
        command.stderr(Stdio::piped());
        Self::start_on(command, input)
    }

    /// Starts a command whose standard error goes where it was told.
    pub fn start_on(mut command: Command, input: &[u8]) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        // It may end before it has read everything.
        std::thread::spawn(move || drop(stdin.write_all(&input)));
        let (stdout, stderr) = (text_of(child.stdout.take().unwrap()), child.stderr.take().map(text_of));
        Self { process: Guard(child), stdout, stderr }
    }

    /// Sends a signal by its name, such as `INT`.
    pub fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Waits for its end.
    pub fn finish(mut self) -> Finished {
        let status = eventually("the end of a command", || self.process.0.try_wait().unwrap());
        let stderr = self.stderr.map(|stderr| stderr.join().unwrap()).unwrap_or_default();
        Finished { code: status.code(), stdout: self.stdout.join().unwrap(), stderr }
    }
}

fn text_of(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        String::from_utf8(bytes).expect("output is UTF-8")
    })
}

/// Kills its process when it goes.
struct Guard(Child);

impl Guard {
    fn signal(&self, name: &str) {
        let status = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.0.id())]).status();
        assert!(status.unwrap().success(), "cannot send {name}");
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Both fail only for a process that has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

type Lines = Arc<Mutex<Vec<String>>>;

/// A server that listens. It is killed when this goes.
pub struct Server {
    process: Guard,
    /// Where it listens.
    pub address: SocketAddr,
    log: Lines,
    printed: Lines,
}

impl Server {
    /// Starts a command that serves and logs JSON, and waits until it listens.
    pub fn start(mut command: Command) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut process = Guard(child);
        let log = lines_of(process.0.stderr.take().unwrap());
        let printed = lines_of(process.0.stdout.take().unwrap());
        let address = eventually("listening", || {
            let found = log.lock().unwrap().iter().find_map(|line| listening_address(line));
            let ended = found.is_none() && process.0.try_wait().unwrap().is_some();
            assert!(!ended, "the server does not start: {:?}", log.lock().unwrap());
            found
        });
        Self { process, address, log, printed }
    }

    /// Where it listens, as the start of a URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it has printed to standard output so far.
    pub fn printed(&self) -> Vec<String> {
        self.printed.lock().unwrap().clone()
    }

    /// What it has logged so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// Sends a signal by its name, such as `TERM`.
    pub fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Ends it with SIGKILL, as a crash would.
    pub fn kill(mut self) {
        self.process.0.kill().unwrap();
        self.process.0.wait().unwrap();
    }

    /// Waits for it to end by itself.
    pub fn wait(&mut self) -> ExitStatus {
        eventually("the end of the server", || self.process.0.try_wait().unwrap())
    }
}

fn lines_of(pipe: impl Read + Send + 'static) -> Lines {
    let lines = Lines::default();
    let shared = Arc::clone(&lines);
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            shared.lock().unwrap().push(line);
        }
    });
    lines
}

fn listening_address(line: &str) -> Option<SocketAddr> {
    let line: Value = serde_json::from_str(line).ok()?;
    let fields = &line["fields"];
    fields["message"].as_str()?.starts_with("listening").then(|| fields["address"].as_str()?.parse().ok())?
}
