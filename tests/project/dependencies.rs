//! What the daemon is built of: licences that may be passed on, one version of each crate, and a reason for each.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Licences that ask for no more than their text to be passed on.
const LICENCES: [&str; 11] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Crates that are there in two versions, for which two others have not agreed yet.
const TWICE: [(&str, &str); 4] = [
    ("base64", "reqwest has 0.23, tokio-postgres 0.22"),
    ("fallible-iterator", "rusqlite has 0.3, tokio-postgres 0.2"),
    ("getrandom", "rand has 0.4, ring 0.2"),
    ("hashbrown", "indexmap has 0.17, governor 0.16"),
];

/// The crates that the daemon consists of or is built with on Linux, without those of its tests.
fn crates() -> Vec<Value> {
    let mut command = Command::new(env!("CARGO"));
    command.args(["metadata", "--format-version", "1", "--locked", "--filter-platform", "x86_64-unknown-linux-gnu"]);
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let nodes: BTreeMap<_, _> = nodes.iter().map(|node| (node["id"].as_str().unwrap(), node)).collect();
    let root = metadata["resolve"]["root"].as_str().unwrap();
    let (mut seen, mut ahead) = (BTreeSet::from([root]), vec![root]);
    while let Some(id) = ahead.pop() {
        for dependency in nodes[id]["deps"].as_array().unwrap() {
            let kinds = dependency["dep_kinds"].as_array().unwrap();
            let id = dependency["pkg"].as_str().unwrap();
            if kinds.iter().any(|kind| kind["kind"] != "dev") && seen.insert(id) {
                ahead.push(id);
            }
        }
    }
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages.filter(|package| seen.contains(package["id"].as_str().unwrap())).cloned().collect()
}

/// Whether an SPDX expression can be met with the licences above.
fn is_allowed(expression: &str) -> bool {
    let expression = expression.trim();
    for (word, all) in [(" OR ", false), (" AND ", true)] {
        let parts = split(expression, word);
        if parts.len() > 1 {
            return if all {
                parts.iter().all(|part| is_allowed(part))
            } else {
                parts.iter().any(|part| is_allowed(part))
            };
        }
    }
    match expression.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
        Some(inner) => is_allowed(inner),
        None => LICENCES.contains(&expression),
    }
}

/// The parts of an expression between occurrences of a word outside parentheses.
fn split<'a>(expression: &'a str, word: &str) -> Vec<&'a str> {
    let (mut parts, mut depth, mut from) = (Vec::new(), 0, 0);
    for (at, character) in expression.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ if depth == 0 && at >= from && expression[at..].starts_with(word) => {
                parts.push(&expression[from..at]);
                from = at + word.len();
            }
            _ => {}
        }
    }
    parts.push(&expression[from..]);
    parts
}

#[test]
fn licences_may_be_passed_on() {
    assert!(is_allowed("(MIT OR GPL-3.0) AND Unicode-3.0") && is_allowed("Apache-2.0 WITH LLVM-exception OR MIT"));
    assert!(!is_allowed("MIT AND GPL-3.0") && !is_allowed("(MPL-2.0)") && !is_allowed(""));
    let refused: Vec<_> = crates()
        .iter()
        // Before SPDX expressions, a slash meant OR.
        .filter(|package| !is_allowed(&package["license"].as_str().unwrap_or_default().replace('/', " OR ")))
        .map(|package| format!("{} {}: {}", package["name"], package["version"], package["license"]))
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

#[test]
fn no_crate_is_built_in_two_versions_unless_listed() {
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in crates() {
        let text = |key: &str| package[key].as_str().unwrap().to_owned();
        versions.entry(text("name")).or_default().insert(text("version"));
    }
    let twice: BTreeMap<_, _> = versions.iter().filter(|(_, versions)| versions.len() > 1).collect();
    let listed: BTreeSet<_> = TWICE.iter().map(|(name, _)| name.to_string()).collect();
    let found: BTreeSet<_> = twice.keys().map(|name| name.to_string()).collect();
    assert_eq!(found, listed, "found (left) and listed (right): {twice:#?}");
}

#[test]
fn every_dependency_has_its_reason() {
    let reasons = include_str!("../../docs/dependencies.md");
    let own = crates().into_iter().find(|package| package["name"] == "dogsled").unwrap();
    let named = own["dependencies"].as_array().unwrap().iter().map(|dependency| dependency["name"].as_str().unwrap());
    let missing: Vec<_> = named.filter(|name| !reasons.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "docs/dependencies.md says nothing of {missing:?}");
}
