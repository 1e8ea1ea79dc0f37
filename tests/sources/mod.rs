//! The house as data: every source file of ours, what it defines and what it names.
//!
//! Read from the disk once for each test executable, or from pairs of path and text, so that the
//! tests of the walls plant houses of their own. Paths are relative to the workspace, with `/`.
//!
//! | module | subject |
//! |---|---|
//! | [`file`] | what one file holds |
//! | [`scan`] | reads it: its modules, paths, keywords and definitions, by `syn` |
//! | [`imports`] | what a `use` names and brings |
//! | [`tokens`] | the same of macros and attributes, as far as they look like paths |
//! | [`attributes`] | what only tests have |
//! | [`prose`] | comments, texts and documents |
//! | [`modules`] | the tree of modules of all crates |
//! | [`resolve`] | what a path means: the file of the item that it names, through re-exports |
//! | [`circles`] | which file uses which, and the circles in that |
//! | [`rules`] | the walls: layers, public faces, keywords, unsafe code |
//! | [`allowances`] | what the walls allow, and whether that is used |
//! | [`claims`] | which modules claim to be pure |
#![allow(dead_code, reason = "each test executable uses a part of it")]

pub(crate) mod allowances;
pub(crate) mod attributes;
pub(crate) mod circles;
pub(crate) mod claims;
pub(crate) mod file;
pub(crate) mod imports;
pub(crate) mod modules;
pub(crate) mod prose;
pub(crate) mod resolve;
pub(crate) mod rules;
pub(crate) mod scan;
pub(crate) mod tokens;

use std::{fs, io::Read as _, path::Path};

/// A crate: the name that others import it by, and its first file.
#[derive(Clone, Copy)]
pub(crate) struct Crate {
    pub(crate) name: &'static str,
    pub(crate) root: &'static str,
}

/// Every crate of production code. An executable beside a library is a crate of its own.
pub(crate) const CRATES: &[Crate] = &[
    Crate {
        name: "metronome_proto",
        root: "proto/lib.rs",
    },
    Crate {
        name: "metronome_os",
        root: "os/src/lib.rs",
    },
    Crate {
        name: "metronome_witness",
        root: "witness/src/lib.rs",
    },
    Crate {
        name: "metronome_telemetry",
        root: "telemetry/src/lib.rs",
    },
    Crate {
        name: "metronome_tls",
        root: "tls/src/lib.rs",
    },
    Crate {
        name: "metronome_web",
        root: "web/src/lib.rs",
    },
    Crate {
        name: "metronome_server",
        root: "server/src/lib.rs",
    },
    Crate {
        name: "metronome_server_main",
        root: "server/src/main.rs",
    },
    Crate {
        name: "metronome_agent",
        root: "agent/src/lib.rs",
    },
    Crate {
        name: "metronome_agent_main",
        root: "agent/src/main.rs",
    },
    Crate {
        name: "benchctl",
        root: "ctl/src/main.rs",
    },
];

/// A source file.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// The sources of all [`CRATES`], sorted by path.
pub(crate) fn production() -> Vec<Source> {
    let mut folders = CRATES
        .iter()
        .map(|of| {
            of.root
                .rsplit_once('/')
                .expect("every crate has a folder")
                .0
        })
        .collect::<Vec<_>>();
    folders.dedup();
    below(&folders, "rs")
}

/// The names of all dependencies of the workspace, as code has them.
pub(crate) fn dependencies() -> Vec<String> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    dependencies_of(&fs::read_to_string(manifest).expect("the manifest can be read"))
}

/// The names in the tables of dependencies of a manifest.
pub(crate) fn dependencies_of(manifest: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut is_dependency = false;
    for line in manifest.lines() {
        if let Some(table) = line.strip_prefix('[') {
            is_dependency = table.ends_with("dependencies]");
        } else if is_dependency && !line.starts_with('#') {
            let name = line.split_once([' ', '.', '=']).map(|(name, _)| name);
            names.extend(name.map(|name| name.replace('-', "_")));
        }
    }
    names
}

/// The files below `folders` whose names end in `.extension`, sorted by path. Folders that begin
/// with a dot, `target` and `node_modules` are left out.
pub(crate) fn below(folders: &[&str], extension: &str) -> Vec<Source> {
    let is_meant = |path: &Path| path.extension().is_some_and(|of| of == extension);
    let mut files = Vec::new();
    for folder in folders {
        let below = collect(folder, &is_meant);
        assert!(!below.is_empty(), "{folder} has no .{extension} files");
        files.extend(below);
    }
    files.sort_by(|a: &Source, b| a.path.cmp(&b.path));
    files
}

/// Files with prose, apart from scripts and recipes of images, whose names have no ending.
const PROSE: &[&str] = &["md", "proto", "py", "rs", "toml", "yaml", "yml"];

/// Every file with prose of ours, sorted by path.
pub(crate) fn with_prose() -> Vec<Source> {
    let has_prose = |path: &Path| match path.extension() {
        Some(extension) => PROSE.iter().any(|of| extension == *of),
        None => is_recipe(path) || is_script(path),
    };
    let mut files = [".", ".ci"]
        .map(|folder| collect(folder, &has_prose))
        .into_iter()
        .flatten()
        .collect::<Vec<_>>();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn is_recipe(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "Dockerfile")
}

fn is_script(path: &Path) -> bool {
    let mut first = [0; 2];
    let mut file = fs::File::open(path).expect("the file can be opened");
    file.read_exact(&mut first).is_ok() && first == *b"#!"
}

/// The files below `folder` that are meant, in whatever order.
fn collect(folder: &str, is_meant: &dyn Fn(&Path) -> bool) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    let mut folders = vec![root.join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("the folder can be read") {
            let path = entry.expect("its entries too").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() {
                if !name.starts_with('.') && name != "target" && name != "node_modules" {
                    folders.push(path);
                }
            } else if is_meant(&path) {
                let below = path.strip_prefix(root).expect("it lies below the root");
                files.push(Source {
                    path: below.display().to_string(),
                    text: fs::read_to_string(&path).expect("sources are UTF-8"),
                });
            }
        }
    }
    files
}
