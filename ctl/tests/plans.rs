//! Loads of every shape, groups and plan files that are not allowed: one clear sentence and the
//! documented code, before anything is started.

mod common;

use std::{
    fs,
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
};

use common::{BENCHCTL, Ended, benchctl};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::Value;

/// Runs a command line that is not allowed, and expects the code and a sentence with these words.
#[track_caller]
fn refused_with(code: i32, arguments: &[&str], words: &[&str]) -> Ended {
    let ended = benchctl(arguments);
    assert_eq!(ended.code, Some(code), "{arguments:?}: {ended:?}");
    let first_line = ended.stderr.lines().next().unwrap_or_default();
    assert!(
        first_line.starts_with("error: "),
        "{arguments:?}: {ended:?}"
    );
    // A long sentence is laid out for the screen.
    let stderr: Vec<_> = ended.stderr.split_whitespace().collect();
    let stderr = stderr.join(" ");
    for word in words {
        assert!(
            stderr.contains(word),
            "{arguments:?} without {word:?}: {stderr}"
        );
    }
    ended
}

#[track_caller]
fn refused(arguments: &[&str], words: &[&str]) {
    refused_with(2, &[&["start"], arguments].concat(), words);
}

/// A file with this text, of a name that no other test has.
fn file(name: &str, text: &[u8]) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("plans-{name}"));
    fs::write(&path, text).expect("a file can be written");
    path
}

#[test]
fn a_claim_about_clocks_is_in_range_and_goes_into_the_file_of_a_plan() {
    for bound in ["0", "2s", "-1us", "soon"] {
        refused(&["--clock-bound", bound], &["--clock-bound", "1 ns to 1 s"]);
    }
    let path = file("trust", b"groups: [{}]\n");
    let path = path.to_str().expect("a path");
    refused(
        &["--plan", path, "--trust-ntp"],
        &["--trust-ntp", "clock_trust.ntp"],
    );
    refused(
        &["--plan", path, "--clock-bound", "1us"],
        &["--clock-bound", "clock_trust.bound"],
    );
}

#[test]
fn a_shape_that_is_none_is_refused_by_its_flag() {
    refused(&["--rate", ""], &["--rate", "10k"]);
    refused(&["--rate", "1k,2k"], &["--rate", "1k:5s,5k:5s,10k"]);
    refused(&["--rate", "1k:-5s,2k"], &["--rate", "-5s"]);
    refused(&["--rate", "1k:5s"], &["--rate", "the last rate stays"]);
    refused(
        &["--rate", "1k:5s,2k:5s,3k"],
        &["--rate", "last rate begins", "lengthen"],
    );
    refused(&["--rate", "0..0"], &["--rate", "above 0"]);
    refused(&["--rate", "0.01"], &["--rate", "no period", "lengthen"]);
    refused(
        &["--rate", "100001", "--arrivals", "poisson"],
        &["--rate", "100000", "more clients"],
    );
    refused(
        &["--arrivals", "even"],
        &["--arrivals", "poisson", "leave it out"],
    );
    refused(
        &["--arrivals", "poisson", "--rate", "max"],
        &["--arrivals", "one rate"],
    );
    refused(
        &["--arrivals", "poisson", "--batch", "2"],
        &["--batch", "2", "leave the batch out"],
    );
    refused(&["--burst", "50"], &["--burst", "every", "5ms"]);
    refused(&["--every", "5ms"], &["--every", "burst"]);
    refused(
        &["--burst", "0", "--every", "5ms"],
        &["--burst", "1 to 1000000"],
    );
    refused(
        &["--burst", "1001", "--every", "1ms"],
        &["--every", "overlap", "at least 1.001ms"],
    );
    refused(
        &["--burst", "5", "--every", "1s", "--rate", "5"],
        &["--burst", "rate"],
    );
    refused(
        &["--burst", "5", "--every", "20s"],
        &["--every", "no period"],
    );
    refused(&["--on", "2s"], &["--on", "off"]);
    refused(&["--off", "2s"], &["--off", "on"]);
    refused(&["--on", "0", "--off", "1s"], &["--on", "more than 0 s"]);
    refused(&["--warm-up", "10s"], &["--warm-up", "10s", "shorten"]);
    refused(&["--warm-up", "-1s"], &["--warm-up", "250ms"]);
    refused(&["--seed", "0"], &["--seed", "1 to 9007199254740991"]);
    refused(
        &["--seed", "9007199254740992"],
        &["--seed", "1 to 9007199254740991"],
    );
}

