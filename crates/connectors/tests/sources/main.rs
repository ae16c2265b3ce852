//! Vectors of signatures, payloads and words, made and checked with the vendors' own packages, against this crate.

mod livekit_upload;
mod mapping;
mod signatures;
mod webhooks;

use serde_json::Value;
use std::path::PathBuf;

fn data(path: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(path);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn json(path: &str) -> Value {
    serde_json::from_slice(&data(path)).expect("test data is JSON")
}

/// The files of a directory, in order of their names.
fn names(directory: &str) -> Vec<String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(directory);
    let entries = std::fs::read_dir(path).expect("the directory is there");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("it can be read").file_name().to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    assert!(!names.is_empty(), "{directory}");
    names
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("{key} is a text in {value}"))
}
