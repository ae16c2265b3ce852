//! The files of an SQLite database: which users of the machine may read them.
//!
//! A database holds the error messages and key hashes of all tenants, so what is created here is the owner's alone,
//! whatever the umask. SQLite gives the write-ahead log and its index the mode of the database file.

use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// The permissions of users that are neither the owner nor in the group.
const OTHERS: u32 = 0o007;
/// What SQLite appends to the name of the database for the files beside it.
const SUFFIXES: [&str; 3] = ["", "-wal", "-shm"];

/// Creates the folder that a file is to be in, with the ones above it that are missing.
pub fn create_folder(file: &Path) -> Result<(), (PathBuf, io::Error)> {
    let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
    let created = DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder);
    created.map_err(|error| (folder.to_owned(), error))
}

/// Creates an empty database file, or takes the permissions of other users away from one that exists; those of its
/// group are the administrator's choice. Where that fails, SQLite says why the file cannot be used, if it cannot.
pub fn create_or_close_to_others(file: &Path) {
    let created = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(file);
    match created {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            for suffix in SUFFIXES {
                let mut name = file.as_os_str().to_owned();
                name.push(suffix);
                close_to_others(Path::new(&name));
            }
        }
        Err(error) => {
            tracing::debug!(error = &error as &dyn std::error::Error, "the database file is not created here");
        }
    }
}

fn close_to_others(file: &Path) {
    let Ok(metadata) = file.metadata() else { return };
    let mode = metadata.permissions().mode();
    if mode & OTHERS == 0 {
        return;
    }
    match std::fs::set_permissions(file, Permissions::from_mode(mode & !OTHERS)) {
        Ok(()) => tracing::info!(file = %file.display(), "took the permissions of other users away from the database"),
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, file = %file.display(), "every user of this machine can open the database");
        }
    }
}
