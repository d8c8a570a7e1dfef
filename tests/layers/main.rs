//! The house keeps its order: a module of `src/` imports only from those before it in the list of `src/lib.rs`, the files of
//! a module import each other in no circle, and no file is long.
//!
//! Code under `#[cfg(test)]` is exempt from the first two: it is not part of what runs.

mod fixtures;
mod house;
mod source;
mod tokens;

use house::House;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const LONGEST: usize = 500;

/// The modules with files that still import each other in circles. Each goes when its last circle is opened.
const WITH_CIRCLES: &[&str] = &["cli"];

fn files(dirs: &[&str]) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut dirs, mut files): (Vec<_>, _) = (dirs.iter().map(|dir| root.join(dir)).collect(), Vec::new());
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                files.push((path.strip_prefix(root).unwrap().to_owned(), text));
            }
        }
    }
    files
}

fn crate_house() -> House {
    House::read(&files(&["src"])).unwrap_or_else(|fault| panic!("{fault}"))
}

#[test]
fn modules_import_only_from_those_before_them() {
    let climbing = crate_house().climbing_imports();
    assert!(climbing.is_empty(), "the order of src/lib.rs is broken:\n{}", climbing.join("\n"));
}

#[test]
fn the_stand_in_knows_nothing_of_the_daemon() {
    let house = crate_house();
    // `serve` accepts connections and knows nothing of Datadog.
    let ground = ["machine", "types", "serve"];
    let imports: Vec<_> = house.imports_of("fakeintake").filter(|(to, _)| !ground.contains(&to.as_str())).collect();
    assert!(imports.is_empty(), "fakeintake is Datadog's side, written from its documentation alone:\n{imports:#?}");
}

#[test]
fn files_of_a_module_import_each_other_in_no_circle() {
    let circles = crate_house().circles();
    let new: Vec<_> = circles.iter().filter(|circle| !WITH_CIRCLES.contains(&circle.module.as_str())).collect();
    assert!(new.is_empty(), "files import each other in a circle: move what both need to a file of its own\n{}", {
        new.iter().map(|circle| circle.text.as_str()).collect::<Vec<_>>().join("\n")
    });
    let found: BTreeSet<_> = circles.iter().map(|circle| circle.module.as_str()).collect();
    for module in WITH_CIRCLES {
        assert!(
            found.contains(module),
            "{module} has no circle any more: take it off the list in tests/layers/main.rs"
        );
    }
}

#[test]
fn files_are_short() {
    let files = files(&["src", "tests", "benches", "fuzz/src", "fuzz/fuzz_targets"]);
    let long: BTreeSet<_> = files.iter().filter(|(_, text)| text.lines().count() > LONGEST).collect();
    let long: BTreeSet<_> = long.iter().map(|(path, _)| path.to_str().unwrap()).collect();
    assert!(long.is_empty(), "files over {LONGEST} lines: {long:#?}");
}
