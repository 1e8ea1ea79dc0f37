//! `benchctl doctor` with its real runs: what it reports of a load was measured, also on a busy
//! host.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod paths;
mod system;

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use system::{BENCHCTL, Folder, System, command, examined, finding};

/// What ends by itself on a busy machine does so within this.
const TIME_MAX: Duration = Duration::from_secs(60);

/// A load that takes next to no CPU.
const SMALL: [&str; 5] = ["doctor", "--clients", "1", "--rate", "100"];

/// Processes that take all the time that no other wants, ended with this.
struct Spinners(Vec<Child>);

impl Spinners {
    /// One per core. Each ends by itself, too.
    fn start() -> Self {
        let cores = thread::available_parallelism().unwrap().get();
        let spinner = |_| {
            let seconds = TIME_MAX.as_secs().to_string();
            Command::new("timeout")
                .args([
                    &seconds,
                    "nice",
                    "-n",
                    "5",
                    "sh",
                    "-c",
                    "while :; do :; done",
                ])
                .spawn()
                .unwrap()
        };
        Self((0..cores).map(spinner).collect())
    }
}

impl Drop for Spinners {
    fn drop(&mut self) {
        for spinner in &mut self.0 {
            // `timeout` ends what it has started when it is asked to end.
            let pid = rustix::process::Pid::from_raw(spinner.id().cast_signed()).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            let _ = spinner.wait();
        }
    }
}

/// Clients and end of each run, from the lines of the progress.
fn runs(stderr: &[u8]) -> Vec<(u64, bool)> {
    let lines = String::from_utf8_lossy(stderr).into_owned();
    lines
        .lines()
        .filter_map(|line| {
            let (clients, rest) = line.strip_prefix("measured ")?.split_once(' ')?;
            Some((clients.parse().ok()?, rest.ends_with(": held")))
        })
        .collect()
}

#[test]
fn what_is_promised_on_a_busy_host_was_measured_there() {
    let folder = Folder::new("busy");
    let spinners = Spinners::start();
    let output = command(BENCHCTL, &folder.0)
        .args(["doctor", "--clients", "4", "--rate", "2k", "-o", "json"])
        .output()
        .unwrap();
    drop(spinners);
    let object = examined(&output);
    let runs = runs(&output.stderr);
    assert_eq!(runs.first().map(|run| run.0), Some(4), "{output:?}");
    let is_held = object["run"]["end"] == "held";
    let mut of_load = runs.iter().filter(|(clients, _)| *clients == 4);
    assert_eq!(of_load.all(|run| run.1), is_held, "{object:#}: {runs:?}");
    let load = finding(&object, "load");
    assert_eq!(
        load["level"] == "problem",
        !is_held && object["run"]["end"] != "not_judged"
    );
    let is_called_invalid = load["observed"].as_str().unwrap().contains("invalid");
    assert_eq!(
        is_called_invalid,
        object["run"]["end"] == "invalid",
        "{load}"
    );
    let capacity = &object["capacity"];
    if let Some(promised) = capacity["held_clients"].as_u64() {
        let bear_out = runs
            .iter()
            .filter(|(clients, held)| *held && *clients >= promised);
        assert!(bear_out.count() >= 2, "{promised} of {runs:?}");
        assert!(runs.contains(&(promised, true)), "{promised} of {runs:?}");
        let refutes = |(clients, held): &(u64, bool)| !held && *clients <= promised;
        assert!(!runs.iter().any(refutes), "{promised} of {runs:?}");
    }
    let status = object["status"] == "problem";
    assert_eq!(output.status.code(), Some(i32::from(status)), "{object:#}");
    // What spins took the time that the runs left.
    assert_eq!(
        finding(&object, "other work")["level"],
        "warning",
        "{object:#}"
    );
    assert_eq!(folder.names(), [] as [String; 0], "no history is left");
}

#[test]
fn an_ordinary_user_is_shown_to_have_no_real_time_threads() {
    let folder = Folder::new("user");
    let program = folder.0.join("benchctl");
    // Where it lies that user may not get to it.
    fs::copy(BENCHCTL, &program).unwrap();
    let mut ordinary = match rustix::process::geteuid().is_root() {
        true => {
            let mut setpriv = command("setpriv", &folder.0);
            setpriv.args([
                "--reuid=65534",
                "--regid=65534",
                "--clear-groups",
                "prlimit",
            ]);
            setpriv
        }
        false => command("prlimit", &folder.0),
    };
    let output = ordinary
        .args(["--rtprio=0:0", "--nice=0:0"])
        .arg(&program)
        .args(SMALL)
        .args(["--quick", "-o", "json"])
        .output()
        .unwrap();
    let object = examined(&output);
    assert_eq!(object["priority"], "ordinary", "{object:#}");
    let finding = finding(&object, "priority");
    assert_eq!(finding["level"], "warning");
    assert!(finding["cure"].as_str().unwrap().contains("LimitRTPRIO"));
    assert_eq!(object["capacity"], Value::Null, "{object:#}");
    assert!(
        object["run"]["end"].is_string(),
        "the user can measure: {object:#}"
    );
}

