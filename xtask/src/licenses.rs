//! The notices of others whose work is in the program, which it prints with `--licenses`.
//!
//! They come from the sources of every crate that the server is built from, as cargo has unpacked them. Of a crate under
//! one of several licences the MIT licence is taken, if it is one of them.

use anyhow::{Context, bail};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

const NOTICES: &str = "packaging/third-party.txt";
const SERVER: &str = "callscope-server";
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// Beginnings of the names of files with licences and notices, in capitals.
const FILES: [&str; 5] = ["LICENSE", "LICENCE", "COPYING", "NOTICE", "UNLICENSE"];

/// Libraries of C that crates bring along: the crate, and the file or folder in it.
const BUNDLED: [(&str, &str); 3] =
    [("zstd-sys", "zstd/LICENSE"), ("tikv-jemalloc-sys", "jemalloc/COPYING"), ("ring", "third_party/fiat/LICENSE")];

/// What no crate has a file for.
const OTHERS: &str = "\
SQLite (libsqlite3-sys)
The author disclaims copyright to this source code. In place of a legal notice, here is a blessing: May you do good and
not evil. May you find forgiveness for yourself and forgive others. May you share freely, never taking more than you give.

Swagger UI (utoipa-swagger-ui-vendored), Apache-2.0
swagger-ui
Copyright 2020-2021 SmartBear Software Inc.
";

/// Writes the notices, or fails if they are not what would be written.
pub fn run(check: bool) -> anyhow::Result<()> {
    let notices = notices()?;
    if !check {
        std::fs::write(NOTICES, notices)?;
        println!("wrote {NOTICES}");
        return Ok(());
    }
    if std::fs::read_to_string(NOTICES).unwrap_or_default() != notices {
        bail!("{NOTICES} is out of date: run `cargo xtask licenses`");
    }
    println!("{NOTICES} is up to date");
    Ok(())
}

/// A crate of others.
struct Package {
    name: String,
    version: String,
    license: String,
    authors: String,
    folder: PathBuf,
}

fn notices() -> anyhow::Result<String> {
    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut without = BTreeSet::new();
    for package in packages()? {
        let title = format!("{} {} ({})", package.name, package.version, package.license);
        let files = package.files()?;
        if files.is_empty() {
            without.insert(format!("{title}, by {}", package.authors));
        }
        for file in files {
            let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
            texts.entry(normalized(&text)).or_default().insert(title.clone());
        }
    }
    let mut notices = "callscope contains the work of others, under these licences.\n".to_owned();
    let rule = "-".repeat(80);
    let mut sections: Vec<(BTreeSet<String>, String)> = texts.into_iter().map(|(text, users)| (users, text)).collect();
    sections.sort();
    for (users, text) in sections {
        let users: Vec<String> = users.into_iter().collect();
        let _ = write!(notices, "\n{rule}\n{}\n\n{text}\n", users.join("\n"));
    }
    let without: Vec<String> = without.into_iter().collect();
    let _ = write!(notices, "\n{rule}\nWithout a text of their own:\n{}\n\n{rule}\n{OTHERS}", without.join("\n"));
    Ok(notices)
}

/// The same text for files that differ in line ends and blanks alone.
fn normalized(text: &str) -> String {
    let lines: Vec<&str> = text.trim_start_matches('\u{FEFF}').lines().map(str::trim_end).collect();
    lines.join("\n").trim_matches('\n').to_owned()
}

impl Package {
    fn files(&self) -> anyhow::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
            if path.is_file() && FILES.iter().any(|known| name.starts_with(known)) {
                files.push(path);
            }
        }
        files.sort();
        let is_mit = |path: &PathBuf| path.to_string_lossy().to_uppercase().contains("MIT");
        if self.license.contains(" OR ") && self.license.contains("MIT") && files.iter().any(is_mit) {
            files.retain(is_mit);
        }
        let bundled = BUNDLED.iter().filter(|(name, _)| *name == self.name).map(|(_, file)| self.folder.join(file));
        files.extend(bundled.filter(|file| file.is_file()));
        Ok(files)
    }
}

/// Every crate of others that the server is linked from, by name and version.
fn packages() -> anyhow::Result<Vec<Package>> {
    let arguments = ["metadata", "--format-version=1", "--locked", "--filter-platform", PLATFORM];
    let output = Command::new(env!("CARGO")).args(arguments).output()?;
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata gave no JSON")?;
    let by_id = |list: &'static str, of: &'static str| -> HashMap<String, Value> {
        let values = metadata.pointer(list).and_then(Value::as_array).into_iter().flatten();
        values.map(|value| (value[of].as_str().unwrap_or_default().to_owned(), value.clone())).collect()
    };
    let (packages, nodes) = (by_id("/packages", "id"), by_id("/resolve/nodes", "id"));
    let root = packages.iter().find(|(_, package)| package["name"] == SERVER).context("there is no server")?.0;
    let (mut reached, mut open) = (BTreeSet::new(), vec![root.clone()]);
    while let Some(id) = open.pop() {
        let linked = nodes[&id]["deps"].as_array().into_iter().flatten().filter(|dependency| {
            dependency["dep_kinds"].as_array().into_iter().flatten().any(|kind| kind["kind"].is_null())
        });
        let linked: Vec<String> =
            linked.filter_map(|dependency| Some(dependency["pkg"].as_str()?.to_owned())).collect();
        if reached.insert(id) {
            open.extend(linked);
        }
    }
    let text = |package: &Value, field: &str| package[field].as_str().unwrap_or_default().to_owned();
    let of_others = reached.iter().map(|id| &packages[id]).filter(|package| !package["source"].is_null());
    let mut found: Vec<Package> = of_others
        .map(|package| {
            let authors = package["authors"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let manifest = text(package, "manifest_path");
            Package {
                name: text(package, "name"),
                version: text(package, "version"),
                license: text(package, "license"),
                authors: authors.collect::<Vec<_>>().join(", "),
                folder: Path::new(&manifest).parent().map(Path::to_path_buf).unwrap_or_default(),
            }
        })
        .collect();
    found.sort_by(|left, right| (&left.name, &left.version).cmp(&(&right.name, &right.version)));
    Ok(found)
}
