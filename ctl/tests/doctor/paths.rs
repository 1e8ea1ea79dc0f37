//! `doctor --agents` with real agents: one on the server's clock, one on a clock of its own. What
//! it promises is proved, and it leaves no run behind.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::system::{BENCHCTL, Folder, System, command, examined, finding, program};

/// What ends by itself on a busy machine does so within this.
const TIME_MAX: Duration = Duration::from_secs(60);

/// A clock an hour ahead, in a namespace whose end is that of the agent.
const FAR: [&str; 7] = [
    "--user",
    "--map-root-user",
    "--time",
    "--monotonic",
    "3600",
    "--fork",
    "--kill-child=TERM",
];

/// The server's clock less that of the far agent.
const FAR_OFFSET_US: f64 = -3.6e9;

/// An agent on a clock of its own. `None` where this system grants no such clock.
fn far_agent(folder: &Folder) -> Option<Command> {
    let mut probe = Command::new("unshare");
    let granted = probe.args(FAR).arg("true").stderr(Stdio::null()).status();
    if !granted.is_ok_and(|status| status.success()) {
        eprintln!("not tested here: this system grants no time namespace");
        return None;
    }
    let agent = program(folder, "metronome-agent");
    let mut far = command("unshare", &folder.0);
    far.args(FAR).arg(agent.get_program());
    Some(far)
}

/// benchctl with the server at `address`.
fn benchctl(folder: &Folder, address: &str, arguments: &[&str]) -> Command {
    let mut benchctl = command(BENCHCTL, &folder.0);
    benchctl.args(arguments).args(["--server", address]);
    benchctl
}

fn ended(folder: &Folder, address: &str, arguments: &[&str]) -> Output {
    benchctl(folder, address, arguments).output().unwrap()
}

fn json(folder: &Folder, address: &str, arguments: &[&str]) -> Value {
    let arguments = [arguments, &["-o", "json"]].concat();
    examined(&ended(folder, address, &arguments))
}

/// Ids and states of all runs in the history.
fn runs(folder: &Folder, address: &str) -> Vec<(String, String)> {
    let list = json(folder, address, &["runs"]);
    let text = |of: &Value| of.as_str().unwrap().to_owned();
    let runs = list["runs"].as_array().unwrap().iter();
    runs.map(|run| (text(&run["run_id"]), text(&run["state"])))
        .collect()
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIME_MAX;
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until how the clocks of all agents relate to the server's is known.
fn wait_for_clocks(folder: &Folder, address: &str) {
    wait_until("the clocks are known", || {
        let list = json(folder, address, &["agents"]);
        let agents = list["agents"].as_array().unwrap();
        agents
            .iter()
            .all(|agent| ["same", "offset"].contains(&agent["clock"]["relation"].as_str().unwrap()))
    });
}

fn path<'a>(object: &'a Value, agent: &str) -> &'a Value {
    let mut paths = object["paths"].as_array().unwrap().iter();
    let path = paths.find(|path| path["agent"] == agent);
    path.unwrap_or_else(|| panic!("{agent}: {object:#}"))
}

/// A run of the user's that does not end by itself.
fn start_another(folder: &Folder, address: &str) -> String {
    let load = ["start", "--clients", "1", "--rate", "10"];
    let arguments = [&load[..], &["--duration", "5m", "--detach"]].concat();
    let started = ended(folder, address, &arguments);
    assert!(started.status.success(), "{started:?}");
    String::from_utf8(started.stdout).unwrap().trim().to_owned()
}

