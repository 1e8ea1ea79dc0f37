//! The job of docs/ci.md, extracted from the page and run: it ends as the run that it ordered did.
//!
//! Each outcome is made to happen with real processes. What a machine is too busy for (4) is tried
//! again; with a benchctl that prints prepared results every code is tested whatever the load.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::Duration,
};

use common::{Running, Server, command_at};
use roxmltree::{Document, Node};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

/// Tries of an outcome for which the machine must be quiet enough to measure.
const TRIES: usize = 5;

/// Where GitHub would show what is written.
const SUMMARY: &str = "step_summary.md";

/// The script: the first block of the page.
fn script() -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/ci.md");
    let text = fs::read_to_string(page).unwrap();
    let (_, rest) = text.split_once("\n```sh\n").expect("the page has a script");
    let (script, _) = rest.split_once("\n```\n").expect("the block ends");
    script.to_owned()
}

/// The script with another flag, which must be there to be replaced.
fn script_with(old: &str, new: &str) -> String {
    let script = script();
    assert!(script.contains(old), "{old} is not in {script}");
    script.replace(old, new)
}

/// `None` where there is no jq, which CI has installed.
fn path_with(folder: &Path) -> Option<std::ffi::OsString> {
    let old = env::var_os("PATH").unwrap_or_default();
    if !env::split_paths(&old).any(|folder| folder.join("jq").is_file()) {
        assert!(env::var_os("CI_MANUAL").is_none(), "jq is not installed");
        return None;
    }
    let folders = std::iter::once(folder.to_owned()).chain(env::split_paths(&old));
    Some(env::join_paths(folders).unwrap())
}

struct Job {
    folder: TempDir,
    output: Output,
}

impl Job {
    /// Runs the script as a step of CI does, with `server` for all commands of benchctl.
    fn run(script: &str, server: &str) -> Option<Self> {
        let folder = TempDir::new().unwrap();
        let path = path_with(common::executable("benchctl").parent().unwrap())?;
        let mut command = command_at(Path::new("sh"));
        command
            .args(["-ec", script])
            .env("PATH", path)
            .env("METRONOME_SERVER", server)
            .env("GITHUB_STEP_SUMMARY", SUMMARY)
            .current_dir(folder.path())
            .stdin(Stdio::null());
        let output = command.output().unwrap();
        Some(Self { folder, output })
    }

    /// [`Job::run`], again where the machine was too busy and something else is expected.
    fn run_until_measured(script: &str, server: &str) -> Option<Self> {
        for _ in 1..TRIES {
            let job = Self::run(script, server)?;
            if job.code() != Some(4) {
                return Some(job);
            }
        }
        Self::run(script, server)
    }

    fn code(&self) -> Option<i32> {
        self.output.status.code()
    }

    fn result(&self) -> Value {
        serde_json::from_slice(&fs::read(self.folder.path().join("result.json")).unwrap()).unwrap()
    }

    /// The test cases as CI reads them: `error verdict`, `passed lost==0`.
    fn cases(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.path().join("junit.xml")).unwrap();
        let document = Document::parse(&text).unwrap();
        let nodes = document.descendants();
        let cases = nodes.filter(|node| node.has_tag_name("testcase"));
        let case = |case: Node<'_, '_>| {
            let flaw = case.first_element_child();
            let word = flaw.map_or("passed", |flaw| flaw.tag_name().name());
            assert_eq!(case.attribute("classname"), Some("metronome.suite=nightly"));
            format!("{word} {}", case.attribute("name").unwrap())
        };
        cases.map(case).collect()
    }

    /// The headings of the summary.
    fn headings(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.path().join(SUMMARY)).unwrap();
        let headings = text.lines().filter(|line| line.starts_with("## "));
        headings.map(ToOwned::to_owned).collect()
    }

    /// How far its quantiles are valid depends on how busy the machine was.
    #[track_caller]
    fn assert_last_heading(&self, first: &str) {
        let headings = self.headings();
        let heading = headings.last().unwrap();
        assert!(heading.starts_with(first), "{heading}");
        assert!(heading.ends_with(": suite=nightly"), "{heading}");
    }

    /// The code, what the first line begins with, and a reason below it where one is due.
    #[track_caller]
    fn assert(&self, code: i32, first: &str) {
        let printed = String::from_utf8_lossy(&self.output.stdout);
        assert_eq!(self.code(), Some(code), "{:?}", self.output);
        assert!(printed.starts_with(first), "{printed}");
        assert_eq!(printed.lines().count() > 1, code != 0, "{printed}");
    }
}

/// Does `what` to the agent while packets flow, in each run of the server until the job has ended.
fn in_mid_run(
    server: &Server,
    job: impl FnOnce() -> Option<Job> + Send,
    what: impl Fn(),
) -> Option<Job> {
    thread::scope(|scope| {
        let job = scope.spawn(job);
        let mut last = None;
        while !job.is_finished() {
            let (list, _) = server.json(&["runs", "--limit", "1"]);
            let run = &list["runs"][0];
            if run["state"] == "running" && last.as_ref() != Some(&run["run_id"]) {
                last = Some(run["run_id"].clone());
                what();
            }
            thread::sleep(Duration::from_millis(20));
        }
        job.join().unwrap()
    })
}

fn server_and_agent() -> (Server, Running) {
    let server = Server::start(&["--workers", "1"]);
    let agent = server.agent("ci");
    (server, agent)
}

