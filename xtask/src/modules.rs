//! The direction of imports inside the crates: no module imports a sibling that imports it back, directly or by way of
//! other siblings.
//!
//! Sources are read as words: that is enough for paths that start with `crate` or `super`, for the `use` of children, and
//! for what a root exports. A module and its parent may import one another, because the parent is the children's scope.
//! Unit tests are left out.

use anyhow::{bail, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A module's path below the root of its crate; empty for the root itself.
type Module = Vec<String>;

/// The modules of one crate, with the words of their sources.
type Sources = BTreeMap<Module, Vec<String>>;

type Imports = BTreeMap<Module, BTreeSet<Module>>;

/// Fails when modules of a crate import one another in a circle.
pub fn check() -> anyhow::Result<()> {
    let mut crates: Vec<PathBuf> =
        std::fs::read_dir("crates")?.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<_>>()?;
    crates.push("xtask".into());
    crates.sort();
    let mut faults = Vec::new();
    for folder in crates {
        let mut sources = Sources::new();
        read(&folder.join("src"), &[], &mut sources)?;
        ensure!(sources.len() > 1, "{} has no modules", folder.display());
        for circle in circles(&sources) {
            let names: Vec<String> = circle.iter().map(|module| module.join("::")).collect();
            faults.push(format!("{}: {}", folder.display(), names.join(" -> ")));
        }
    }
    if !faults.is_empty() {
        bail!("modules import one another in circles:\n{}", faults.join("\n"));
    }
    println!("imports point one way");
    Ok(())
}

fn read(folder: &Path, parent: &[String], sources: &mut Sources) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let child = || [parent, std::slice::from_ref(&stem)].concat();
        if path.is_dir() {
            read(&path, &child(), sources)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let is_own = matches!(stem.as_str(), "lib" | "main" | "mod");
            let module = if is_own { parent.to_vec() } else { child() };
            sources.insert(module, words(&std::fs::read_to_string(&path)?));
        }
    }
    Ok(())
}

/// Identifiers, `::`, and every other sign by itself; without comments, and up to the unit tests.
fn words(source: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for line in source.lines().take_while(|line| *line != "#[cfg(test)]") {
        let mut rest = line.split("//").next().unwrap_or_default();
        while let Some(first) = rest.chars().next() {
            let length = match rest.find(|sign: char| !sign.is_alphanumeric() && sign != '_') {
                Some(0) if rest.starts_with("::") => 2,
                Some(0) => first.len_utf8(),
                Some(length) => length,
                None => rest.len(),
            };
            if !first.is_whitespace() {
                words.push(rest[..length].to_owned());
            }
            rest = &rest[length..];
        }
    }
    words
}

/// One circle for each module whose import closes one.
fn circles(sources: &Sources) -> Vec<Vec<Module>> {
    let mut imports = Imports::new();
    for (module, words) in sources {
        for target in imported(sources, module, words) {
            // As siblings: the two modules' ancestors just below the last one that they share.
            let shared = module.iter().zip(&target).take_while(|(one, other)| one == other).count();
            if shared < module.len() && shared < target.len() {
                imports.entry(module[..=shared].to_vec()).or_default().insert(target[..=shared].to_vec());
            }
        }
    }
    let mut circles = Vec::new();
    let mut done = BTreeSet::new();
    for start in imports.keys() {
        follow(&imports, &mut vec![start.clone()], &mut done, &mut circles);
    }
    circles
}

/// Walks on from the last module of a path, depth first.
fn follow(imports: &Imports, path: &mut Vec<Module>, done: &mut BTreeSet<Module>, circles: &mut Vec<Vec<Module>>) {
    let Some(last) = path.last().cloned() else { return };
    if done.contains(&last) {
        return;
    }
    for next in imports.get(&last).into_iter().flatten() {
        if let Some(start) = path.iter().position(|module| module == next) {
            circles.push([&path[start..], std::slice::from_ref(next)].concat());
        } else {
            path.push(next.clone());
            follow(imports, path, done, circles);
            path.pop();
        }
    }
    done.insert(last);
}

