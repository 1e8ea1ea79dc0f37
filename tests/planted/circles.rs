//! Circles, and what only looks like one.

use super::plant;

/// The circles of a crate `app` whose first file declares `a`, `b` and `c`.
fn circles(files: &[(&str, &str)]) -> Vec<Vec<String>> {
    let mut all = vec![("app/lib.rs", "mod a; mod b; mod c;")];
    for path in ["app/a.rs", "app/b.rs", "app/c.rs"] {
        let folder = path.replace(".rs", "/mod.rs");
        if !files
            .iter()
            .any(|(planted, _)| *planted == path || *planted == folder)
        {
            all.push((path, ""));
        }
    }
    all.extend(files);
    plant(&all)
        .circles()
        .into_iter()
        .map(|circle| circle.members)
        .collect()
}

#[track_caller]
fn is_circle(files: &[(&str, &str)], expected: &[&str]) {
    assert_eq!(circles(files), [expected]);
}

#[track_caller]
fn is_none(files: &[(&str, &str)]) {
    assert_eq!(circles(files), Vec::<Vec<String>>::new());
}

/// `a` uses `B` of `b` with `code`, and `b` uses `A` of `a`.
#[track_caller]
fn ties(code: &str) {
    let a = format!("pub struct A; {code}");
    let b = "pub struct B; pub const N: u8 = 0; pub fn f(_: crate::a::A) {}";
    is_circle(
        &[("app/a.rs", &a), ("app/b.rs", b)],
        &["app/a.rs", "app/b.rs"],
    );
}

#[test]
fn two_files_that_import_each_other_are_a_circle() {
    ties("use crate::b::B;");
    ties("use super::b::{self, B as Other};");
    ties("use crate::{b::{N, B}, c};");
    ties("use crate::b::*;");
    ties("pub use crate::b::B;");
}

#[test]
fn a_full_path_ties_like_an_import() {
    ties("fn g() -> u8 { crate::b::N }");
    ties("fn g(_: &[super::b::B]) {}");
    ties("impl super::b::B { fn g() {} }");
    ties("fn g(n: u8) { match n { crate::b::N => {} _ => {} } }");
    ties("fn g<T: Into<crate::b::B>>(_: T) {}");
    ties("const G: u8 = <crate::b::B as Default>::default();");
}

#[test]
fn a_path_through_an_imported_module_ties() {
    ties("use crate::b; fn g() -> u8 { b::N }");
    ties("use crate::b as other; fn g() -> u8 { other::N }");
    ties("use crate as root; fn g() -> u8 { root::b::N }");
    ties("fn g() -> u8 { use crate::b as other; other::N }");
}

