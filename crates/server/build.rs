//! The version that `callscope --version` prints: that of the package, with the commit where it is known.
//!
//! It is known from the variable `CALLSCOPE_COMMIT`, for source archives and images, or else from git. Without both the
//! build goes on. It runs again when the variable or the commit that is checked out changes, and at nothing else.

use std::path::{Path, PathBuf};
use std::process::Command;

const VARIABLE: &str = "CALLSCOPE_COMMIT";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    let given = std::env::var(VARIABLE).ok().filter(|commit| !commit.is_empty());
    let version = env!("CARGO_PKG_VERSION");
    match given.or_else(checked_out) {
        Some(commit) => println!("cargo::rustc-env=CALLSCOPE_VERSION={version} ({commit})"),
        None => println!("cargo::rustc-env=CALLSCOPE_VERSION={version}"),
    }
}

/// The commit that is checked out, if this is a checkout of our own and not a folder inside of another one.
fn checked_out() -> Option<String> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().ok()?;
    let top = PathBuf::from(git(&["rev-parse", "--show-toplevel"])?).canonicalize().ok()?;
    if top != workspace {
        return None;
    }
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]);
    for name in ["HEAD", "packed-refs"].into_iter().chain(branch.as_deref()) {
        // A file that is not there would make every build run this again.
        let file = git(&["rev-parse", "--path-format=absolute", "--git-path", name]);
        if let Some(file) = file.filter(|file| Path::new(file).exists()) {
            println!("cargo::rerun-if-changed={file}");
        }
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let text = text.trim();
    (output.status.success() && !text.is_empty()).then(|| text.to_owned())
}