/// The modules that the paths in a source lead to.
fn imported(sources: &Sources, module: &[String], words: &[String]) -> BTreeSet<Module> {
    let mut found = BTreeSet::new();
    for (index, word) in words.iter().enumerate() {
        let is_path = words.get(index + 1).is_some_and(|next| next == "::");
        let is_start = index == 0 || words[index - 1] != "::";
        let (base, from) = match word.as_str() {
            "crate" if is_path && is_start => (&[][..], index + 2),
            "super" if is_path && is_start => (parent(module), index + 2),
            "use" => (module, index + 1),
            _ => continue,
        };
        let mut paths = Vec::new();
        read_paths(words, from, base.to_vec(), &mut paths);
        found.extend(paths.iter().map(|path| owner(sources, path)));
    }
    found
}

/// Reads a tree of paths such as `a::{b, c::d as e}`; gives the index after it.
fn read_paths(words: &[String], mut index: usize, mut path: Module, paths: &mut Vec<Module>) -> usize {
    while let Some(word) = words.get(index) {
        match word.as_str() {
            "{" => {
                index += 1;
                while words.get(index).is_some_and(|word| word != "}") {
                    index = read_paths(words, index, path.clone(), paths).max(index + 1);
                    index += usize::from(words.get(index).is_some_and(|word| word == ","));
                }
                return index + 1;
            }
            "super" => path = parent(&path).to_vec(),
            "self" | "*" => {}
            // Of the crate, or of another one.
            "crate" => path.clear(),
            name => path.push(name.to_owned()),
        }
        index += 1;
        match words.get(index).map(String::as_str) {
            Some("::") => index += 1,
            Some("as") => {
                index += 2;
                break;
            }
            _ => break,
        }
    }
    paths.push(path);
    index
}

/// The module that has what a path names. What the root exports belongs to the module that it comes from.
fn owner(sources: &Sources, path: &[String]) -> Module {
    let depth = (0..=path.len()).rev().find(|&depth| sources.contains_key(&path[..depth])).unwrap_or_default();
    let (Some(root), 0, Some(name)) = (sources.get(&Module::new()), depth, path.first()) else {
        return path[..depth].to_vec();
    };
    let uses = root.iter().enumerate().filter(|(_, word)| *word == "use");
    let mut exported = Vec::new();
    for (index, _) in uses {
        read_paths(root, index + 1, Module::new(), &mut exported);
    }
    exported
        .into_iter()
        .find(|path| path.len() > 1 && path.last() == Some(name))
        .map_or_else(Module::new, |path| owner(sources, &path))
}

fn parent(module: &[String]) -> &[String] {
    module.split_last().map_or(&[], |(_, parent)| parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(sources: &[(&str, &str)]) -> Vec<String> {
        let path = |name: &str| name.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect();
        let sources = sources.iter().map(|(name, text)| (path(name), words(text))).collect();
        circles(&sources)
            .iter()
            .map(|circle| circle.iter().map(|module| module.join("::")).collect::<Vec<_>>().join(" "))
            .collect()
    }

    #[test]
    fn imports_in_a_row_are_no_circle() {
        assert!(found(&[("", "mod a; mod b;"), ("a", "use crate::b::B;"), ("b", "use std::fmt;")]).is_empty());
    }

    #[test]
    fn circles_are_found_in_uses_groups_and_paths() {
        let b = ("b", "fn b() { crate::c::c() }");
        let c = ("c", "use super::{a::A, d};");
        assert_eq!(found(&[("", ""), ("a", "use crate::{d::D, b::{self, B as C}};"), b, c, ("d", "")]), ["a b c a"]);
    }

    #[test]
    fn what_the_root_exports_belongs_to_its_module() {
        let root = ("", "mod a; mod b; pub use b::{B, C};");
        assert_eq!(found(&[root, ("a", "use crate::C;"), ("b", "use crate::a::A;")]), ["a b a"]);
    }

    #[test]
    fn parents_are_the_scope_of_their_children_and_folders_count_as_one() {
        let (a, inner) = (("a", "mod inner; pub use inner::I;"), ("a::inner", "use super::A; use crate::b::B;"));
        assert!(found(&[("", ""), a, inner, ("b", "")]).is_empty());
        assert_eq!(found(&[("", ""), a, inner, ("b", "use crate::a::A;")]), ["a b a"]);
    }

    #[test]
    fn comments_and_unit_tests_do_not_count() {
        let a = ("a", "use crate::b::B; // crate::c");
        assert!(found(&[("", ""), a, ("b", "fn b() {}\n#[cfg(test)]\nuse crate::a::A;")]).is_empty());
    }
}
