//! The PostgreSQL server that all test processes of a workspace share.
//!
//! Each process holds the write end of a named pipe open. The server stops when the last one is closed, which the kernel
//! does when a process ends, however it ends. A file lock makes sure that one process at a time starts or joins a server.

use crate::cluster::{self, Cluster, Owner, text};
use rustix::fs::OFlags;
use std::fs::{File, OpenOptions, Permissions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const LOCK: &str = "lock";
/// The named pipe.
const PIPE: &str = "users";
/// Stands in a server's folder for as long as processes may join.
const OPEN: &str = "open";
/// How long a server without a supervising shell has to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// One process's use of the shared server.
pub struct SharedServer {
    home: PathBuf,
    folder: PathBuf,
    _pipe: File,
}

/// What a folder of a server is found to be.
enum Found {
    Joined(File),
    /// The server is about to stop, and removes its folder.
    Stopping,
    /// The supervising shell was killed.
    Abandoned,
}

impl SharedServer {
    /// Joins the server that runs, or the one that `start` starts in a folder below the given one.
    pub fn join(start: impl FnOnce(&Path) -> Result<Cluster, String>) -> Result<Self, String> {
        cluster::find_programs()?;
        let home = home()?;
        let _lock = lock(&home)?;
        let entries = std::fs::read_dir(&home).map_err(text)?.flatten().map(|entry| entry.path());
        for folder in entries.filter(|path| path.is_dir()) {
            match find(&folder)? {
                Found::Joined(pipe) => return Ok(Self { home, folder, _pipe: pipe }),
                Found::Stopping => {}
                Found::Abandoned => remove(&folder),
            }
        }
        let cluster = start(&home)?;
        cluster.share(PIPE, OPEN)?;
        let folder = cluster.folder().to_owned();
        let Found::Joined(pipe) = find(&folder)? else { return Err("the server stopped at once".to_owned()) };
        // Dropped, it would wait for the server to stop.
        std::mem::forget(cluster);
        Ok(Self { home, folder, _pipe: pipe })
    }

    /// The folder of the server's socket.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Waits until no other process holds the lock that is returned.
    pub fn lock(&self) -> Result<File, String> {
        lock(&self.home)
    }
}

/// The folder of all servers of this workspace and user. Not in the user's temporary folder: a socket's path has at
/// most 107 bytes, and the server's user must reach it.
fn home() -> Result<PathBuf, String> {
    let mut hasher = DefaultHasher::new();
    (env!("CARGO_MANIFEST_DIR"), std::env::var_os(cluster::PG_BIN)).hash(&mut hasher);
    let user = rustix::process::geteuid().as_raw();
    let home = Path::new("/tmp").join(format!("callscope-pg-{user}-{:08x}", hasher.finish() & 0xffff_ffff));
    match std::fs::create_dir(&home) {
        Ok(()) => {
            std::fs::set_permissions(&home, Permissions::from_mode(0o700)).map_err(text)?;
            Owner::find()?.take(&home)?;
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(text(error)),
    }
    Ok(home)
}

fn lock(home: &Path) -> Result<File, String> {
    let file = File::create(home.join(LOCK)).map_err(text)?;
    file.lock().map_err(text)?;
    Ok(file)
}

fn find(folder: &Path) -> Result<Found, String> {
    let non_blocking = OFlags::NONBLOCK.bits().cast_signed();
    let mut pipe = match OpenOptions::new().write(true).custom_flags(non_blocking).open(folder.join(PIPE)) {
        Ok(pipe) => pipe,
        // The pipe has no reader, or there is no pipe.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) => {
            return Ok(Found::Abandoned);
        }
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Abandoned),
        Err(error) => return Err(text(error)),
    };
    // Looked at after the pipe was opened: the shell removes the file first, and then waits for open pipes.
    if !folder.join(OPEN).exists() {
        return Ok(Found::Stopping);
    }
    writeln!(pipe, "join").map_err(text)?;
    Ok(Found::Joined(pipe))
}

/// Stops a server whose shell was killed, if it still runs, and removes its files.
fn remove(folder: &Path) {
    let data = folder.join(cluster::DATA);
    let process = std::fs::read_to_string(data.join("postmaster.pid")).ok();
    let process = process.as_deref().and_then(|text| text.lines().next());
    // The number may belong to another process by now.
    let runs = |process: &str| std::fs::read_link(format!("/proc/{process}/cwd")).is_ok_and(|cwd| cwd == data);
    if let Some(process) = process.filter(|process| runs(process)) {
        let deadline = Instant::now() + STOP_TIMEOUT;
        // A process that has ended meanwhile cannot be signalled.
        let _ = Command::new("kill").args(["-QUIT", process]).status();
        while runs(process) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    // The shell of another server that is about to stop may remove the same files.
    let _ = std::fs::remove_dir_all(folder);
}
