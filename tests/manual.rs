//! The manual keeps its word: the commands of README.md and docs/ are run as they stand there.
//!
//! A block that begins with ```` ```sh ```` is run; one that cannot be is marked with what it needs
//! or with who runs it: ```` ```sh needs=a second host ````, ```` ```sh by=.ci/run ````. The blocks
//! of a page are one script, run in a network of its own, so that default ports are free, and with
//! a home of its own. When it ends, all that it started ends.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// What a page may use beyond our own executables and the usual tools of a system.
const TOOLS: [&str; 6] = ["unshare", "ip", "jq", "openssl", "nc", "sqlite3"];

/// A busy machine may send late (4) or read late (99), and may not be fit to measure (doctor: 1):
/// no fault of the manual.
const PRELUDE: &str = r#"
set -eu
ip link set lo up
benchctl() {
    local code=0
    command benchctl "$@" || code=$?
    case "$code $1" in 0\ * | 4\ * | 99\ * | "1 doctor") ;; *) return "$code" ;; esac
}
metronome-agent() {
    local code=0
    command metronome-agent "$@" || code=$?
    [ "$code" = 0 ] || [ "$code" = 4 ]
}
"#;

/// A network and a process table of its own, both gone with the script.
const NAMESPACE: [&str; 7] = [
    "unshare",
    "--user",
    "--map-root-user",
    "--net",
    "--pid",
    "--fork",
    "--kill-child",
];

/// Longer than any page takes on a busy machine.
const PAGE_SECONDS_MAX: &str = "240";

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

fn is_installed(tool: &str) -> bool {
    env::split_paths(&env::var_os("PATH").unwrap_or_default())
        .any(|folder| folder.join(tool).is_file())
}

fn uses(script: &str, tool: &str) -> bool {
    script
        .split(|c: char| !(c.is_alphanumeric() || c == '-' || c == '_'))
        .any(|word| word == tool)
}

/// What keeps the script from being run here.
fn missing(script: &str) -> Option<String> {
    if let Some(tool) = TOOLS
        .iter()
        .find(|tool| uses(script, tool) && !is_installed(tool))
    {
        return Some(format!("{tool} is not installed"));
    }
    let granted = Command::new(NAMESPACE[0])
        .args(&NAMESPACE[1..])
        .arg("true")
        .stderr(Stdio::null())
        .status();
    (!granted.is_ok_and(|status| status.success()))
        .then(|| "this system grants no namespaces".into())
}

fn run(page: &Path, script: &str) -> Result<(), String> {
    let home = tempfile::TempDir::new().unwrap();
    let executables = env::current_exe()
        .unwrap()
        .parent()
        .unwrap()
        .parent()
        .unwrap()
        .to_owned();
    let old = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths(std::iter::once(executables).chain(env::split_paths(&old))).unwrap();
    let file = home.path().join("page.sh");
    fs::write(&file, script).unwrap();
    let mut command = Command::new("timeout");
    command
        .arg(PAGE_SECONDS_MAX)
        .args(NAMESPACE)
        .arg("bash")
        .arg(&file);
    for (name, _) in env::vars_os().filter(|(name, _)| {
        let name = name.to_string_lossy();
        name.starts_with("METRONOME_") || name.starts_with("OTEL_")
    }) {
        command.env_remove(name);
    }
    command
        .env("PATH", path)
        .env("HOME", home.path())
        .env_remove("XDG_STATE_HOME")
        .current_dir(home.path());
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "{}: {}\n{script}\n-- it said:\n{said}",
            page.display(),
            output.status
        )),
    }
}

#[test]
fn the_commands_of_the_manual_do_what_they_promise() {
    let mut failures = Vec::new();
    let mut ran = 0;
    for page in pages() {
        let texts: Vec<String> = blocks(&page)
            .into_iter()
            .filter(|b| b.mark.is_empty())
            .map(|b| b.text)
            .collect();
        if texts.is_empty() {
            continue;
        }
        let script = format!("{PRELUDE}\n{}\n", texts.join("\n"));
        match missing(&script) {
            // CI installs what is needed and wants no page left out.
            Some(reason) if env::var_os("CI_MANUAL").is_some() => {
                failures.push(format!("{}: {reason}", page.display()));
            }
            Some(reason) => eprintln!("{} is not tested here: {reason}", page.display()),
            None => failures.extend(run(&page, &script).err()),
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
        for Block { line, mark, .. } in blocks(&page) {
            let reason = mark
                .strip_prefix("needs=")
                .or_else(|| mark.strip_prefix("by="));
            assert!(
                mark.is_empty() || reason.is_some_and(|reason| !reason.is_empty()),
                "{}:{line}: {mark:?} is neither needs=… nor by=…",
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
