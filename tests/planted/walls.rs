//! Forbidden names, public faces, keywords and unsafe code.

use super::plant;
use crate::sources::{
    file::Keyword::{Async, Await},
    rules::{Layers, WALL, Wall},
};

const LOW: Wall = Wall {
    of: &["app::low"],
    but: &["app::low::door"],
    not: &[
        "app::high",
        "other::api",
        "std::net",
        "std::fs::File",
        "std::time::Instant::now",
    ],
    except: &["app::high::data"],
    no_keywords: &[Async, Await],
    no_methods: &["elapsed"],
};

/// What `low` names that it must not.
fn breaches(low: &str) -> Vec<String> {
    let house = plant(&[
        (
            "app/lib.rs",
            "mod low; mod high; mod face; pub use high::High as Renamed;",
        ),
        ("app/low/mod.rs", low),
        ("app/low/door.rs", "use crate::high::High;"),
        ("app/low/inner.rs", ""),
        (
            "app/high/mod.rs",
            "pub mod data; pub struct High; pub use crate::face::Face;",
        ),
        ("app/high/data.rs", "pub struct Data;"),
        (
            "app/face.rs",
            "pub use crate::high::High; pub struct Face; pub use other::Word;",
        ),
        (
            "other/lib.rs",
            "pub mod api { include!(); } pub use api::Word;",
        ),
    ]);
    house
        .breaches(&LOW)
        .into_iter()
        .map(|breach| breach.what)
        .collect()
}

#[track_caller]
fn forbids(code: &str, what: &str) {
    assert_eq!(
        breaches(&format!("mod door; mod inner; {code}")),
        [what],
        "{code}"
    );
}

#[track_caller]
fn allows(code: &str) {
    assert_eq!(
        breaches(&format!("mod door; mod inner; {code}")),
        Vec::<String>::new(),
        "{code}"
    );
}

#[test]
fn a_forbidden_import_is_a_breach() {
    forbids("use crate::high::High;", "app::high::High");
    forbids("use crate::high::High as Other;", "app::high::High");
    forbids("use super::high;", "app::high");
    forbids("use super::high::*;", "app::high");
    forbids("fn f() { use crate::high::High; }", "app::high::High");
    forbids("use std::{io, net::TcpStream};", "std::net::TcpStream");
}

#[test]
fn a_forbidden_path_is_a_breach() {
    forbids("fn f(_: crate::high::High) {}", "app::high::High");
    forbids(
        "fn f() { std::net::TcpListener::bind(); }",
        "std::net::TcpListener::bind",
    );
    forbids(
        r#"fn f() { println!("{}", crate::high::COUNT); }"#,
        "app::high::COUNT",
    );
    forbids(
        "use std::time::Instant; fn f() { Instant::now(); }",
        "std::time::Instant::now",
    );
    forbids(
        "use std::time as t; fn f() { t::Instant::now(); }",
        "std::time::Instant::now",
    );
}

#[test]
fn a_forbidden_type_cannot_be_renamed() {
    forbids("fn f() { <std::fs::File>::open(); }", "std::fs::File");
    forbids(
        "use std::fs::File; type A = File; fn f() { A::open(); }",
        "std::fs::File",
    );
}

#[test]
fn a_wall_binds_and_frees_inline_modules_too() {
    let house = plant(&[("app/lib.rs", "async fn f() {} mod free { async fn f() {} }")]);
    let wall = |of, but| Wall {
        of,
        but,
        no_keywords: &[Async],
        ..WALL
    };
    assert_eq!(house.breaches(&wall(&["app"], &["app::free"])).len(), 1);
    assert_eq!(house.breaches(&wall(&["app::free"], &[])).len(), 1);
}

#[test]
fn what_is_bound_and_the_way_to_what_is_excepted_may_be_named() {
    let planted = |code| {
        plant(&[
            ("app/lib.rs", "mod a;"),
            ("app/a.rs", code),
            ("other/lib.rs", OTHER),
        ])
    };
    const OTHER: &str = "pub mod clock { pub const N: u8 = 0; pub fn now() {} } pub mod pure {}";
    let wall = Wall {
        of: &["app", "other::pure"],
        not: &["other"],
        except: &["other::clock::N"],
        ..WALL
    };
    for (code, breaches) in [
        ("use other::clock::N; use other::pure::Any;", 0),
        ("fn f() -> u8 { other::clock::N }", 0),
        ("use other::clock::{N, now};", 1),
        ("use other::clock;", 1),
        ("use other::clock::*;", 1),
    ] {
        assert_eq!(planted(code).breaches(&wall).len(), breaches, "{code}");
    }
}

#[test]
fn a_re_export_hides_nothing() {
    forbids("use crate::face::High;", "app::high::High");
    forbids("use crate::Renamed;", "app::high::High");
    forbids("use crate::high::Face;", "app::high");
    forbids("use crate::face::Word;", "other::api::Word");
    forbids("fn f(_: other::Word) {}", "other::api::Word");
    forbids("fn f(_: other::api::Whatever) {}", "other::api::Whatever");
}

#[test]
fn async_and_forbidden_methods_are_breaches() {
    forbids("async fn f() {}", "`Async`");
    forbids("fn f() { let f = async || 1; }", "`Async`");
    forbids("fn f() { join!(async { 1 }); }", "`Async`");
    forbids("fn f() { select!(n = x.await => n); }", "`Await`");
    forbids("fn f() { x.elapsed(); }", "`.elapsed()`");
    forbids("fn f() { assert!(x.elapsed() > y); }", "`.elapsed()`");
    forbids("mod here { fn f() { x.elapsed(); } }", "`.elapsed()`");
    forbids("mod here { async fn f() {} }", "`Async`");
}

