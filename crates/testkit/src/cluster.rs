//! Runs a PostgreSQL server in a temporary folder. Both go with the process that owns them, also when it is killed.

use std::fmt;
use std::fs::Permissions;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// Names the folder of the server's programs.
pub const PG_BIN: &str = "PG_BIN";
/// Where Debian and its kin keep each major version.
const VERSIONS_FOLDER: &str = "/usr/lib/postgresql";
/// The server refuses to run as root; then it runs as this user.
const SERVER_USER: &str = "postgres";
pub const DATA: &str = "data";
const DONE: &str = "done";

/// Runs commands, one a line, and answers each with one line. At the end of its input it stops the server and removes
/// the folder. The input is a pipe from the test process, which the kernel closes when that process ends; of a shared
/// server it is a named pipe that every test process holds open.
///
/// A linguistic collation, where the server has one, shows what depends on the order of strings.
const SCRIPT: &str = r#"
# The process that reads the answers may have ended.
trap '' PIPE
bin=$1 folder=$2 data=$3 linger=

initdb() {
    "$bin/initdb" --no-sync --auth=trust --username=postgres --encoding=UTF8 --pgdata="$data" --locale=C "$@"
}

# Copies the files of a running server.
copy() {
    "$bin/pg_basebackup" --no-sync --checkpoint=fast --username=postgres --host="$1" --port="$2" --pgdata="$data" &&
        touch "$data/standby.signal"
}

start() {
    "$bin/postgres" -D "$data" &
    server=$!
    until grep -q -s '^ready' "$data/postmaster.pid"; do
        kill -0 "$server" || return
        sleep 0.02
    done
}

# A stopped postmaster starts no further children. Its file goes, or it would still say that the server is ready.
crash() {
    kill -STOP "$server"
    children=$(grep -l "^PPid:[[:space:]]*$server\$" /proc/[0-9]*/status | tr -dc '0-9\n')
    kill -KILL "$server" $children
    wait "$server"
    for child in $children; do
        while grep -q -s '^State:[[:space:]]*[^ZX]' "/proc/$child/status"; do sleep 0.01; done
    done
    rm "$data/postmaster.pid"
}

next() { read -r command first second; }

# A shared server waits a moment for another process: test runners that start a process a test leave short gaps. The
# pipe must have no reader but this shell, by which others see whether it runs.
while next || { [ "$linger" ] && sleep "$linger" </dev/null && next; }; do
    if case $command in
        initdb) initdb --locale-provider=icu --icu-locale=en-US || initdb ;;
        copy) copy "$first" "$second" ;;
        start) start ;;
        crash) crash ;;
        share) mkfifo -m 600 "$folder/$first" ;;
    esac </dev/null >>"$folder/log" 2>&1
    then
        if [ "$command" = share ]; then
            linger=3 open=$folder/$second
            # First for reading and writing, because opening it for reading alone waits for a writer.
            exec 3<>"$folder/$first" <"$folder/$first" 3>&-
            touch "$open"
        fi
        echo done
    else tail -n 3 "$folder/log" | tr '\n' ';'; echo
    fi
done
exec >/dev/null
if [ "$linger" ]; then
    # From here on no process joins. One that joined a moment before has the server until it ends.
    rm "$open"
    while next; do :; done
fi
kill -QUIT "$server"
wait
rm -rf "$folder"
"#;

/// A folder with a server's files, and the shell that works in it.
pub struct Cluster {
    folder: PathBuf,
    owner: Owner,
    shell: Child,
    /// Closed on drop, which stops the server.
    pipes: Mutex<Option<(ChildStdin, BufReader<ChildStdout>)>>,
}

impl Cluster {
    /// An empty folder inside of another one.
    pub fn new(parent: &Path) -> Result<Self, String> {
        let programs = find_programs()?;
        let private = Permissions::from_mode(0o700);
        let folder = tempfile::Builder::new().prefix("callscope-pg-").permissions(private).tempdir_in(parent);
        let folder = folder.map_err(text)?;
        let owner = Owner::find()?;
        owner.take(folder.path())?;
        let mut command = Command::new("sh");
        if let Owner(Some((user, group))) = owner {
            command.uid(user).gid(group);
        }
        command.args(["-c", SCRIPT, "sh"]).arg(programs).arg(folder.path()).arg(folder.path().join(DATA));
        // In a group of its own, an interrupt from the keyboard does not reach it before its work is done.
        command.current_dir(folder.path()).process_group(0);
        let mut shell =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().map_err(text)?;
        let (input, output) = shell.stdin.take().zip(shell.stdout.take()).ok_or("no pipes")?;
        // From here on the script clears away.
        let pipes = Mutex::new(Some((input, BufReader::new(output))));
        Ok(Self { folder: folder.keep(), owner, shell, pipes })
    }

