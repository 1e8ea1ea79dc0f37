//! Code whose names no wall can see, and what claims to be pure.

use super::plant;

#[track_caller]
fn hides(code: &str, count: usize) {
    assert_eq!(
        plant(&[("app/lib.rs", code)]).hidden().len(),
        count,
        "{code}"
    );
}

#[test]
fn an_extern_crate_hides_a_name() {
    hides("extern crate self as me;", 1);
    hides("extern crate tokio as t;", 1);
    hides("extern crate tokio;", 1);
    hides(
        "mod inner { fn f() { extern crate tokio as t; t::spawn(); } }",
        1,
    );
    hides("macro_rules! m { () => { extern crate tokio as t; } }", 1);
    hides("#[cfg(test)] extern crate proptest;", 0);
    hides("#[cfg(test)] mod tests { extern crate proptest; }", 0);
    hides(r#"extern "C" { fn f(); } extern "C" fn g() {}"#, 0);
}

#[test]
fn a_path_with_a_variable_of_a_macro_hides_a_name() {
    hides("macro_rules! m { ($p:ident) => { crate::$p::f() }; }", 1);
    hides("macro_rules! m { ($p:ident) => { $crate::$p::f() }; }", 1);
    hides("macro_rules! m { ($p:ident) => { ::$p::f() }; }", 1);
    hides("macro_rules! m { ($p:ident) => { $p::f() }; }", 1);
    hides(
        "macro_rules! m { ($($p:ident),*) => { crate::$($p)::*::f() }; }",
        1,
    );
    hides(
        "macro_rules! m { () => { use crate::{master::X, b}; }; }",
        1,
    );
    hides(
        "macro_rules! m { ($a:expr, $t:ty) => { f($a, <$t>::new(), $crate::b::f) }; }",
        0,
    );
}

#[test]
fn an_included_file_is_not_read() {
    hides(r#"include!("other.rs");"#, 1);
    hides(r#"const N: u8 = std::include!("n");"#, 1);
    hides(r#"fn f() { vec![include!("n"), core::include!("m")]; }"#, 2);
    hides("use std::include as other;", 1);
    hides(
        r#"const N: &str = include_str!("n"); fn f() { include(); }"#,
        0,
    );
    hides(r#"#[cfg(test)] mod tests { include!("n"); }"#, 0);
}

#[test]
fn a_head_or_a_table_claims_that_a_module_is_pure() {
    let house = plant(&[
        (
            "app/lib.rs",
            "//! All are pure.\n//! | [`a`] | a; pure |\n//! | `b::B` | (pure) |\nmod a; mod b;",
        ),
        (
            "app/a.rs",
            "//! A. Pure.\n//! | x | pure |\n/// Pure.\nfn f() {}",
        ),
        (
            "app/b.rs",
            "//! What is read\n//! is pure: no clock.\nmod c;",
        ),
        ("app/b/c.rs", "//! Purely a name.\n// Pure."),
    ]);
    let claims = house.claimed_pure();
    let expected = [
        ("app::a", "app/lib.rs"),
        ("app::b", "app/lib.rs"),
        ("app::a", "app/a.rs"),
        ("app::b", "app/b.rs"),
    ];
    let expected = expected.map(|(module, file)| (module.to_owned(), file));
    assert_eq!(claims, expected);
}
