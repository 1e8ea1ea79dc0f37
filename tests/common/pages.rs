//! The pages of the manual and their blocks of commands.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use super::network::Host;

/// A block of commands.
pub(crate) struct Block {
    pub(crate) line: usize,
    /// What stands after `sh` on its first line.
    pub(crate) mark: String,
    pub(crate) text: String,
}

/// What a block adds to its host where the two are far from each other.
const FAR: &str = " path=far";

impl Block {
    /// The host on which it is run, of a page for two, and whether that is far from the other one.
    pub(crate) fn host(&self) -> Option<(Host, bool)> {
        let mark = self.mark.strip_suffix(FAR);
        let host = match mark.unwrap_or(&self.mark) {
            "host=A" => Host::A,
            "host=B" => Host::B,
            _ => return None,
        };
        Some((host, mark.is_some()))
    }
}

/// The blocks of a page for two hosts: those for a far path, or the others.
pub(crate) fn on_two_hosts(blocks: &[Block], far: bool) -> Vec<(Host, String)> {
    let of_path = blocks.iter().filter_map(|block| {
        let (host, is_far) = block.host()?;
        (is_far == far).then(|| (host, block.text.clone()))
    });
    of_path.collect()
}

/// The folder of the project.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All pages.
pub(crate) fn pages() -> Vec<PathBuf> {
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

/// The blocks of a page.
pub(crate) fn blocks(page: &Path) -> Vec<Block> {
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