#[test]
fn groups_that_are_none_are_refused_by_name_and_key() {
    refused(&["--group", ""], &["--group", "at least one part"]);
    refused(
        &["--group", "name=a,clients=2,rate=10"],
        &["blanks separate"],
    );
    refused(
        &["--group", "name=A"],
        &["--group name=A: \"A\" is no name"],
    );
    refused(
        &["--group", "sensors"],
        &["--group", "KEY=VALUE", "name=sensors"],
    );
    refused(
        &["--group", "colour=red"],
        &["--group", "colour", "name, clients"],
    );
    refused(&["--group", "rate=1 rate=2"], &["--group", "twice"]);
    refused(
        &["--group", "clients=ten"],
        &["--group", "clients", "1 to 10000"],
    );
    refused(
        &["--group", "rate=10", "--clients", "5"],
        &["--clients", "clients=VALUE"],
    );
    refused(
        &["--group", "rate=10", "--agent", "a"],
        &["--agent", "agents=VALUE"],
    );
    refused(
        &["--group", "name=a", "--group", "name=a"],
        &["--group", "\"a\"", "two groups"],
    );
    refused(
        &[
            "--group",
            "name=a",
            "--group",
            "name=b rate=5 arrivals=poisson batch=3",
        ],
        &["--group name=b batch:", "3 packets a write"],
    );
    let many: Vec<String> = (0..17).map(|one| format!("--group=name=g{one}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    refused(&many, &["--group", "17", "1 to 16"]);
    refused(
        &[
            "--group",
            "name=a clients=6000 rate=1",
            "--group",
            "name=b clients=6000 rate=1",
        ],
        &["--group", "12000", "10000"],
    );
    refused(
        &["--embedded", "--group", "agents=a"],
        &["--group", "--embedded", "leave one out"],
    );
    refused(&["--embedded", "--agent", "a"], &["--agent", "--embedded"]);
}

#[test]
fn a_plan_file_is_refused_by_the_place_of_the_error() {
    let path = file(
        "bad.yaml",
        b"duration: 10s\ngroups:\n  - clients: 5\n    bach: 8\n",
    );
    let path = path.to_str().expect("a path");
    refused(&["--plan", path], &[path, ":4:5:", "\"bach\"", "batch"]);
    refused_with(2, &["plan", "check", path], &[path, ":4:5:", "\"bach\""]);
    let ended = benchctl(&["start", "--plan", path, "-o", "json"]);
    let error: Value = serde_json::from_str(&ended.stdout).expect("one JSON object");
    let figures = &error["error"]["figures"];
    assert_eq!(
        (&figures["line"], &figures["column"]),
        (&4.into(), &5.into()),
        "{error}"
    );
    assert_eq!(figures["flag"], "--plan", "{error}");
    refused(
        &["--plan", path, "--rate", "5"],
        &["--rate", "--plan", "as rate"],
    );
    refused(
        &["--plan", path, "--threads", "2"],
        &["--threads", "as threads"],
    );
    refused(
        &["--plan", path, "--group", "name=a"],
        &["--group", "as groups"],
    );
}

#[test]
fn what_a_flag_replaces_in_a_file_is_checked_with_the_rest_of_it() {
    let path = file("warm.yaml", b"warm_up: 2s\ngroups: [{}]\n");
    let path = path.to_str().expect("a path");
    let ended = benchctl(&["plan", "check", path]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    refused(
        &["--plan", path, "--duration", "1s"],
        &[":1:10:", "warm_up", "shorten"],
    );
}

#[test]
fn a_plan_of_a_later_version_is_unsupported() {
    let path = file(
        "later.yaml",
        b"requires: [profile.warp]\ngroups: [{warp: 9}]\n",
    );
    let path = path.to_str().expect("a path");
    for command in [&["start", "--plan", path][..], &["plan", "check", path]] {
        refused_with(1, command, &[":1:12:", "profile.warp", "version"]);
        let ended = benchctl(&[command, &["-o", "json"]].concat());
        let error: Value = serde_json::from_str(&ended.stdout).expect("one JSON object");
        assert_eq!(error["error"]["code"], "UNSUPPORTED", "{error}");
        assert_eq!(
            error["error"]["figures"]["feature"], "profile.warp",
            "{error}"
        );
    }
}

#[test]
fn a_file_that_is_no_plan_is_refused_whatever_it_is() {
    let bomb = "a: &a [x, x]\nb: &b [*a, *a]\n";
    let large = vec![b'#'; (1 << 20) + 1];
    for (name, text, words) in [
        ("bomb.yaml", bomb.as_bytes(), &[":1:4:", "anchors"][..]),
        ("large.yaml", &large, &["1 MiB"]),
        ("latin1.yaml", b"groups: \xe4", &["UTF-8"]),
        ("empty.yaml", b"", &[":1:1:", "empty"]),
        (
            "twice.yaml",
            b"seed: 1\nseed: 2\n",
            &[":2:1:", "twice", "line 1"],
        ),
    ] {
        let path = file(name, text);
        refused(&["--plan", path.to_str().expect("a path")], words);
    }
    let missing = refused_with(
        2,
        &["plan", "check", "/nowhere/plan.yaml"],
        &["/nowhere/plan.yaml", "No such file"],
    );
    // What a server allows is no way out of that.
    assert!(!missing.stderr.contains("GetServer"), "{missing:?}");
    refused(&["--plan", "/nowhere/plan.yaml"], &["No such file"]);
    refused(&["--plan", "/"], &["cannot be read", "directory"]);
    // A directory, a device without an end, and a FIFO that nothing writes to.
    refused(&["--plan", "/dev/zero"], &["1 MiB"]);
    let fifo = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("plans-fifo");
    let _ = fs::remove_file(&fifo);
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a FIFO");
    refused(&["--plan", fifo.to_str().expect("a path")], &["FIFO"]);
}

/// Runs benchctl with a text on standard input.
fn with_input(arguments: &[&str], text: &[u8]) -> (Option<i32>, String, String) {
    let mut child = Command::new(BENCHCTL)
        .args(arguments)
        .env_remove("METRONOME_SERVER")
        .env_remove("METRONOME_LOG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("benchctl starts");
    // One that refuses a large file reads no more of it.
    let _ = child.stdin.take().expect("a pipe").write_all(text);
    let output = child.wait_with_output().expect("benchctl ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn standard_input_is_a_plan_file_too() {
    let plan = b"groups:\n  - {name: a, clients: 7, rate: 1k..2k}\n  - {name: b, clients: 3}\n";
    let (code, out, _) = with_input(&["plan", "check", "-"], plan);
    assert_eq!(
        (code, out.as_str()),
        (Some(0), "2 groups, 10 clients × 10 s\n")
    );
    let (code, out, _) = with_input(&["plan", "check", "-", "-o", "json"], plan);
    assert_eq!(code, Some(0));
    let written: Value = serde_json::from_str(&out).expect("one JSON object");
    assert_eq!(written["groups"][0]["rate"], "1000..2000", "{written}");
    let (again, same, _) = with_input(&["plan", "check", "-", "-o", "json"], out.as_bytes());
    assert_eq!((again, same), (Some(0), out));
    let (code, _, error) = with_input(&["plan", "check", "-"], b"groups: [{clients: 0}]");
    assert_eq!(code, Some(2));
    assert!(
        error.contains("standard input:1:20: groups[0].clients: 0"),
        "{error}"
    );
    let (code, _, error) = with_input(&["plan", "check", "-"], &vec![b'#'; 2 << 20]);
    assert_eq!(code, Some(2));
    assert!(error.contains("1 MiB"), "{error}");
}

#[test]
fn the_schema_is_printed_without_a_server() {
    let ended = benchctl(&["plan", "schema"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let schema: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    let id = "https://json-schema.org/draft/2020-12/schema";
    assert_eq!(schema["$schema"], id);
}

#[test]
fn a_size_or_an_echo_out_of_range_is_refused_by_its_flag() {
    for size in ["31", "1473", "0", "-1", "64.5", "64B", ""] {
        refused(
            &["--packet-size", size],
            &["--packet-size", "32 to 1472", size],
        );
    }
    for packets in ["0", "1000001", "-1", "1.5", ""] {
        refused(
            &["--echo-every", packets],
            &["--echo-every", "1 to 1000000", "leave it out"],
        );
    }
    refused(
        &["--packet-size", "1472", "--batch", "45"],
        &["--batch", "65536 bytes", "at most 44"],
    );
    refused(
        &["--group", "name=a packet-size=1472 batch=45"],
        &["--group name=a batch", "at most 44"],
    );
    refused(
        &["--group", "rate=10", "--packet-size", "64"],
        &["--packet-size", "packet-size=VALUE"],
    );
    refused(
        &["--plan", "none.yaml", "--echo-every", "5"],
        &["--echo-every", "--plan", "as echo_every"],
    );
    refused(
        &["--threshold", "rtt<1ms"],
        &["--threshold", "rtt.p99, rtt.max or rtt.mean"],
    );
}

#[test]
fn a_payload_that_is_none_is_refused_by_its_flag_and_with_the_way_out() {
    let sized = |payload: &str, words: &[&str]| {
        refused(
            &["--packet-size", "42", "--payload", payload],
            &[&["--payload"], words].concat(),
        );
    };
    sized("", &["zeros, pattern, agent:NAME"]);
    sized("-", &["standard input", "into a file"]);
    sized("agent:", &["--payload-dir", "without a slash"]);
    sized("agent:../key", &["../key", "without a slash"]);
    for payload in ["pattern", "agent:day.bin", "/nowhere/day.bin"] {
        refused(
            &["--payload", payload],
            &["--payload", "no room", "above 32"],
        );
    }
    sized(
        "/nowhere/day.bin",
        &["/nowhere/day.bin", "No such file", "path of a file"],
    );
    // Words are no files, and a file may be called like one.
    sized("./pattern", &["./pattern", "No such file"]);
    sized("/", &["a directory", "a regular file"]);
    sized("/dev/zero", &["a device", "a regular file"]);
    let fifo = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("plans-payload-fifo");
    let _ = fs::remove_file(&fifo);
    mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a FIFO");
    sized(
        fifo.to_str().expect("a path"),
        &["a FIFO", "a regular file"],
    );
    let empty = file("empty.bin", b"");
    sized(
        empty.to_str().expect("a path"),
        &["it is empty", "one record of 10 bytes"],
    );
    let odd = file("odd.bin", &[7; 25]);
    let odd = odd.to_str().expect("a path");
    sized(odd, &["25 bytes", "no multiple of 10", "whole records"]);
    // The one is a byte too many, the other takes no room on the disk.
    let large = file("large.bin", &vec![7; (1 << 20) + 1]);
    let sparse = file("sparse.bin", b"");
    let of = fs::File::options().write(true).open(&sparse);
    of.and_then(|of| of.set_len(5 << 30))
        .expect("a sparse file");
    for path in [large, sparse] {
        let path = path.to_str().expect("a path");
        sized(path, &["at most 1048576", "--payload-dir", "agent:NAME"]);
    }
    refused(
        &["--group", "name=a packet-size=42 payload=/"],
        &["--group name=a payload", "a directory"],
    );
    refused(
        &[
            "--embedded",
            "--packet-size",
            "42",
            "--payload",
            "agent:day",
        ],
        &["--payload", "--embedded", "leave one out"],
    );
    let ended = benchctl(&[
        "start",
        "--packet-size",
        "42",
        "--payload",
        odd,
        "-o",
        "json",
    ]);
    let error: Value = serde_json::from_str(&ended.stdout).expect("one JSON object");
    let figures = &error["error"]["figures"];
    assert_eq!(figures["field"], "plan.groups[0].payload", "{error}");
    assert_eq!(figures["flag"], "--payload", "{error}");
}

#[test]
fn a_plan_finds_its_records_beside_itself_and_checks_what_they_are() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("plans-beside");
    fs::create_dir_all(folder.join("data")).expect("a folder");
    fs::write(folder.join("data/day.bin"), b"one recordtwo record").expect("a file");
    let plan = |payload: &str| {
        let path = folder.join("plan.yaml");
        let text = format!("groups:\n  - packet_size: 42\n    payload: {payload}\n");
        fs::write(&path, text).expect("a file");
        path.to_str().expect("a path").to_owned()
    };
    let path = plan("{file: data/day.bin}");
    let ended = benchctl(&["plan", "check", &path, "-o", "json"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let written: Value = serde_json::from_str(&ended.stdout).expect("one JSON object");
    let payload = &written["groups"][0]["payload"];
    assert_eq!(payload["file"], "data/day.bin", "{written}");
    let sha256 = payload["sha256"].as_str().expect("a text");
    assert_eq!(sha256.len(), 64, "{written}");
    // What was written is a plan again, at the same place.
    let again = folder.join("again.json");
    fs::write(&again, &ended.stdout).expect("a file");
    let again = benchctl(&[
        "plan",
        "check",
        again.to_str().expect("a path"),
        "-o",
        "json",
    ]);
    assert_eq!((again.code, again.stdout), (Some(0), ended.stdout.clone()));
    let other = sha256.replace(|_: char| true, "7");
    for (payload, column, words) in [
        (
            "{file: data/none.bin}",
            14,
            &["groups[0].payload", "data/none.bin", "No such"][..],
        ),
        ("{file: data}", 14, &["groups[0].payload", "a directory"]),
        (
            &format!("{{file: data/day.bin, sha256: \"{other}\"}}"),
            14,
            &["groups[0].payload", "another SHA-256"],
        ),
        ("noise", 14, &["payload", "{file: PATH}"]),
    ] {
        let path = plan(payload);
        let place = format!(":3:{column}:");
        let words = [&[path.as_str(), &place], words].concat();
        refused_with(2, &["plan", "check", &path], &words);
        refused(&["--plan", &path], &words);
    }
}
