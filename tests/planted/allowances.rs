//! Exceptions that nothing needs, and places that are not there.

use super::plant;
use crate::sources::{
    dependencies_of,
    modules::House,
    rules::{Layers, WALL, Wall},
};

fn house() -> House {
    plant(&[
        ("app/lib.rs", "mod low; mod door; mod high;"),
        (
            "app/low.rs",
            "use std::net::SocketAddr; use crate::high::Data;",
        ),
        (
            "app/door.rs",
            "use std::net::TcpStream; use crate::high::High;",
        ),
        ("app/high.rs", "pub struct High; pub struct Data;"),
    ])
}

/// How many exceptions the house does not need.
fn unused(but: &'static [&'static str], except: &'static [&'static str]) -> usize {
    let wall = Wall {
        of: &["app::low", "app::door"],
        but,
        not: &["std::net", "app::high"],
        except,
        ..WALL
    };
    house().unused(&wall).len()
}

#[test]
fn an_exception_that_nothing_needs_is_a_fault() {
    assert_eq!(
        unused(&["app::door"], &["std::net::SocketAddr", "app::high::Data"]),
        0
    );
    assert_eq!(unused(&["app::door"], &["std::net::Ipv4Addr"]), 1);
    // Only what is free names it.
    assert_eq!(unused(&["app::door"], &["app::high::High"]), 1);
    // It is not forbidden.
    assert_eq!(unused(&["app::door"], &["std::io"]), 1);
    // It is not bound.
    assert_eq!(unused(&["app::door", "app::high"], &[]), 1);
    // It breaks nothing.
    let excepts = &["std::net::SocketAddr", "app::high::Data"];
    assert_eq!(unused(&["app::door", "app::low"], excepts), 3);
}

#[test]
fn a_module_that_may_be_used_and_is_not_is_a_fault() {
    let unused = |may_use| {
        let layers = [("high", &[][..]), ("low", may_use), ("door", &["high"][..])];
        let layers = Layers {
            within: "app",
            modules: Box::leak(Box::new(layers)),
        };
        house().unused_layers(&layers)
    };
    assert_eq!(unused(&["high"]), Vec::<String>::new());
    let expected = "app::low does not use app::door: take it out";
    assert_eq!(unused(&["door", "high"]), [expected]);
}

#[test]
fn a_foreign_place_lies_in_the_standard_library_or_in_a_dependency() {
    let manifest = "[package]\nname = \"x\"\n[dev-dependencies]\na-crate.workspace = true\n\n# b\n\
                    [workspace.dependencies]\nc = \"1\"\n[profile]\nd = 1\n";
    let dependencies = dependencies_of(manifest);
    assert_eq!(dependencies, ["a_crate", "c"]);
    for place in [
        "std::net",
        "a_crate::x::Y",
        "c",
        "app::low",
        "app::high::High",
    ] {
        assert!(house().is_there(place, &dependencies), "{place}");
    }
    for place in ["std_", "a", "name", "d", "app::nothing"] {
        assert!(!house().is_there(place, &dependencies), "{place}");
    }
}
