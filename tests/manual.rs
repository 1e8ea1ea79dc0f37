//! The manual keeps its word: the commands of README.md and docs/ are run as they stand there.
//!
//! A block that begins with ```` ```sh ```` is run; one that cannot be is marked with what it needs
//! or with who runs it: ```` ```sh needs=a second host ````, ```` ```sh by=.ci/run ````. The blocks
//! of a page are one script, run in a network of its own. A page whose blocks are marked
//! ```` ```sh host=A ```` and ```` ```sh host=B ```` is run on two hosts, which are two networks.
//! What is marked ```` ```sh host=A path=far ```` needs two that are far from each other:
//! `two_hosts.rs` runs it, and reads its results.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::{env, fs, path::Path};

use common::{
    network,
    pages::{self, Block, blocks, pages},
};

/// The commands of a page. `None` where none is run.
fn script(page: &Path) -> Option<String> {
    let blocks = blocks(page);
    let on_hosts = pages::on_two_hosts(&blocks, false);
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
                "{}:{line}: {mark:?} is none of needs=…, by=…, host=A, host=B (path=far)",
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