    /// Where the server's socket is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes the files of a new server.
    pub fn initialize(&self) -> Result<(), String> {
        self.send("initdb")
    }

    /// Copies the files of a running server, as a standby needs them.
    pub fn copy(&self, primary: &Self, port: u16) -> Result<(), String> {
        self.send(&format!("copy {} {port}", primary.folder.display()))
    }

    /// Writes a file that only the server may read, by its name in the folder of its data.
    pub fn write(&self, name: &str, contents: &str) -> Result<(), String> {
        let path = self.folder.join(DATA).join(name);
        std::fs::write(&path, contents).map_err(text)?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(text)?;
        self.owner.take(&path)
    }

    /// Starts the server, and returns when it accepts connections.
    pub fn start(&self) -> Result<(), String> {
        self.send("start")
    }

    /// Ends every process of the server with SIGKILL.
    pub fn crash(&self) -> Result<(), String> {
        self.send("crash")
    }

    /// Makes a named pipe in the folder, and a file that stands there for as long as processes may join. From now on
    /// the server stops when no process has the pipe open for writing.
    pub fn share(&self, pipe: &str, open: &str) -> Result<(), String> {
        self.send(&format!("share {pipe} {open}"))
    }

    fn send(&self, command: &str) -> Result<(), String> {
        let mut pipes = self.pipes.lock().unwrap_or_else(PoisonError::into_inner);
        let (input, output) = pipes.as_mut().ok_or("the server has been stopped")?;
        writeln!(input, "{command}").map_err(text)?;
        let mut answer = String::new();
        output.read_line(&mut answer).map_err(text)?;
        if answer.trim_end() == DONE { Ok(()) } else { Err(format!("{command}: {}", answer.trim_end())) }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.pipes.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        // It fails only if the process has been waited for.
        let _ = self.shell.wait();
    }
}

/// The user and group that the server's files belong to, if that is not the user that runs the tests.
#[derive(Clone, Copy)]
pub struct Owner(Option<(u32, u32)>);

impl Owner {
    pub fn find() -> Result<Self, String> {
        let is_root = rustix::process::geteuid().is_root();
        Ok(Self(if is_root { Some((server_id("-u")?, server_id("-g")?)) } else { None }))
    }

    /// Gives a file or folder to the server's user.
    pub fn take(self, path: &Path) -> Result<(), String> {
        self.0.map_or(Ok(()), |(user, group)| chown(path, Some(user), Some(group)).map_err(text))
    }
}

/// The folder of the server's programs.
pub fn find_programs() -> Result<PathBuf, String> {
    if let Some(folder) = std::env::var_os(PG_BIN).map(PathBuf::from) {
        let reason = format!("{PG_BIN} names {}, where there is no initdb", folder.display());
        return if has_programs(&folder) { Ok(folder) } else { Err(reason) };
    }
    let installed = std::fs::read_dir(VERSIONS_FOLDER).into_iter().flatten().flatten();
    let version = |folder: &PathBuf| folder.file_name()?.to_str()?.parse::<u32>().ok();
    let mut installed: Vec<PathBuf> = installed.map(|entry| entry.path()).collect();
    installed.sort_by_key(|folder| std::cmp::Reverse(version(folder)));
    let installed = installed.into_iter().map(|folder| folder.join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    installed
        .chain(std::env::split_paths(&path))
        .find(|folder| has_programs(folder))
        .ok_or_else(|| format!("no server programs on this machine (set {PG_BIN} to the folder of initdb)"))
}

fn has_programs(folder: &Path) -> bool {
    ["initdb", "postgres", "pg_basebackup"].iter().all(|program| folder.join(program).is_file())
}

/// The number of the server's user or group.
fn server_id(which: &str) -> Result<u32, String> {
    let output = Command::new("id").args([which, SERVER_USER]).output().map_err(text)?;
    let number = String::from_utf8_lossy(&output.stdout).trim().parse();
    number.map_err(|_| format!("it does not run as root, and there is no user {SERVER_USER}"))
}

pub fn text(error: impl fmt::Display) -> String {
    error.to_string()
}
