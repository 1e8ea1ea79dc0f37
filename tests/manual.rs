//! The manual keeps its word: the commands of README.md and docs/ are run as they stand there.
//!
//! A block that begins with ```` ```sh ```` is run; one that cannot be is marked with what it needs
//! or with who runs it: ```` ```sh needs=a second host ````, ```` ```sh by=.ci/run ````. The blocks
//! of a page are one script, run in a network of its own. A page whose blocks are marked
//! ```` ```sh host=A ```` and ```` ```sh host=B ```` is run on two hosts, which are two networks.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use common::network::{self, Host};

struct Block {
    line: usize,
    /// What stands after `sh` on its first line.
    mark: String,
    text: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn pages() -> Vec<PathBuf> {
    let docs = fs::read_dir(root().join("docs"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut pages: Vec<PathBuf> = docs
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    pages.push(root().join("README.md"));
    pages.sort();
    pages
}

fn blocks(page: &Path) -> Vec<Block> {
    let text = fs::read_to_string(page).unwrap();
    let mut blocks = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((line, first)) = lines.next() {
        let Some(mark) = first
            .strip_prefix("```sh")
            .filter(|rest| rest.is_empty() || rest.starts_with(' '))
        else {
            continue;
        };
        let inside: Vec<&str> = lines
            .by_ref()
            .map(|(_, line)| line)
            .take_while(|line| *line != "```")
            .collect();
        blocks.push(Block {
            line: line + 1,
            mark: mark.trim().to_owned(),
            text: inside.join("\n"),
        });
    }
    blocks
}

impl Block {
    /// The host on which it is run, of a page for two.
    fn host(&self) -> Option<Host> {
        match self.mark.as_str() {
            "host=A" => Some(Host::A),
            "host=B" => Some(Host::B),
            _ => None,
        }
    }
}

/// The commands of a page. `None` where none is run.
fn script(page: &Path) -> Option<String> {
    let blocks = blocks(page);
    let on_hosts = blocks
        .iter()
        .filter_map(|b| Some((b.host()?, b.text.clone())));
    let on_hosts: Vec<_> = on_hosts.collect();
    let plain: Vec<&str> = (blocks.iter().filter(|b| b.mark.is_empty()))
        .map(|b| b.text.as_str())
        .collect();
    match (on_hosts.is_empty(), plain.is_empty()) {
        (true, true) => None,
        (true, false) => Some(network::on_one_host(&plain.join("\n"))),
        (false, true) => Some(network::between_hosts(&on_hosts)),
        (false, false) => panic!("{}: name the host of each block", page.display()),
    }
}

#[test]
fn the_commands_of_the_manual_do_what_they_promise() {
    let mut failures = Vec::new();
    let mut ran = 0;
    for page in pages() {
        let Some(script) = script(&page) else {
            continue;
        };
        match network::missing(&script) {
            // CI installs what is needed and wants no page left out.
            Some(reason) if env::var_os("CI_MANUAL").is_some() => {
                failures.push(format!("{}: {reason}", page.display()));
            }
            Some(reason) => eprintln!("{} is not tested here: {reason}", page.display()),
            None => {
                let failed = network::run(&script).err();
                failures.extend(failed.map(|error| format!("{}: {error}", page.display())));
            }
        }
        ran += 1;
    }
    assert!(
        ran >= 3,
        "the manual has commands in {ran} pages only: has the mark of a block changed?"
    );
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn a_command_that_is_not_run_states_why() {
    for page in pages() {
        for block in blocks(&page) {
            let has_host = block.host().is_some();
            let Block { line, mark, .. } = block;
            let reason = mark
                .strip_prefix("needs=")
                .or_else(|| mark.strip_prefix("by="));
            assert!(
                mark.is_empty() || has_host || reason.is_some_and(|reason| !reason.is_empty()),
                "{}:{line}: {mark:?} is none of needs=…, by=…, host=A, host=B",
                page.display()
            );
        }
    }
}

#[test]
fn what_a_page_links_to_is_there() {
    let mut broken = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for target in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let file = target.split('#').next().unwrap_or_default();
            let is_outside = target.contains("://") || file.is_empty();
            if !is_outside && !page.parent().unwrap().join(file).exists() {
                broken.push(format!("{} links to {target}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