/// A doctor whose own run goes on.
fn measuring(folder: &Folder, address: &str) -> Child {
    let mut doctor = benchctl(folder, address, &["doctor", "--agents", "near"]);
    let doctor = doctor.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut doctor = doctor.spawn().unwrap();
    let mut stderr = BufReader::new(doctor.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    assert_eq!(line, "measuring the path of agent near for 22 s\n");
    // What it writes later is read by the caller.
    doctor.stderr = Some(stderr.into_inner());
    wait_until("its run goes on", || {
        runs(folder, address).iter().any(|run| run.1 == "running")
    });
    doctor
}

fn assert_near(near: &Value) {
    assert_eq!(near["clock"]["relation"], "same", "{near:#}");
    let promise = near["promise"].as_str().unwrap();
    assert!(promise.starts_with("same clock: transit and latency are exact"));
    for unknown in [
        "path",
        "probes_lost",
        "one_way_bound_us",
        "queueing_bound_us",
    ] {
        assert_eq!(near[unknown], Value::Null, "{unknown}: {near:#}");
    }
}

fn assert_far(far: &Value) {
    let clock = &far["clock"];
    assert_eq!(clock["relation"], "offset", "{far:#}");
    let [offset_us, bound_us] = ["offset_us", "bound_us"].map(|of| clock[of].as_f64().unwrap());
    assert!((offset_us - FAR_OFFSET_US).abs() <= bound_us, "{clock}");
    assert_eq!(far["one_way_bound_is"], "proved", "{far:#}");
    let one_way_us = far["one_way_bound_us"].as_f64().unwrap();
    assert!(one_way_us > 0.0 && one_way_us < 1e6, "{far:#}");
    let promise = far["promise"].as_str().unwrap();
    assert!(promise.starts_with("one-way times to ± "), "{promise}");
    let [sent, answered] = ["probes_sent", "probes_answered"].map(|of| far["path"][of].as_u64());
    assert!(answered > Some(100), "{far:#}");
    assert_eq!(
        far["probes_lost"].as_u64(),
        sent.zip(answered).map(|(a, b)| a - b)
    );
}

#[test]
fn each_agent_is_promised_what_its_clock_and_its_probes_prove_and_no_run_is_left() {
    let folder = Folder::new("paths");
    let (mut system, address) = System::start(&folder);
    let far = far_agent(&folder);
    let has_far = far.is_some();
    if let Some(far) = far {
        system.add_agent(far, &address, "far");
    }
    wait_for_clocks(&folder, &address);
    let doctor = ["doctor", "--agents", "--quick", "-o", "json"];
    let output = ended(&folder, &address, &doctor);
    let object = examined(&output);
    assert_ne!(object["status"], "problem", "{object:#}");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_near(path(&object, "near"));
    if has_far {
        let far = path(&object, "far");
        assert_far(far);
        for path in [far, path(&object, "near")] {
            assert!(path["start_skew_bound_us"].is_number(), "{path:#}");
        }
    }
    // The kernel of loopback has it for every connection.
    assert!(path(&object, "near")["path_mtu"].is_number(), "{object:#}");
    assert_eq!(finding(&object, "clock")["level"], "ok", "{object:#}");
    assert_eq!(runs(&folder, &address), [], "its run was deleted");
}

#[test]
fn no_path_is_measured_beside_another_run_nor_one_of_an_agent_that_is_not_there() {
    let folder = Folder::new("beside");
    let (_system, address) = System::start(&folder);
    let absent = ended(&folder, &address, &["doctor", "--agents", "near,elsewhere"]);
    assert_eq!(absent.status.code(), Some(1), "{absent:?}");
    let stderr = String::from_utf8(absent.stderr).unwrap();
    assert!(
        stderr.starts_with("error: not connected: elsewhere\n"),
        "{stderr}"
    );
    let other = start_another(&folder, &address);
    let refused = ended(&folder, &address, &["doctor", "--agents"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(refused.stdout.is_empty(), "nothing was measured");
    let stderr = String::from_utf8(refused.stderr).unwrap();
    let sentence = "error: no path was measured, since that would disturb what the server measures";
    assert!(stderr.starts_with(sentence), "{stderr}");
    let left = runs(&folder, &address);
    assert!(left.len() == 1 && left[0].0 == other, "{left:?}");
}

#[test]
fn a_run_that_begins_meanwhile_ends_the_measurement_and_goes_on_itself() {
    let folder = Folder::new("meanwhile");
    let (_system, address) = System::start(&folder);
    wait_for_clocks(&folder, &address);
    let doctor = measuring(&folder, &address);
    let other = start_another(&folder, &address);
    let output = doctor.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let stderr = String::from_utf8(output.stderr).unwrap();
    let sentence = "error: the measurement was ended, since another run has begun";
    assert!(stderr.contains(sentence), "{stderr}");
    wait_until("only the other run is left, and goes on", || {
        runs(&folder, &address) == [(other.clone(), "running".to_owned())]
    });
}

#[test]
fn ctrl_c_leaves_no_run_behind() {
    let folder = Folder::new("ctrl-c-paths");
    let (_system, address) = System::start(&folder);
    let doctor = measuring(&folder, &address);
    let pid = rustix::process::Pid::from_raw(doctor.id().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = doctor.wait_with_output().unwrap();
    assert_eq!(
        output.status.to_string(),
        "signal: 2 (SIGINT)",
        "{output:?}"
    );
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("stopped before all paths were measured"),
        "{stderr}"
    );
    assert_eq!(runs(&folder, &address), []);
}
