//! The clients in LIVE.md, run as they stand there against a server, while calls are written to it.

use crate::program::is_installed;
use crate::python::environment;
use crate::smoke::{Process, SmokeServer};
use anyhow::{Context, ensure};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use uuid::Uuid;

const PAGE: &str = "LIVE.md";
const REQUIREMENTS: &str = "sdk/live/requirements.txt";
const FOLDER: &str = "target/examples";
const TENANT: &str = "examples";

/// How long an example may take to say what it should.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often a call is written meanwhile.
const CALL_INTERVAL: Duration = Duration::from_millis(500);

/// The first major version of Node whose `WebSocket` needs no option.
const NODE_WITH_SOCKETS: u32 = 22;

/// Where an example is, and what it prints when it works.
struct Example {
    language: Language,
    /// Which of the page's blocks in that language.
    index: usize,
    prints: &'static [&'static str],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Language {
    Python,
    JavaScript,
}

const EXAMPLES: [Example; 3] = [
    Example { language: Language::Python, index: 0, prints: &["call.ended"] },
    Example { language: Language::Python, index: 1, prints: &["call.ended"] },
    Example { language: Language::JavaScript, index: 0, prints: &["calls in 24 hours: ", "hours: "] },
];

/// Runs every example.
pub fn run() -> anyhow::Result<()> {
    check(true)
}

/// Runs every example that the machine has the tools for; says of the others why not. Where `all` must run, a missing tool
/// is a failure.
pub fn check(all: bool) -> anyhow::Result<()> {
    let page = std::fs::read_to_string(PAGE)?;
    for language in [Language::Python, Language::JavaScript] {
        let blocks = blocks(&page, language.fence());
        let examples: Vec<&Example> = EXAMPLES.iter().filter(|example| example.language == language).collect();
        ensure!(blocks.len() == examples.len(), "{PAGE} has {} examples in {}", blocks.len(), language.fence());
        match language.missing() {
            Some(reason) if all => anyhow::bail!("the {} examples cannot run: {reason}", language.fence()),
            Some(reason) => println!("the {} examples are not run: {reason}", language.fence()),
            None => examples.iter().try_for_each(|example| example.run(blocks[example.index]))?,
        }
    }
    Ok(())
}

impl Language {
    const fn fence(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::JavaScript => "js",
        }
    }

    fn missing(self) -> Option<&'static str> {
        match self {
            Self::Python => crate::python::missing(),
            Self::JavaScript => (!is_installed("node")).then_some("node is not installed"),
        }
    }

    /// The command that runs a program.
    fn command(self) -> anyhow::Result<Command> {
        match self {
            Self::Python => {
                Ok(environment(&Path::new(FOLDER).join("python"), Path::new(REQUIREMENTS))?.program("python"))
            }
            Self::JavaScript => {
                let mut node = Command::new("node");
                if node_version()? < NODE_WITH_SOCKETS {
                    node.arg("--experimental-websocket");
                }
                Ok(node)
            }
        }
    }
}

impl Example {
    fn run(&self, text: &str) -> anyhow::Result<()> {
        let file = match self.language {
            Language::Python => format!("{FOLDER}/example_{}.py", self.index),
            Language::JavaScript => format!("{FOLDER}/example_{}.mjs", self.index),
        };
        std::fs::create_dir_all(FOLDER)?;
        std::fs::write(&file, text)?;
        let server = SmokeServer::start(&[])?;
        let key = server.create_tenant(TENANT)?;
        let mut command = self.language.command()?;
        command.arg(&file).env("CALLSCOPE_URL", server.url()).env("CALLSCOPE_KEY", key).stdout(Stdio::piped());
        let mut program = Process(command.spawn().with_context(|| format!("cannot run {file}"))?);
        let lines = lines(&mut program.0)?;
        let deadline = Instant::now() + PATIENCE;
        let mut missing: Vec<&str> = self.prints.to_vec();
        while !missing.is_empty() {
            ensure!(Instant::now() < deadline, "{file} does not print {missing:?}");
            ensure!(program.0.try_wait()?.is_none(), "{file} ended before it printed {missing:?}");
            write_call(&server)?;
            let until = Instant::now() + CALL_INTERVAL;
            while let Ok(line) = lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                missing.retain(|text| !line.starts_with(text));
            }
        }
        println!("the example {file} works");
        Ok(())
    }
}

fn lines(child: &mut Child) -> anyhow::Result<Receiver<String>> {
    let output = child.stdout.take().context("the example has no output")?;
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            println!("  {line}");
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    Ok(lines)
}

/// Writes a call that has just ended.
fn write_call(server: &SmokeServer) -> anyhow::Result<()> {
    let (id, now) = (Uuid::new_v4(), chrono::Utc::now().to_rfc3339());
    let record = format!(
        "{{\"call_id\":\"{id}\",\"status\":\"completed\",\"started_at\":\"{now}\",\"ended_at\":\"{now}\",\
         \"workflow\":{{\"slug\":\"daily-call\"}}}}\n"
    );
    let file = format!("{FOLDER}/call.ndjson");
    std::fs::write(&file, record)?;
    server.run(&["import", "--tenant", TENANT, &file])?;
    Ok(())
}

fn node_version() -> anyhow::Result<u32> {
    let output = Command::new("node").arg("--version").output()?;
    let text = String::from_utf8(output.stdout)?;
    let major = text.trim().trim_start_matches('v').split('.').next().unwrap_or_default();
    major.parse().with_context(|| format!("node says its version is {text}"))
}

/// The blocks of a page that are in one language.
fn blocks<'p>(page: &'p str, fence: &str) -> Vec<&'p str> {
    let opening = format!("\n```{fence}\n");
    page.split(opening.as_str()).skip(1).filter_map(|rest| rest.split_once("```")).map(|(block, _)| block).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_by_their_language() {
        let page = "a\n```js\nlet a;\n```\n```python\nb = 1\n```\nc\n```js\nlet c;\n```\n";
        assert_eq!(blocks(page, "js"), ["let a;\n", "let c;\n"]);
        assert_eq!(blocks(page, "python"), ["b = 1\n"]);
    }
}
