//! benchctl against a peer that plays a script: verdicts and exit codes, broken streams, Ctrl-C.

mod common;
mod peer;

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, Command, Stdio},
};

use metronome_proto::v1::VerdictStatus;
use rustix::process::{Pid, Signal, kill_process};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use common::{BENCHCTL, Ended, benchctl};
use peer::{Peer, RUN_ID, Script, Watch};

fn peer_that(watches: &[Watch]) -> Peer {
    Peer::start(Script {
        watches: watches.to_vec(),
        ..Script::default()
    })
}

fn peer_that_refuses(status: Status) -> Peer {
    Peer::start(Script {
        start: Some(status),
        ..Script::default()
    })
}

fn ask(peer: &Peer, arguments: &[&str]) -> Ended {
    benchctl(&[&["--server", &peer.address], arguments].concat())
}

/// benchctl started and seen to make progress.
fn start_and_see_progress(peer: &Peer) -> (Child, BufReader<std::process::ChildStderr>) {
    let mut child = Command::new(BENCHCTL)
        .args(["--server", &peer.address, "start"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("benchctl starts");
    let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
    let mut line = String::new();
    stderr.read_line(&mut line).expect("a line of text");
    assert!(line.contains("sent 5"), "{line}");
    (child, stderr)
}

fn interrupt(child: &Child) {
    let pid = Pid::from_raw(child.id().cast_signed()).expect("a process id");
    kill_process(pid, Signal::INT).expect("it runs");
}

#[test]
fn the_exit_code_is_the_verdicts() {
    for (watch, code, word) in [
        (Watch::Ends(VerdictStatus::Valid), 0, "VALID"),
        (Watch::Ends(VerdictStatus::Partial), 3, "PARTIAL"),
        (Watch::Ends(VerdictStatus::Invalid), 4, "INVALID"),
        (Watch::Aborted, 1, "ABORTED"),
    ] {
        let ended = ask(&peer_that(&[watch]), &["start"]);
        assert_eq!(ended.code, Some(code), "{ended:?}");
        assert!(
            ended.stdout.starts_with(&format!("{word}  run {RUN_ID}")),
            "{ended:?}"
        );
        assert!(ended.stderr.contains("sent 5"), "progress: {ended:?}");
    }
}

#[test]
fn json_is_exactly_one_object_with_the_clients() {
    let ended = ask(
        &peer_that(&[Watch::Ends(VerdictStatus::Valid)]),
        &["start", "-o", "json", "-q"],
    );
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (Some(0), ""),
        "{ended:?}"
    );
    let object: serde_json::Value =
        serde_json::from_str(&ended.stdout).expect("one JSON value and nothing else");
    assert_eq!(object["verdict"]["status"], "valid");
    assert_eq!(object["clients"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_broken_watch_is_taken_up_again() {
    let peer = peer_that(&[
        Watch::Breaks,
        Watch::Breaks,
        Watch::Ends(VerdictStatus::Valid),
    ]);
    let ended = ask(&peer, &["start"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(
        peer.calls(),
        ["StartRun", "WatchRun", "WatchRun", "WatchRun"]
    );
}

#[test]
fn a_server_that_stays_away_ends_the_watch_with_one_sentence() {
    let peer = peer_that(&[Watch::Hangs]);
    let (child, mut stderr) = start_and_see_progress(&peer);
    drop(peer);
    let mut text = String::new();
    stderr.read_to_string(&mut text).expect("text");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(
        (output.status.code(), output.stdout.as_slice()),
        (Some(1), &b""[..]),
        "{text}"
    );
    assert!(
        text.starts_with(&format!("error: contact with run {RUN_ID} was lost: ")),
        "{text}"
    );
    assert!(text.contains(&format!("benchctl show {RUN_ID}")), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
}

#[test]
fn ctrl_c_stops_the_run_and_still_prints_its_summary() {
    let peer = peer_that(&[Watch::Hangs, Watch::Ends(VerdictStatus::Partial)]);
    let (child, _stderr) = start_and_see_progress(&peer);
    interrupt(&child);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130));
    assert!(
        String::from_utf8_lossy(&output.stdout).starts_with("PARTIAL"),
        "{output:?}"
    );
    assert_eq!(
        peer.calls(),
        ["StartRun", "WatchRun", "StopRun", "WatchRun"]
    );
}

#[test]
fn a_lost_response_is_requested_once_more_under_the_same_id() {
    let watches = vec![Watch::Ends(VerdictStatus::Valid)];
    let peer = Peer::start(Script {
        lost_responses: 1,
        watches,
        ..Script::default()
    });
    let ended = ask(&peer, &["start"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let ids = peer.request_ids();
    assert!(
        ids.len() == 2 && ids[0] == ids[1] && ids[0].len() == 32,
        "{ids:?}"
    );
    assert_eq!(ask(&peer, &["start"]).code, Some(1), "its script is over");
    assert_ne!(peer.request_ids()[2], ids[0], "another run has another id");

    let peer = Peer::start(Script {
        lost_responses: 2,
        ..Script::default()
    });
    let ended = ask(&peer, &["start", "--request-id", "mine"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(peer.request_ids(), ["mine", "mine"]);
}

#[test]
fn ctrl_c_before_the_run_has_an_id_stops_it_once_it_has() {
    for detach in [&[][..], &["--detach"]] {
        let (respond, respond_when) = tokio::sync::oneshot::channel();
        // A watch that is begun when the stop comes is left.
        let watches = vec![Watch::Ends(VerdictStatus::Partial); 2];
        let peer = Peer::start(Script {
            respond_when: Some(respond_when),
            watches,
            ..Script::default()
        });
        let mut child = Command::new(BENCHCTL)
            .args(["--server", &peer.address, "start"])
            .args(detach)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("benchctl starts");
        let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
        while peer.calls().is_empty() {
            std::thread::yield_now();
        }
        interrupt(&child);
        let mut line = String::new();
        stderr.read_line(&mut line).expect("a line of text");
        assert!(
            line.contains("as soon as the server has reported its id"),
            "{line}"
        );
        respond.send(()).expect("the peer waits");
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(130), "{output:?}");
        assert!(peer.calls().contains(&"StopRun"), "{:?}", peer.calls());
    }
}

#[test]
fn a_second_ctrl_c_gives_up_at_once() {
    let peer = peer_that(&[Watch::Hangs, Watch::Hangs]);
    let (child, mut stderr) = start_and_see_progress(&peer);
    interrupt(&child);
    let mut line = String::new();
    stderr.read_line(&mut line).expect("a line of text");
    assert!(line.contains("Ctrl-C again"), "{line}");
    interrupt(&child);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(
        (output.status.code(), output.stdout.as_slice()),
        (Some(130), &b""[..])
    );
}

#[test]
fn ctrl_c_on_a_watch_leaves_the_run_alone() {
    let peer = peer_that(&[Watch::Hangs]);
    let mut child = Command::new(BENCHCTL)
        .args(["--server", &peer.address, "watch", RUN_ID])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("benchctl starts");
    let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
    let mut line = String::new();
    stderr.read_line(&mut line).expect("a line of text");
    interrupt(&child);
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    assert_eq!(peer.calls(), ["WatchRun"]);
}

#[test]
fn what_the_server_refuses_is_reported_in_the_words_of_the_command_line() {
    let details = ErrorDetails::with_bad_request_violation("plan.clients", "500 are more than 10");
    let peer = peer_that_refuses(Status::with_error_details(
        Code::InvalidArgument,
        "bad plan",
        details,
    ));
    let ended = ask(&peer, &["start"]);
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (Some(2), "error: --clients: 500 are more than 10\n")
    );

    let ended = ask(
        &peer_that_refuses(Status::failed_precondition("no agent is connected")),
        &["start"],
    );
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.stderr.starts_with("error: no agent is connected; "),
        "{ended:?}"
    );
    assert!(
        ended.stderr.contains("metronome-agent --server"),
        "{ended:?}"
    );

    let ended = ask(
        &peer_that_refuses(Status::resource_exhausted("10 clients are in use")),
        &["start"],
    );
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (Some(1), "error: 10 clients are in use\n")
    );
}

#[test]
fn flags_of_the_embedded_server_mean_nothing_to_another() {
    let peer = peer_that(&[]);
    let ended = ask(&peer, &["start", "--workers", "3"]);
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (Some(2), ""),
        "{ended:?}"
    );
    assert!(ended.stderr.starts_with("error: --workers: "), "{ended:?}");
    assert!(peer.calls().is_empty());
}

#[test]
fn detached_the_id_alone_is_printed() {
    let ended = ask(&peer_that(&[]), &["start", "--detach"]);
    assert_eq!((ended.code, ended.stdout), (Some(0), format!("{RUN_ID}\n")));
    let ended = ask(&peer_that(&[]), &["start", "--detach", "-o", "json"]);
    let object: serde_json::Value = serde_json::from_str(&ended.stdout).expect("one JSON object");
    assert_eq!(object["run_id"], RUN_ID);
}

#[test]
fn a_run_may_be_named_by_a_prefix_or_as_the_last() {
    let peer = peer_that(&[]);
    for name in ["last", "0199", RUN_ID] {
        let ended = ask(&peer, &["show", name, "--clients-table"]);
        assert_eq!(ended.code, Some(3), "{name}: {ended:?}");
        assert!(ended.stdout.contains("CLIENT  AGENT"), "{ended:?}");
    }
    assert_eq!(
        ask(&peer, &["stop", "01"]).code,
        Some(2),
        "two runs begin with 01"
    );
    assert_eq!(
        ask(&peer, &["stop", "02"]).code,
        Some(1),
        "no run begins with 02"
    );
    let ended = ask(&peer, &["stop", "last"]);
    assert_eq!((ended.code, ended.stdout), (Some(0), format!("{RUN_ID}\n")));
    let ended = ask(&peer, &["stop", "--all", "-o", "json"]);
    let object: serde_json::Value = serde_json::from_str(&ended.stdout).expect("one JSON object");
    assert_eq!(object["run_ids"][0], RUN_ID);
}

#[test]
fn lists_follow_the_pages_and_are_one_object_each_in_json() {
    let peer = peer_that(&[]);
    assert_eq!(
        ask(&peer, &["runs"]).stdout.lines().count(),
        3,
        "a head and two pages of a run"
    );
    assert_eq!(
        ask(&peer, &["runs", "--limit", "1"]).stdout.lines().count(),
        2
    );
    for (command, pointer, expected) in [
        ("runs", "/runs/1/state", serde_json::json!("aborted")),
        ("agents", "/agents/0/name", serde_json::json!("bench1-7")),
        ("server", "/raw/packets", serde_json::json!(7)),
    ] {
        let ended = ask(&peer, &[command, "-o", "json"]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let object: serde_json::Value =
            serde_json::from_str(&ended.stdout).expect("one JSON object");
        assert_eq!(
            object.pointer(pointer),
            Some(&expected),
            "{command}: {object}"
        );
    }
}
