//! The checks on houses made for them: what they are to find, and what they are to leave alone.

use super::house::House;
use std::path::PathBuf;

const ROOT: &str = "//! Ground floor first: [`low`], [`high`].\n//!\n//! [`not_listed`]\npub mod high; pub mod low;";

fn house(low: &str, high: &str, others: &[(&str, &str)]) -> House {
    let files = [("lib.rs", ROOT), ("low/mod.rs", low), ("high.rs", high)];
    let files = files.iter().chain(others).map(|(path, text)| (PathBuf::from("src").join(path), text.to_string()));
    House::read(&files.collect::<Vec<_>>()).unwrap()
}

#[track_caller]
fn climbs(low: &str, lines: &[&str]) {
    let expected: Vec<_> = lines.iter().map(|line| format!("src/low/mod.rs:{line}: low comes before high")).collect();
    assert_eq!(house(low, "", &[]).climbing_imports(), expected, "{low}");
}

#[test]
fn every_form_of_a_climbing_path_is_found() {
    climbs("use crate::high::A;", &["1: crate::high::A"]);
    climbs("use crate::{low::B,\n high::{self, A as C}};", &["1: crate::high", "1: crate::high::A"]);
    climbs(
        "fn f() {\n let a: Vec<crate::high::A> = crate::high::f::<u8>(); }",
        &["2: crate::high::A", "2: crate::high::f"],
    );
    climbs("use super::high;\nfn f() { high::g() }", &["1: super::high", "2: high::g"]);
    climbs("pub use crate::high::A;\nfn f(a: A::B) {}", &["2: A::B"]);
    climbs("mod inner {\n fn f() { super::super::high::g!() } }", &["2: super::super::high::g"]);
    climbs("macro_rules! m { () => { $crate::high::g() } }", &["1: crate::high::g"]);
    climbs("#[derive(crate::high::D)] struct S;", &[]);
}

#[test]
fn tests_comments_visibility_and_other_crates_climb_nowhere() {
    climbs("//! [`crate::high`]\npub(in crate::high) fn f() { \"crate::high::A\"; }", &[]);
    climbs("use high::A; use ::high::B; fn f() { std::high::g() }", &[]);
    climbs("#[cfg(test)] use crate::high::{A, B};\n#[cfg(test)] mod tests { use crate::high; }", &[]);
    climbs("#[cfg(all(test, unix))] fn f<A, B>(a: A) { crate::high::g() }", &[]);
    climbs("struct S { #[cfg(test)] a: crate::high::A, b: crate::high::B }", &["1: crate::high::B"]);
    climbs("fn f() { #[cfg(test)] if crate::high::g() { return }\ncrate::high::h() }", &["2: crate::high::h"]);
    climbs("#[cfg(not(test))] use crate::high::A;", &["1: crate::high::A"]);
}

#[track_caller]
fn circles(low: &str, files: &[(&str, &str)]) -> Vec<String> {
    house(low, "", files).circles().into_iter().map(|circle| circle.text).collect()
}

#[test]
fn a_circle_through_three_files_is_told_once_with_its_imports() {
    let files =
        [("low/a.rs", "use super::b::B;"), ("low/b.rs", "\nuse crate::low::c;"), ("low/c.rs", "use super::a::A;")];
    let told = circles("mod a; mod b; mod c;", &files);
    assert_eq!(
        told,
        ["low\n  src/low/a.rs:1: super::b::B\n  src/low/b.rs:2: crate::low::c\n  src/low/c.rs:1: super::a::A"]
    );
}

#[test]
fn a_re_export_leads_to_where_the_item_is_declared() {
    let files = [("low/a.rs", "pub struct A;"), ("low/b.rs", "use super::A; use super::C;")];
    let none: [&str; 0] = [];
    assert_eq!(circles("mod a; mod b; pub use a::A; pub use b::B; pub use bytes::C;", &files), none);
    assert_eq!(
        circles("mod a; mod b; pub use a::*; fn f() { b::g() }", &[files[0], ("low/b.rs", "use super::A;")]),
        none
    );
    let called = circles(
        "mod a; mod b; pub use a::A; pub struct D; fn f() { b::g() }",
        &[files[0], ("low/b.rs", "use super::D;")],
    );
    assert_eq!(called, ["low\n  src/low/mod.rs:1: b::g\n  src/low/b.rs:1: super::D"]);
}

#[test]
fn a_module_missing_from_the_list_is_a_fault() {
    let root = "//! Ground floor first: [`low`].\npub mod low; mod high;";
    let files = [("src/lib.rs", root), ("src/low.rs", ""), ("src/high/mod.rs", "")];
    let files = files.map(|(path, text)| (PathBuf::from(path), text.to_owned()));
    assert!(House::read(&files).is_err_and(|fault| fault.contains("high")));
}
