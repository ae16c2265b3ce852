//! The memory limit of the attacked server: a cgroup, or a limit of the address space where no cgroup can be made.

use anyhow::Context;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Most memory of the server.
pub const MEMORY_BYTES: u64 = 512 << 20;

/// A process reserves far more addresses than it uses: threads' stacks and the allocator's arenas.
const ADDRESSES_PER_BYTE: u64 = 8;

/// Where version 1 of cgroups has its memory controller.
const V1_ROOT: &str = "/sys/fs/cgroup/memory";
/// Where version 2 has all controllers.
const V2_ROOT: &str = "/sys/fs/cgroup";

/// Joins a cgroup, then becomes the program; the process id stays the same.
const JOIN: &str = r#"umask 022 && echo $$ >"$0" && exec "$@""#;
/// Limits the address space, in KiB, then becomes the program.
const LIMIT: &str = r#"umask 022 && ulimit -v "$0" && exec "$@""#;

/// How the memory of one server is limited.
pub enum Cage {
    /// Version 1 of cgroups.
    V1(Folder),
    /// Version 2 of cgroups.
    V2(Folder),
    /// `ulimit -v`.
    AddressSpace,
}

/// The folder of a cgroup; removed with this.
pub struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // It fails while a process is left in it, which then is the larger fault.
        let _ = std::fs::remove_dir(&self.0);
    }
}

impl Cage {
    /// The best limit that this machine allows.
    pub fn build(name: &str) -> Self {
        let name = format!("callscope-siege-{}-{name}", std::process::id());
        v1(&name).map(Self::V1).or_else(|| v2(&name).map(Self::V2)).unwrap_or(Self::AddressSpace)
    }

    /// A command that runs `program` inside the limit, under the process id that the command gets.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("sh");
        let (script, argument) = match self {
            Self::V1(Folder(folder)) | Self::V2(Folder(folder)) => (JOIN, folder.join("cgroup.procs")),
            Self::AddressSpace => (LIMIT, ((MEMORY_BYTES * ADDRESSES_PER_BYTE) >> 10).to_string().into()),
        };
        command.args(["-c", script]).arg(argument).arg(program);
        command
    }

    /// How often the kernel has killed a process for want of memory.
    pub fn oom_kills(&self) -> anyhow::Result<u64> {
        let file = match self {
            Self::V1(Folder(folder)) => folder.join("memory.oom_control"),
            Self::V2(Folder(folder)) => folder.join("memory.events"),
            Self::AddressSpace => return Ok(0),
        };
        let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        Ok(count.context("no oom_kill")?.trim().parse()?)
    }
}

impl fmt::Display for Cage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = MEMORY_BYTES >> 20;
        match self {
            Self::V1(_) => write!(formatter, "{mib} MiB by the memory controller of cgroups, version 1"),
            Self::V2(_) => write!(formatter, "{mib} MiB by memory.max of cgroups, version 2"),
            Self::AddressSpace => {
                write!(
                    formatter,
                    "{} MiB of address space by ulimit -v: no cgroup can be made",
                    mib * ADDRESSES_PER_BYTE
                )
            }
        }
    }
}

fn v1(name: &str) -> Option<Folder> {
    Path::new(V1_ROOT).join("memory.limit_in_bytes").exists().then_some(())?;
    make(Path::new(V1_ROOT), name, "memory.limit_in_bytes")
}

fn v2(name: &str) -> Option<Folder> {
    let controllers = std::fs::read_to_string(Path::new(V2_ROOT).join("cgroup.controllers")).ok()?;
    controllers.split_whitespace().find(|controller| *controller == "memory")?;
    // Fails where it is on already, or where this is no root of a hierarchy.
    let _ = std::fs::write(Path::new(V2_ROOT).join("cgroup.subtree_control"), "+memory");
    let folder = make(Path::new(V2_ROOT), name, "memory.max")?;
    let _ = std::fs::write(folder.0.join("memory.swap.max"), "0");
    Some(folder)
}

fn make(root: &Path, name: &str, limit: &str) -> Option<Folder> {
    let path = root.join(name);
    std::fs::create_dir(&path).ok()?;
    let folder = Folder(path);
    std::fs::write(folder.0.join(limit), MEMORY_BYTES.to_string()).ok()?;
    Some(folder)
}