#[test]
fn a_path_in_a_macro_or_an_attribute_ties() {
    ties(r#"fn g() { println!("{}", crate::b::N); }"#);
    ties("fn g() -> Vec<u8> { vec![1, { super::b::f(A); 2 }] }");
    ties("fn g() { tracing::info!(n = %crate::b::N); }");
    ties(r#"#[derive(Serialize)] struct S { #[serde(with = "crate::b::f")] n: u8 }"#);
    ties("#[derive(Parser)] struct S { #[arg(value_parser = crate::b::f)] n: u8 }");
    ties("use crate::b; fn g() { assert_eq!(1..b::N, 1..2); }");
    ties("macro_rules! n { () => { $crate::b::N }; }");
}

#[test]
fn a_circle_of_three_is_found_through_a_re_export() {
    is_circle(
        &[
            ("app/a.rs", "pub struct A; use crate::b::Thing;"),
            ("app/b/mod.rs", "mod inner; pub use inner::Thing;"),
            ("app/b/inner.rs", "pub struct Thing; use crate::c::C;"),
            ("app/c.rs", "pub struct C; use crate::a::A;"),
        ],
        &["app/a.rs", "app/b/inner.rs", "app/c.rs"],
    );
}

#[test]
fn chains_of_re_exports_lead_to_the_file_of_the_item() {
    is_circle(
        &[
            ("app/a.rs", "pub struct A; fn g(_: super::c::Last) {}"),
            ("app/b/mod.rs", "mod inner; pub use inner::*;"),
            (
                "app/b/inner.rs",
                "pub struct Thing; fn g(_: crate::a::A) {}",
            ),
            (
                "app/c.rs",
                "pub use self::again::C as Last; mod again { pub use crate::b::Thing as C; }",
            ),
        ],
        &["app/a.rs", "app/b/inner.rs"],
    );
}

#[test]
fn a_child_that_uses_what_its_parent_defines_ties() {
    is_circle(
        &[
            (
                "app/b/mod.rs",
                "mod inner; pub struct B; pub use inner::Thing;",
            ),
            ("app/b/inner.rs", "pub struct Thing; impl super::B {}"),
        ],
        &["app/b/inner.rs", "app/b/mod.rs"],
    );
    is_none(&[
        ("app/b/mod.rs", "mod inner; pub struct B;"),
        ("app/b/inner.rs", "impl super::B {}"),
    ]);
}

#[test]
fn a_name_that_is_a_module_and_a_function_is_both() {
    let a = "pub fn of() {} pub mod of {} use crate::b::of as g; fn h() { g(); }";
    let b = "mod of; pub use of::of; fn g() { crate::a::of(); }";
    let of = "pub fn of() { crate::a::of(); }";
    is_circle(
        &[("app/a.rs", a), ("app/b/mod.rs", b), ("app/b/of.rs", of)],
        &["app/a.rs", "app/b/of.rs"],
    );
}

#[test]
fn a_module_may_lie_in_another_file() {
    let b = r#"pub struct B; #[path = "elsewhere/file.rs"] mod inner; pub use inner::Thing;"#;
    is_circle(
        &[
            ("app/b.rs", b),
            ("app/elsewhere/file.rs", "pub struct Thing(super::B);"),
        ],
        &["app/b.rs", "app/elsewhere/file.rs"],
    );
}

#[test]
fn a_comment_and_a_text_tie_nothing() {
    let a = r#"
        //! See [`crate::b::B`].
        /// As `crate::b::B` does; [B](crate::b::B).
        pub struct A; // crate::b::N
        const TEXT: &str = "crate::b::N";
        fn g() { println!("crate::b::N {{crate::b::N}}"); }
    "#;
    is_none(&[
        ("app/a.rs", a),
        ("app/b.rs", "pub struct B; fn f(_: crate::a::A) {}"),
    ]);
}

#[test]
fn what_only_tests_have_ties_nothing() {
    for a in [
        "pub struct A; #[cfg(test)] use crate::b::B;",
        "pub struct A; #[cfg(all(test, unix))] use crate::b::B;",
        "pub struct A; #[cfg(test)] mod tests { use crate::b::*; fn g(_: B) {} }",
        "pub struct A; #[test] fn g() { crate::b::N; }",
        "pub struct A; impl A { #[cfg(test)] fn g() { crate::b::N; } }",
        "pub struct A { #[cfg(test)] n: crate::b::B }",
        "pub struct A; fn g() { #[cfg(test)] let n = crate::b::N; }",
    ] {
        is_none(&[
            ("app/a.rs", a),
            ("app/b.rs", "pub struct B; fn f(_: crate::a::A) {}"),
        ]);
    }
    is_none(&[
        ("app/a.rs", "pub struct A; #[cfg(test)] mod samples;"),
        ("app/a/samples.rs", "use crate::b::B;"),
        ("app/b.rs", "pub struct B; fn f(_: crate::a::A) {}"),
    ]);
    ties("#[cfg(any(test, unix))] use crate::b::B;");
    ties("#[cfg(not(test))] use crate::b::B;");
}

#[test]
fn a_use_of_a_sibling_is_no_circle() {
    is_none(&[
        ("app/a.rs", "pub struct A; use crate::b::B;"),
        ("app/b.rs", "pub struct B; use super::c::C;"),
        (
            "app/c.rs",
            "pub struct C; use std::a::A; use self::inner::D; mod inner { pub struct D; }",
        ),
    ]);
}

#[test]
fn to_declare_or_to_import_a_module_is_no_use_of_its_file() {
    is_none(&[
        ("app/b/mod.rs", "mod inner; pub use crate::a; pub struct B;"),
        ("app/b/inner.rs", "use super::B; use crate::b;"),
        ("app/a.rs", "use crate::b::B;"),
    ]);
}

#[test]
fn a_circle_shows_the_names_that_tie_it() {
    let house = plant(&[
        ("app/lib.rs", "mod a; mod b;"),
        (
            "app/a.rs",
            "pub struct A;\nuse crate::b::B;\nfn g() { B::new(); crate::b::f(); }",
        ),
        ("app/b.rs", "pub struct B;\npub fn f() { crate::a::A; }"),
    ]);
    let shown = house.circles()[0].to_string();
    let expected = "2 files use each other:\n  app/a.rs -> app/b.rs: B (line 2), f (line 3)\n  \
                    app/b.rs -> app/a.rs: A (line 2)\n";
    assert_eq!(shown, expected);
}

#[test]
fn folders_whose_files_are_no_circle_may_be_one() {
    let house = plant(&[
        ("app/lib.rs", "mod a; mod b;"),
        ("app/a/mod.rs", "pub mod one; pub mod two;"),
        (
            "app/a/one.rs",
            "pub struct One; use crate::b::B; use super::two::Two;",
        ),
        ("app/a/two.rs", "pub struct Two;"),
        ("app/b.rs", "pub struct B; use crate::a::two::Two;"),
    ]);
    assert_eq!(house.circles().len(), 0);
    let circles = house.folder_circles();
    let shown = circles.iter().map(ToString::to_string).collect::<String>();
    let expected = "2 modules use each other:\n  app::a -> app::b: B in app/a/one.rs (line 1)\n  \
                    app::b -> app::a: Two in app/b.rs (line 1)\n";
    assert_eq!(shown, expected);
}

#[test]
fn a_folder_and_what_lies_in_it_are_no_circle_of_folders() {
    let house = plant(&[
        ("app/lib.rs", "mod a; pub struct Root;"),
        ("app/a/mod.rs", "mod one; pub struct A; use one::One;"),
        (
            "app/a/one.rs",
            "pub struct One; use super::A; use crate::Root;",
        ),
    ]);
    assert_eq!(house.folder_circles().len(), 0);
}

#[test]
fn a_file_that_nothing_declares_is_a_stray() {
    let house = plant(&[("app/lib.rs", "mod a;"), ("app/a.rs", ""), ("app/b.rs", "")]);
    assert_eq!(house.strays, ["app/b.rs"]);
}
