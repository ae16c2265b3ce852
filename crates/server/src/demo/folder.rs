//! The folder of a demo: locked for as long as the demo runs, so that a second one cannot replace its database.

use anyhow::{Context, bail};
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const DATABASE_FILE: &str = "demo.db";
/// Holds the number of the process that has the lock.
const LOCK_FILE: &str = "demo.lock";

/// A locked folder. The lock ends with it, and with the process in any case.
pub struct DemoFolder {
    path: PathBuf,
    _lock: File,
}

impl DemoFolder {
    /// Makes the folder if it is missing, and locks it.
    pub fn lock(path: &Path) -> anyhow::Result<Self> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.with_context(|| format!("cannot create the folder {}", path.display()))?;
        let file = path.join(LOCK_FILE);
        let cannot_lock = || format!("cannot lock {}", file.display());
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut lock = options.open(&file).with_context(cannot_lock)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!(
                "{} is in use by another callscope demo{}; use --data DIR for a folder of its own",
                path.display(),
                holder(&mut lock)
            ),
            Err(TryLockError::Error(error)) => return Err(error).with_context(cannot_lock),
        }
        lock.set_len(0).with_context(cannot_lock)?;
        lock.write_all(std::process::id().to_string().as_bytes()).with_context(cannot_lock)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    pub fn database_url(&self) -> String {
        format!("sqlite://{}", self.path.join(DATABASE_FILE).display())
    }

    /// Removes the database of an earlier demo.
    pub fn remove_database(&self) -> anyhow::Result<()> {
        for suffix in ["", "-wal", "-shm"] {
            let file = self.path.join(format!("{DATABASE_FILE}{suffix}"));
            match std::fs::remove_file(&file) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("cannot remove {}", file.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Which process holds the lock, as far as the file says.
fn holder(lock: &mut File) -> String {
    let mut text = String::new();
    let number = lock.read_to_string(&mut text).ok().and_then(|_| text.trim().parse::<u32>().ok());
    number.map(|number| format!(" (pid {number})")).unwrap_or_default()
}
