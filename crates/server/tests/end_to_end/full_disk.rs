//! The disk is full: records are refused for now, what is there can be read, and when there is room again, all goes
//! on by itself.

use crate::client::{Client, Transport};
use crate::crash::{assert_contains, records};
use crate::fixture::Fixture;
use crate::process::eventually;
use crate::session::runtime;
use crate::world::World;
use callscope_testkit::{Backend, Postgres, ServerOptions};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::Value;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const DISK_BYTES: u32 = 192 << 20;
const BODY_RECORDS: usize = 50;

on_each_backend!(a_full_disk_is_survived_and_costs_nothing_that_was_acknowledged);

fn a_full_disk_is_survived_and_costs_nothing_that_was_acknowledged(backend: Backend) {
    let disk = match SmallDisk::mount() {
        Ok(disk) => disk,
        Err(reason) => return eprintln!("NOT RUN: a full disk on {}: {reason}", backend.name()),
    };
    let (_postgres, fixture) = database_on(&disk, backend);
    let key = fixture.create_tenant("clinic");
    let server = fixture.serve(&[("CALLSCOPE__INGEST__ACTIVE_CALL_TIMEOUT", "0s")]);
    let client = server.client(&key);
    let records = records(&mut StdRng::seed_from_u64(5));
    let mut acknowledged = World::default();
    let mut bodies = records.chunks(BODY_RECORDS).cycle();
    let mut send = |acknowledged: &mut World| send(&client, bodies.next().unwrap(), acknowledged);
    assert!(send(&mut acknowledged));

    let ballast = disk.fill();
    eventually("a refusal", || (!send(&mut acknowledged)).then_some(()));
    for _ in 0..10 {
        send(&mut acknowledged);
    }
    // It can be read, so it is ready for those who read.
    assert_contains(&client, &acknowledged);
    for path in ["/health/live", "/health/ready"] {
        assert_eq!(server.stranger().get(path).status, 200, "{path}");
    }

    std::fs::remove_file(ballast).unwrap();
    eventually("room", || send(&mut acknowledged).then_some(()));
    for body in records.chunks(1000) {
        client.send(body, Transport::NDJSON);
        acknowledged.receive_all(body);
    }
    assert_contains(&client, &acknowledged);
    fixture.assert_rollups_are_equal();
    assert!(!server.log().iter().any(|line| line.contains("panicked")), "{:?}", server.log());
}

/// Whether a body was acknowledged; otherwise it was refused for now.
fn send(client: &Client, body: &[Value], acknowledged: &mut World) -> bool {
    let answer = client.try_send(body, Transport::NDJSON).unwrap();
    if answer.status != 200 {
        answer.assert_is_for_later();
        return false;
    }
    acknowledged.receive_all(body);
    true
}

/// On PostgreSQL only the tables are on the disk: a server whose log finds no room ends, and that is another story.
fn database_on(disk: &SmallDisk, backend: Backend) -> (Option<Postgres>, Fixture) {
    if backend == Backend::Sqlite {
        return (None, Fixture::at(format!("sqlite://{}/calls.db", disk.path().display())));
    }
    let postgres = Postgres::start(&ServerOptions::default()).unwrap();
    let place = disk.path().join("tables");
    std::fs::create_dir(&place).unwrap();
    let url = runtime().block_on(async {
        let data = postgres.query("postgres", "SHOW data_directory").await;
        let data = Path::new(&data[0]).metadata().unwrap();
        chown(&place, Some(data.uid()), Some(data.gid())).unwrap();
        postgres.execute("postgres", &format!("CREATE TABLESPACE small LOCATION '{}'", place.display())).await;
        postgres.execute("postgres", "CREATE DATABASE calls TABLESPACE small").await;
        postgres.url("calls")
    });
    (Some(postgres), Fixture::at(url))
}

/// A file system in memory.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount() -> Result<Self, String> {
        let folder = TempDir::with_prefix("callscope-disk-").unwrap();
        let size = format!("size={DISK_BYTES},mode=0755");
        let command = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "callscope"]).arg(folder.path()).output();
        match command {
            Ok(output) if output.status.success() => Ok(Self(folder)),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or("no mount").to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes all the room that is left, with a file that can be removed.
    fn fill(&self) -> PathBuf {
        let path = self.path().join("ballast");
        let mut file = File::create(&path).unwrap();
        for size in [1 << 16, 1 << 12, 1] {
            let zeros = vec![0; size];
            while file.write_all(&zeros).is_ok() {}
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // What still uses it ends first, or keeps it until then.
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}