#[test]
fn the_job_succeeds_when_the_run_held_and_fails_with_99_when_it_did_not() {
    let (server, _agent) = server_and_agent();
    let Some(job) = Job::run_until_measured(&script(), &server.grpc()) else {
        return;
    };
    job.assert(0, "held");
    assert_eq!(job.result()["outcome"]["status"], "held");
    let passed = [
        "verdict",
        "latency.p99<50ms",
        "lost==0",
        "skipped==0",
        "kept_up>=99.9%",
    ];
    assert_eq!(job.cases(), passed.map(|name| format!("passed {name}")));
    job.assert_last_heading("## HELD · valid");
    let script = script_with("latency.p99<50ms", "latency.p50<1ns");
    let job = Job::run_until_measured(&script, &server.grpc()).unwrap();
    job.assert(99, "NOT HELD");
    assert_eq!(job.result()["outcome"]["status"], "not_held");
    assert_eq!(job.result()["verdict"]["status"], "valid");
    let cases = job.cases();
    assert_eq!(cases[..2], ["passed verdict", "failure latency.p50<1ns"]);
    job.assert_last_heading("## NOT HELD · valid");
}

#[test]
fn the_job_fails_with_4_when_the_agent_hung_in_every_try() {
    let (server, agent) = server_and_agent();
    let stop_for_a_second = || {
        agent.signal(Signal::STOP);
        thread::sleep(Duration::from_secs(1));
        agent.signal(Signal::CONT);
    };
    let run = || Job::run(&script(), &server.grpc());
    let Some(job) = in_mid_run(&server, run, stop_for_a_second) else {
        return;
    };
    job.assert(4, "INVALID at try 3");
    assert_eq!(job.result()["verdict"]["status"], "invalid");
    let cases = job.cases();
    assert_eq!(cases[..2], ["error verdict", "skipped latency.p99<50ms"]);
    assert_eq!(job.headings(), ["## INVALID: suite=nightly"; 3]);
    let (list, _) = server.json(&["runs"]);
    assert_eq!(list["runs"].as_array().unwrap().len(), 3, "{list}");
}

#[test]
fn the_job_fails_with_3_when_the_agent_was_killed() {
    let (server, agent) = server_and_agent();
    let run = || Job::run(&script(), &server.grpc());
    let Some(job) = in_mid_run(&server, run, || agent.signal(Signal::KILL)) else {
        return;
    };
    job.assert(3, "PARTIAL");
    assert_eq!(job.result()["verdict"]["status"], "partial");
    assert_eq!(job.cases()[0], "error verdict");
    job.assert_last_heading("## PARTIAL");
}

#[test]
fn the_job_fails_with_1_without_a_server_and_with_2_for_a_bad_flag() {
    let server = Server::start(&["--workers", "1"]);
    let address = server.grpc();
    drop(server);
    let Some(job) = Job::run(&script(), &address) else {
        return;
    };
    job.assert(1, "NOT MEASURED (exit code 1)");
    assert_eq!(job.cases(), ["error verdict"]);
    assert_eq!(job.headings(), ["## NO RESULT: suite=nightly"]);
    let job = Job::run(&script_with("--rate 500", "--rate -500"), &address).unwrap();
    job.assert(2, "NOT MEASURED (exit code 2)");
    assert!(!job.folder.path().join("junit.xml").exists());
}

/// A benchctl that takes the next code of the file `codes`, prints what a run of its kind prints,
/// and exits with it.
const FAKE_BENCHCTL: &str = r#"#!/bin/sh
read -r code < codes
sed -i 1d codes
objective='{"status": "not_held", "sentence": "too slow"}'
reason='{"code": "LATENESS", "sentence": "too late"}'
if [ "$code" = law ]; then
    reason='{"code": "DUPLICATED", "sentence": "counted twice"}'
    code=4
fi
case "$code" in
    0) echo '{"outcome": {"objectives": [{"status": "held"}]}, "verdict": {"reasons": []}}' ;;
    99) echo "{\"outcome\": {\"objectives\": [$objective]}, \"verdict\": {\"reasons\": []}}" ;;
    3 | 4) echo "{\"outcome\": {\"objectives\": []}, \"verdict\": {\"reasons\": [$reason]}}" ;;
    1) echo '{"outcome": null, "verdict": null, "failure": {"sentence": "no agent"}}' ;;
    2) echo '{"schema_version": 2, "error": {"sentence": "no such rate"}}' ;;
esac
exit "$code"
"#;

#[test]
fn the_job_ends_as_its_last_run_and_measures_again_only_what_was_invalid() {
    let folder = TempDir::new().unwrap();
    let fake: PathBuf = folder.path().join("benchctl");
    fs::write(&fake, FAKE_BENCHCTL).unwrap();
    fs::set_permissions(&fake, fs::Permissions::from_mode(0o755)).unwrap();
    let Some(path) = path_with(folder.path()) else {
        return;
    };
    for (codes, code, reason) in [
        ("0", 0, None),
        ("99", 99, Some("too slow")),
        ("3", 3, Some("too late")),
        ("1", 1, Some("no agent")),
        ("2", 2, Some("no such rate")),
        ("4\n4\n4", 4, Some("too late")),
        ("4\n0", 0, None),
        ("law", 4, Some("counted twice")),
        ("4\nlaw", 4, Some("counted twice")),
        ("4\n4\n99", 99, Some("too slow")),
    ] {
        fs::write(folder.path().join("codes"), format!("{codes}\n")).unwrap();
        let output = Command::new("sh")
            .args(["-ec", &script()])
            .env("PATH", &path)
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        let printed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(printed.lines().nth(1), reason, "{printed}");
        assert_eq!(
            fs::read(folder.path().join("codes")).unwrap(),
            b"",
            "{codes}"
        );
    }
}
