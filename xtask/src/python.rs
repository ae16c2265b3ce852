//! Python programs with pinned packages, each set in an environment of its own under `target/`.

use crate::program::{is_installed, run};
use anyhow::{Context, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

const PYTHON: &str = "python3";
/// Beside an environment: the requirements that it was made from.
const STAMP: &str = "requirements.txt";

/// What is missing to make one; `None` where nothing is.
pub fn missing() -> Option<&'static str> {
    if !is_installed(PYTHON) {
        return Some("python3 is not installed");
    }
    let venv = Command::new(PYTHON).args(["-c", "import ensurepip, venv"]).output();
    (!venv.is_ok_and(|output| output.status.success())).then_some("python3-venv is not installed")
}

/// An environment that holds what a file of requirements pins, made anew when the file has changed.
pub fn environment(folder: &Path, requirements: &Path) -> anyhow::Result<Environment> {
    let wanted = std::fs::read_to_string(requirements).with_context(|| format!("no {}", requirements.display()))?;
    let stamp = folder.join(STAMP);
    let environment = Environment { programs: std::env::current_dir()?.join(folder).join("bin") };
    if std::fs::read_to_string(&stamp).is_ok_and(|made| made == wanted) {
        return Ok(environment);
    }
    if let Some(reason) = missing() {
        ensure!(false, "{reason}");
    }
    run(Command::new(PYTHON).args(["-m", "venv", "--clear"]).arg(folder))?;
    // Quiet about newer versions of itself, and no package may be built from source by accident.
    let mut install = environment.program("pip");
    install.args(["install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:", "--requirement"]);
    run(install.arg(requirements))?;
    std::fs::write(stamp, wanted)?;
    Ok(environment)
}

/// The programs of an environment.
pub struct Environment {
    programs: PathBuf,
}

impl Environment {
    /// One of them. The others are on its path.
    pub fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        let mut path = vec![self.programs.clone()];
        path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
        if let Ok(path) = std::env::join_paths(path) {
            command.env("PATH", path);
        }
        command
    }
}
