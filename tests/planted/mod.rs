//! Tests of the walls: houses planted in memory, in which each wall fails where it should and
//! keeps silent where it should.

mod allowances;
mod circles;
mod hidden;
mod walls;

use crate::sources::{Crate, Source, modules::House};

/// A crate `app` with the files of `app/`, and a crate `other` if there is one.
fn plant(files: &[(&str, &str)]) -> House {
    let crates = [
        Crate {
            name: "app",
            root: "app/lib.rs",
        },
        Crate {
            name: "other",
            root: "other/lib.rs",
        },
    ];
    let is_there = |of: &&Crate| files.iter().any(|(path, _)| *path == of.root);
    let crates = crates.iter().filter(is_there).copied().collect::<Vec<_>>();
    let source = |(path, text): &(&str, &str)| Source {
        path: (*path).to_owned(),
        text: (*text).to_owned(),
    };
    House::read(&crates, &files.iter().map(source).collect::<Vec<_>>())
}
