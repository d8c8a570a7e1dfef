//! `docs/promises.md` names tests that exist.

use std::path::Path;

#[test]
fn each_promise_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rows = include_str!("../../docs/promises.md").lines().filter(|line| line.starts_with("| ")).skip(1);
    let mut count = 0;
    for row in rows {
        // `FILE: `test`, `test`; FILE: `test``
        let tests = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        for of_file in tests.split("; ") {
            // A file alone stands for all that is in it.
            let (file, names) = of_file.split_once(": ").unwrap_or((of_file, ""));
            let text =
                std::fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}: {row}"));
            for name in names.split('`').skip(1).step_by(2) {
                count += 1;
                let test = name.rsplit("::").next().unwrap();
                let is_there = [format!("fn {test}("), format!("def {test}(")].iter().any(|form| text.contains(form));
                assert!(is_there, "{file} has no test {test}: {row}");
            }
        }
    }
    assert!(count > 10, "the table is read");
}