#[test]
fn what_is_not_forbidden_is_no_breach() {
    allows("use crate::high::data::Data; use crate::face::Face; use std::time::Instant;");
    allows("// use crate::high::High;\n/// crate::high::High\nfn f() {}");
    allows(r#"const N: &str = "crate::high::High async"; fn f() { x.elapsed; }"#);
    allows("#[cfg(test)] mod tests { use crate::high::High; async fn f() { x.await } }");
    allows("fn f(high: u8) -> u8 { high } mod high { pub struct High; } use self::high::High;");
}

/// What the code of `low` and of `high` does that the layers do not allow.
fn layer_faults(low: &str, high: &str) -> Vec<String> {
    let layers = Layers {
        within: "app",
        modules: &[("low", &[]), ("high", &["low::data"])],
    };
    plant(&[
        (
            "app/lib.rs",
            "mod low; mod high; pub use high::High as Renamed;",
        ),
        ("app/low/mod.rs", low),
        ("app/low/data.rs", "pub struct Data; use super::Low;"),
        ("app/high.rs", high),
    ])
    .faults_of(&layers)
}

#[test]
fn layers_are_used_from_above_only() {
    let low = "pub mod data; pub struct Low; use std::fs;";
    let high = "pub struct High; use crate::low::data::Data; fn f(_: super::low::data::Data) {}";
    assert_eq!(layer_faults(low, high), Vec::<String>::new());
    for (of, code) in [
        ("low", "use crate::high::High;"),
        ("low", "use crate::Renamed;"),
        ("low", "mod inner { use crate::high::High; }"),
        ("high", "use crate::low::Low;"),
        ("high", "fn f(_: crate::low::Low) {}"),
    ] {
        let (mut low, mut high) = (low.to_owned(), high.to_owned());
        if of == "low" { &mut low } else { &mut high }.push_str(code);
        assert_eq!(layer_faults(&low, &high).len(), 1, "{code}");
    }
}

#[test]
fn every_module_has_its_layer() {
    let house = plant(&[
        ("app/lib.rs", "mod high; mod third {}"),
        ("app/high.rs", ""),
    ]);
    let layers = Layers {
        within: "app",
        modules: &[("low", &[]), ("high", &[])],
    };
    let expected = [
        "app::low is gone: take it out",
        "app::third has no place among the layers",
    ];
    assert_eq!(house.faults_of(&layers), expected);
}

/// What those outside and inside name of a part `app::part`.
fn trespasses(outside: &str, inside: &str) -> usize {
    let house = plant(&[
        ("app/lib.rs", "mod part; mod outside;"),
        ("app/outside.rs", outside),
        (
            "app/part/mod.rs",
            "pub mod inner; pub use inner::Thing; pub struct Own; pub mod here {}",
        ),
        ("app/part/inner.rs", inside),
    ]);
    house.trespasses(&["app::part"]).len()
}

#[test]
fn a_part_is_entered_by_its_public_face_only() {
    let thing = "pub struct Thing; use crate::part::inner::Thing as Same; use super::Own;";
    for outside in [
        "use crate::part::inner::Thing;",
        "use super::part::inner;",
        "use crate::part::{inner::Thing};",
        "fn f(_: crate::part::inner::Thing) {}",
        "use crate::part; fn f(_: part::inner::Thing) {}",
        "use crate::part::inner::*;",
    ] {
        assert_eq!(trespasses(outside, thing), 1, "{outside}");
    }
    for outside in [
        "use crate::part::Thing;",
        "use crate::part::{self, Own}; fn f(_: part::Thing) {}",
        "use crate::part::here::What;",
        "// crate::part::inner::Thing",
    ] {
        assert_eq!(trespasses(outside, thing), 0, "{outside}");
    }
}

/// Faults of a file of `app` that is the place of unsafe code.
fn faults(code: &str) -> usize {
    plant(&[("app/lib.rs", code)]).unsafe_code("app").len()
}

#[test]
fn unsafe_code_has_its_reason() {
    assert_eq!(faults("fn f() { unsafe { g() } }"), 1);
    assert_eq!(faults("unsafe impl Send for S {}"), 1);
    assert_eq!(faults("unsafe fn f() {}"), 1);
    assert_eq!(faults("fn f() { vec![unsafe { g() }]; }"), 1);
    assert_eq!(
        faults("// SAFETY: it is.\nfn f() { unsafe { g() } }\nunsafe fn h() {}"),
        1
    );
    assert_eq!(
        faults("// SAFETY: it is.\n// SAFETY: it is.\nunsafe fn h() {}"),
        1
    );
    assert_eq!(faults("// SAFETY: it is.\nfn h() {}"), 1);
    assert_eq!(faults("// SAFETY: it is.\nunsafe fn h() {}"), 0);
    assert_eq!(
        faults("#![allow(unsafe_code)]\n/// unsafe { }\nfn f() -> &str { \"unsafe {\" }"),
        0
    );
    assert_eq!(
        faults("#[cfg(test)]\nmod tests {\n// SAFETY: it is.\nunsafe fn h() {}\n}"),
        0
    );
}

#[test]
fn unsafe_code_lies_in_its_place_only() {
    let house = plant(&[("app/lib.rs", "// SAFETY: it is.\nunsafe fn h() {}")]);
    assert_eq!(house.unsafe_code("other").len(), 1);
    assert_eq!(house.unsafe_code("app").len(), 0);
}

#[test]
fn a_place_is_a_module_or_an_item_of_one() {
    let house = plant(&[("app/lib.rs", "mod a { pub fn f() {} }")]);
    for place in ["app", "app::a", "app::a::f", "app::self"] {
        assert!(house.has(place), "{place}");
    }
    assert!(!house.has("app::b"));
}
