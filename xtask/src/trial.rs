//! A server to try things on: the build for development, over a throw-away SQLite database.

use crate::bench::server::Server;
use anyhow::{Context, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A running server. It ends, and its database goes, when this goes.
pub struct Trial {
    server: Server,
    binary: PathBuf,
    folder: TempDir,
}

impl Trial {
    /// Builds the server and starts it, with more settings in its environment.
    pub fn start(environment: &[(&str, &str)]) -> anyhow::Result<Self> {
        run(Command::new(env!("CARGO")).args(["build", "--quiet", "--locked", "--package", "callscope-server"]))?;
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
        let binary = target.join("debug/callscope");
        let folder = tempfile::tempdir()?;
        let server = Server::start_by(command(&binary, folder.path()).envs(environment.iter().copied()).arg("serve"))?;
        Ok(Self { server, binary, folder })
    }

    /// Where it listens, as the start of a URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.server.address)
    }

    /// Creates a tenant; gives a key of it.
    pub fn create_tenant(&self, slug: &str) -> anyhow::Result<String> {
        self.run(&["tenants", "create", slug])?;
        Ok(self.run(&["keys", "create", "--tenant", slug])?.trim().to_owned())
    }

    /// Runs a command on its database; gives what it prints.
    pub fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = command(&self.binary, self.folder.path()).args(arguments).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }
}

fn command(binary: &Path, folder: &Path) -> Command {
    let mut command = Command::new(binary);
    let database = folder.join("trial.db");
    command
        .env_remove("CALLSCOPE_CONFIG")
        .env("CALLSCOPE__DATABASE__URL", format!("sqlite://{}", database.display()))
        .env("CALLSCOPE__SERVER__BIND", "127.0.0.1:0")
        .env("CALLSCOPE__METRICS__BIND", "")
        .env("CALLSCOPE__LOG__FORMAT", "json")
        .env("CALLSCOPE__LOG__LEVEL", "warn,callscope::serve=info");
    command
}

/// Runs a command, which must succeed.
pub fn run(command: &mut Command) -> anyhow::Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("cannot run {name}"))?;
    ensure!(status.success(), "{name} failed");
    Ok(())
}

/// Whether a program can be run.
pub fn is_installed(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}
