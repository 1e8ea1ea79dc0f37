//! Broken streams, lost responses and Ctrl-C: what becomes of a run that benchctl follows.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    os::unix::process::ExitStatusExt as _,
    process::{Child, Command, ExitStatus, Stdio},
    thread::sleep,
};

use metronome_os::{end_requests::ONE_REQUEST, signals::is_ignored};
use metronome_proto::v1::VerdictStatus;
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    ask,
    common::BENCHCTL,
    peer::{Peer, RUN_ID, Script, Watch},
    peer_that,
};

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
    send(child, Signal::INT);
}

fn send(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(child.id().cast_signed()).expect("a process id");
    kill_process(pid, signal).expect("it runs");
}

/// A shell ends its loop when a command did, and goes on after one that exits with 130.
#[track_caller]
fn died_of_ctrl_c(status: ExitStatus) {
    assert_eq!(status.signal(), Some(Signal::INT.as_raw()), "{status:?}");
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
        ["StartRun", "WatchEvents", "WatchEvents", "WatchEvents"]
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
        text.starts_with(&format!("error: contact with run {RUN_ID} was lost ")),
        "{text}"
    );
    assert!(text.contains(&format!("benchctl show {RUN_ID}")), "{text}");
    assert_eq!(
        text.lines().count(),
        2,
        "the sentence and the way out: {text}"
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
fn ctrl_c_stops_the_run_and_still_prints_its_summary() {
    let peer = peer_that(&[Watch::Hangs, Watch::Ends(VerdictStatus::Partial)]);
    let (child, _stderr) = start_and_see_progress(&peer);
    interrupt(&child);
    let output = child.wait_with_output().expect("it ends");
    died_of_ctrl_c(output.status);
    assert!(
        String::from_utf8_lossy(&output.stdout).starts_with("PARTIAL"),
        "{output:?}"
    );
    assert_eq!(
        peer.calls(),
        ["StartRun", "WatchEvents", "StopRun", "WatchEvents"]
    );
}

#[test]
fn a_request_to_end_and_the_end_of_the_terminal_leave_a_summary_as_well() {
    // Below `nohup` a terminal's end is ignored, by what is started here as well.
    let signals = [Signal::TERM, Signal::HUP];
    for signal in signals.into_iter().filter(|signal| !is_ignored(*signal)) {
        let peer = peer_that(&[Watch::Hangs, Watch::Ends(VerdictStatus::Partial)]);
        let (child, _stderr) = start_and_see_progress(&peer);
        send(&child, signal);
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(130), "{output:?}");
        assert!(output.stdout.starts_with(b"PARTIAL"), "{output:?}");
    }
}

/// `timeout` sends SIGTERM to its child and at once to the group of both.
#[test]
fn the_signals_of_timeout_are_one_and_leave_the_summary() {
    let peer = peer_that(&[Watch::Hangs, Watch::Ends(VerdictStatus::Partial)]);
    let (child, mut stderr) = start_and_see_progress(&peer);
    send(&child, Signal::TERM);
    let mut line = String::new();
    stderr.read_line(&mut line).expect("a line of text");
    assert!(line.contains("Ctrl-C again"), "{line}");
    for signal in [Signal::TERM, Signal::INT] {
        // The child may have ended by now: its exit is not yet awaited, so the pid is its own.
        send(&child, signal);
    }
    let output = child.wait_with_output().expect("it ends");
    assert!(output.stdout.starts_with(b"PARTIAL"), "{output:?}");
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
        died_of_ctrl_c(output.status);
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
    // Earlier it would be the same Ctrl-C still.
    sleep(ONE_REQUEST);
    interrupt(&child);
    let output = child.wait_with_output().expect("it ends");
    died_of_ctrl_c(output.status);
    assert_eq!(output.stdout, b"");
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
    died_of_ctrl_c(child.wait().expect("it ends"));
    let mut text = String::new();
    stderr.read_to_string(&mut text).expect("text");
    let last = text.lines().last().unwrap_or_default();
    assert!(
        last.contains(&format!("`benchctl watch {RUN_ID}`")),
        "{text}"
    );
    assert!(!text.contains("error"), "it did what was asked: {text}");
    assert_eq!(peer.calls(), ["GetRun", "WatchEvents"]);
}