#[test]
fn where_no_server_can_be_started_nothing_is_promised() {
    let folder = Folder::new("none");
    let output = command(BENCHCTL, &folder.0)
        .args(SMALL)
        .args(["-o", "json"])
        .env("METRONOME_WORKERS", "none")
        .output()
        .unwrap();
    let object = examined(&output);
    assert_eq!(output.status.code(), Some(1));
    for field in ["run", "capacity", "other_use"] {
        assert_eq!(object[field], Value::Null, "{field}");
    }
    let load = finding(&object, "load");
    assert_eq!(load["level"], "problem");
    assert!(
        load["observed"]
            .as_str()
            .unwrap()
            .starts_with("not measured")
    );
    assert_eq!(folder.names(), [] as [String; 0]);
}

#[test]
fn a_run_of_the_server_that_begins_meanwhile_ends_the_search() {
    let folder = Folder::new("begun");
    let (_system, address) = System::start(&folder);
    let server = ["--server", address.as_str()];
    let mut doctor = command(BENCHCTL, &folder.0)
        .args(SMALL)
        .args(server)
        .args(["-o", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(doctor.stderr.take().unwrap());
    let mut progress = String::new();
    stderr.read_line(&mut progress).unwrap();
    assert!(
        progress.starts_with("measured 1 client for 2 s"),
        "{progress}"
    );
    let started = command(BENCHCTL, &folder.0)
        .args([
            "start",
            "--clients",
            "1",
            "--rate",
            "10",
            "--duration",
            "5m",
            "--detach",
        ])
        .args(server)
        .output()
        .unwrap();
    assert!(started.status.success(), "{started:?}");
    let output = doctor.wait_with_output().unwrap();
    let object = examined(&output);
    let finding = finding(&object, "other runs");
    assert_eq!(finding["level"], "warning");
    assert!(finding["observed"].as_str().unwrap().contains(&address));
    assert!(object["run"]["end"].is_string(), "{object:#}");
    let again = command(BENCHCTL, &folder.0)
        .args(SMALL)
        .args(server)
        .args(["-o", "json"])
        .output()
        .unwrap();
    let object = examined(&again);
    assert_eq!(object["run"], Value::Null, "it would disturb the run");
    assert!(runs(&again.stderr).is_empty(), "{again:?}");
}

/// All processes that `pid` has started, and those that these have.
fn descendants(pid: u32) -> BTreeSet<u32> {
    let children = |pid: u32| -> Vec<u32> {
        let tasks = fs::read_dir(format!("/proc/{pid}/task"))
            .into_iter()
            .flatten();
        let children = tasks
            .flatten()
            .filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
        let children: Vec<String> = children.collect();
        let pids = children.iter().flat_map(|line| line.split_whitespace());
        pids.filter_map(|pid| pid.parse().ok()).collect()
    };
    let mut all = BTreeSet::new();
    let mut left = children(pid);
    while let Some(pid) = left.pop() {
        if all.insert(pid) {
            left.extend(children(pid));
        }
    }
    all
}

#[test]
fn ctrl_c_ends_it_with_all_that_it_has_started() {
    let folder = Folder::new("ctrl-c");
    let mut doctor = command(BENCHCTL, &folder.0)
        .args(SMALL)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(doctor.stderr.take().unwrap());
    let mut line = String::new();
    // The search goes on after it.
    stderr.read_line(&mut line).unwrap();
    assert!(line.starts_with("measured 1 client for 2 s"), "{line}");
    let started = descendants(doctor.id());
    assert!(started.len() >= 2, "a server and an agent: {started:?}");
    let pid = rustix::process::Pid::from_raw(doctor.id().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let status = doctor.wait().unwrap();
    assert_eq!(status.to_string(), "signal: 2 (SIGINT)");
    let deadline = Instant::now() + TIME_MAX;
    let runs_on = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z ")
    };
    while started.iter().any(runs_on) {
        assert!(Instant::now() < deadline, "{started:?} run on");
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(folder.names(), [] as [String; 0]);
}
