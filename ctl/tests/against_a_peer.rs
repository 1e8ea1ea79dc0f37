//! benchctl against a peer that plays a script: verdicts and exit codes, broken streams, Ctrl-C.

mod common;
mod peer;

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, Command, Stdio},
};

use metronome_proto::{
    plan::Plan,
    profile::Profile,
    v1::{
        Failure, FailureCode, Law, LawStatus, Reason, Run, RunState, RunView, Verdict,
        VerdictStatus, stop_run_request::Runs,
    },
};
use rustix::process::{Pid, Signal, kill_process};
use tonic::{Code, Status};

use common::{BENCHCTL, Ended, benchctl};
use peer::{OTHER_RUN_ID, Peer, RUN_ID, Script, Watch, ended as ended_run, run, status_of};

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

/// A valid run, and what stands beside its verdict.
fn valid_but(change: impl FnOnce(&mut Run, &mut Verdict)) -> Run {
    let mut run = ended_run(VerdictStatus::Valid);
    let mut report = run.report.take().expect("it has ended");
    let mut verdict = report.verdict.take().expect("it has ended");
    change(&mut run, &mut verdict);
    report.verdict = Some(verdict);
    run.report = Some(report);
    run
}

#[test]
fn a_run_that_contradicts_itself_or_the_request_is_no_success() {
    let another: fn() -> Run = || valid_but(|run, _| run.run_id = OTHER_RUN_ID.into());
    let broken: fn() -> Run = || {
        valid_but(|_, verdict| {
            verdict.laws = vec![Law {
                status: LawStatus::Broken.into(),
                ..Law::default()
            }];
        })
    };
    let with_a_reason: fn() -> Run = || {
        valid_but(|_, verdict| {
            verdict.reasons = vec![Reason {
                status: VerdictStatus::Invalid.into(),
                ..Reason::default()
            }];
        })
    };
    for (made, code) in [
        (another, FailureCode::ServerIncompatible),
        (broken, FailureCode::Internal),
        (with_a_reason, FailureCode::Internal),
    ] {
        let shows = Peer::start(Script {
            shown: Some(made()),
            ..Script::default()
        });
        for ended in [
            ask(&peer_that(&[Watch::EndsAs(made)]), &["start", "-q"]),
            ask(&peer_that(&[Watch::EndsAs(made)]), &["watch", RUN_ID, "-q"]),
            ask(&shows, &["show", RUN_ID]),
        ] {
            assert_eq!(
                (ended.code, ended.stdout.as_str()),
                (Some(1), ""),
                "{ended:?}"
            );
            assert!(ended.stderr.contains(code.remedy()), "{ended:?}");
        }
        let ended = ask(&shows, &["show", RUN_ID, "-o", "json"]);
        assert_eq!(json(&ended)["error"]["code"], code.name());
    }
    let shows = peer_that(&[]);
    let ended = ask(&shows, &["show", "--request-id", "a-request"]);
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let ended = ask(&shows, &["show", "--request-id", "mine"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
}

#[test]
fn a_report_beside_a_state_that_is_not_ended_is_no_success() {
    for state in [40, 65, 70, 80, 99, -3] {
        let peer = Peer::start(Script {
            shown: Some(valid_but(|run, _| run.state = state)),
            ..Script::default()
        });
        let ended = ask(&peer, &["show", RUN_ID]);
        assert_eq!(ended.code, Some(1), "{state}: {ended:?}");
        assert!(!ended.stdout.contains("VALID"), "{ended:?}");
    }
    let unknown: fn() -> Run = || valid_but(|run, _| run.state = 65);
    let failed: fn() -> Run = || valid_but(|run, _| run.state = RunState::Failed.into());
    for made in [unknown, failed] {
        let ended = ask(&peer_that(&[Watch::EndsAs(made)]), &["start", "-q"]);
        assert_eq!(ended.code, Some(1), "{ended:?}");
    }
}

#[test]
fn the_failure_of_a_run_exits_with_1_whatever_its_code() {
    fn failed_with(code: FailureCode) -> Run {
        Run {
            failure: Some(Failure::new(code, "it cannot be done")),
            ..run(RunState::Failed)
        }
    }
    let usage: fn() -> Run = || failed_with(FailureCode::FieldOutOfRange);
    let interrupted: fn() -> Run = || failed_with(FailureCode::Interrupted);
    for made in [usage, interrupted] {
        for output in ["text", "json"] {
            let peer = peer_that(&[Watch::EndsAs(made)]);
            let ended = ask(&peer, &["start", "-q", "-o", output]);
            assert_eq!(ended.code, Some(1), "{ended:?}");
            assert!(
                ended.stderr.starts_with("error: it cannot be done\n"),
                "{ended:?}"
            );
        }
    }
}

#[test]
fn no_text_of_a_server_reaches_the_terminal_with_control_characters() {
    let hostile = || {
        Peer::start(Script {
            is_hostile: true,
            watches: vec![Watch::Aborted],
            ..Script::default()
        })
    };
    for command in [
        "start",
        "start --detach",
        "stop last",
        "stop --all",
        "watch last",
        "delete last",
        "delete 0100000000000000",
        "runs",
        "show last --clients-table",
        "agents",
        "server",
        "doctor",
        "show last -o json",
        "runs -o json",
        "agents -o json",
        "delete 0100000000000000 -o json",
    ] {
        let peer = hostile();
        let ended = ask(&peer, &command.split(' ').collect::<Vec<_>>());
        assert!(!peer.calls().is_empty(), "{command}: {ended:?}");
        for text in [&ended.stdout, &ended.stderr] {
            let harmful = |character: char| character.is_control() && character != '\n';
            assert!(!text.contains(harmful), "{command}: {text:?}");
        }
        let has_text = !(ended.stdout.is_empty() && ended.stderr.is_empty());
        assert!(has_text, "{command}: {ended:?}");
    }
}

#[test]
fn a_run_without_a_report_ends_with_its_failure_and_no_figures() {
    for (watch, sentence, code) in [
        (
            Watch::Failed,
            "nothing listens there",
            FailureCode::ConnectionRefused,
        ),
        (Watch::Aborted, "was aborted", FailureCode::ServerDied),
    ] {
        let ended = ask(&peer_that(&[watch]), &["start", "-q"]);
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (Some(1), ""),
            "{ended:?}"
        );
        let lines: Vec<&str> = ended.stderr.lines().collect();
        assert!(lines[0].starts_with("error: ") && lines[0].contains(sentence));
        assert_eq!(lines[1..], [format!("  {}", code.remedy())]);
    }
    let ended = ask(&peer_that(&[Watch::Failed]), &["start"]);
    let lines: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!(
        lines[0], "  - CONNECTION_REFUSED: nothing listens there",
        "as soon as it is there, {ended:?}"
    );
    assert!(lines[1].starts_with("    → start metronome-server there"));
    assert!(lines.contains(&"preparing  – clients  1 failure  waiting for b"));
    let ended = ask(&peer_that(&[Watch::Failed]), &["start", "-q", "-o", "json"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let object = json(&ended);
    assert_eq!(
        (&object["run_id"], &object["failure"]["code"]),
        (&RUN_ID.into(), &"CONNECTION_REFUSED".into()),
        "{object}"
    );
}

/// The one object on standard output.
fn json(ended: &Ended) -> serde_json::Value {
    serde_json::from_str(&ended.stdout).expect("one JSON value and nothing else")
}

/// What benchctl makes of a failure that the server reports: the exit code, what stands below the
/// sentence on standard error, and the JSON without the sentence.
fn made_of(failure: &Failure, code: Code) -> (Option<i32>, String, serde_json::Value) {
    let agents = Some(status_of(failure, code));
    let peer = Peer::start(Script {
        agents,
        ..Script::default()
    });
    let ended = ask(&peer, &["agents", "-o", "json"]);
    let mut object = json(&ended);
    let error = object["error"].as_object_mut().expect("an object");
    let sentence = error.remove("sentence").expect("a sentence");
    let sentence = sentence.as_str().expect("a text");
    assert!(sentence.ends_with(&failure.sentence), "{sentence}");
    let (first, below) = ended.stderr.split_once('\n').expect("lines");
    assert!(first.ends_with(&failure.sentence), "{ended:?}");
    (ended.code, below.to_owned(), object)
}

#[test]
fn a_change_of_every_sentence_changes_no_code_exit_code_or_remedy() {
    let every_code = (1..1_000).filter_map(|number| FailureCode::try_from(number).ok());
    for code in every_code {
        let status = match code {
            FailureCode::FieldOutOfRange => Code::InvalidArgument,
            FailureCode::ClientsFull | FailureCode::RunsFull => Code::ResourceExhausted,
            FailureCode::RunUnknown => Code::NotFound,
            FailureCode::Draining | FailureCode::Upgrading => Code::Unavailable,
            FailureCode::Internal => Code::Internal,
            _ => Code::FailedPrecondition,
        };
        let right = Failure::new(code, "no agent is connected; `benchctl agents` lists them")
            .with("field", "plan.groups[0].profile.constant.rate_millihertz")
            .with("clients_max", 10_u32)
            .with("agent", "7");
        let scrambled = Failure {
            sentence: "h2 protocol error: Timeout expired: TLS".into(),
            ..right.clone()
        };
        let made = made_of(&right, status);
        assert_eq!(made, made_of(&scrambled, status), "{code:?}");
        let (exit, below, object) = made;
        // Codes of benchctl's own are none that a server may set.
        let code = match code {
            FailureCode::Interrupted | FailureCode::HostFailed => FailureCode::Internal,
            code => code,
        };
        assert_eq!(below, format!("  {}\n", code.remedy()));
        let exit_expected = match code {
            FailureCode::FieldOutOfRange => 2,
            _ => 1,
        };
        assert_eq!(exit, Some(exit_expected), "{code:?}");
        assert_eq!(object["schema_version"], 2);
        assert_eq!(object["error"]["code"], code.name());
        assert_eq!(object["error"]["remedy"], code.remedy());
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
        ["StartRun", "WatchEvents", "StopRun", "WatchEvents"]
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
    assert_eq!(peer.calls(), ["WatchEvents"]);
}

#[test]
fn what_the_server_refuses_is_reported_in_the_words_of_the_command_line() {
    let refused =
        |failure: &Failure, code| ask(&peer_that_refuses(status_of(failure, code)), &["start"]);
    let field = FailureCode::FieldOutOfRange;
    let failure =
        Failure::new(field, "500 are more than 10").with("field", "plan.groups[0].clients");
    let ended = refused(&failure, Code::InvalidArgument);
    assert_eq!(
        (ended.code, ended.stderr),
        (
            Some(2),
            format!(
                "error: --clients: 500 are more than 10\n  {}\n",
                field.remedy()
            )
        )
    );
    let failure = Failure::new(FailureCode::NoAgent, "no agent is connected");
    let ended = refused(&failure, Code::FailedPrecondition);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended
            .stderr
            .starts_with("error: no agent is connected\n  start one with `metronome-agent"),
        "{ended:?}"
    );
    // A code that only a later version has comes with its own remedy.
    let later = Failure {
        code: 999,
        sentence: "it freezes".into(),
        remedy: "wait for spring".into(),
        ..Failure::default()
    };
    let status = status_of(&later, Code::FailedPrecondition);
    let ended = ask(&peer_that_refuses(status), &["start"]);
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (Some(1), "error: it freezes\n  wait for spring\n")
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
    assert_eq!(json(&ended)["run_ids"][0], RUN_ID);
    ask(&peer, &["stop", "--filter", "labels.host = a"]);
    let filter = |text: &str| Runs::Filter(text.into());
    let expected = [
        Runs::RunId(RUN_ID.into()),
        filter(""),
        filter("labels.host = a"),
    ];
    assert_eq!(peer.stopped(), expected);
}

#[test]
fn every_run_that_is_named_is_deleted_or_its_failure_is_printed() {
    let peer = peer_that(&[]);
    let ended = ask(&peer, &["delete", "0199"]);
    assert_eq!((ended.code, ended.stdout), (Some(0), format!("{RUN_ID}\n")));
    let ended = ask(&peer, &["delete", "ff", OTHER_RUN_ID, RUN_ID]);
    assert_eq!((ended.code, ended.stdout), (Some(1), format!("{RUN_ID}\n")));
    let codes = [FailureCode::RunUnknown, FailureCode::RunNotEnded];
    for code in codes {
        assert!(ended.stderr.contains(code.remedy()), "{}", ended.stderr);
    }
    assert_eq!(ended.stderr.matches("error: ").count(), 2);
    let ended = ask(&peer, &["delete", "zzz", "ff"]);
    assert_eq!(ended.code, Some(2), "the highest of theirs: {ended:?}");
    let calls = peer.calls();
    let deletes = calls.iter().filter(|call| **call == "DeleteRun");
    assert_eq!(deletes.count(), 3, "{calls:?}");
}

#[test]
fn a_delete_waits_for_an_upgrade_and_is_not_repeated_when_its_response_is_lost() {
    let upgrading = Failure::new(FailureCode::Upgrading, "another process takes over");
    let upgrading = status_of(&upgrading, Code::Unavailable);
    let lost = Status::unavailable("the connection broke");
    for (deletes, calls, code) in [
        (vec![upgrading.clone(), upgrading.clone()], 3, Some(0)),
        (vec![lost, upgrading], 2, Some(1)),
    ] {
        let peer = Peer::start(Script {
            deletes,
            ..Script::default()
        });
        let ended = ask(&peer, &["delete", RUN_ID]);
        assert_eq!(ended.code, code, "{ended:?}");
        let made = peer.calls();
        let deletes = made.iter().filter(|call| **call == "DeleteRun");
        assert_eq!(deletes.count(), calls, "{made:?}");
    }
}

#[test]
fn a_start_has_one_group_and_its_labels() {
    let peer = peer_that(&[]);
    let flags = "start --detach --clients 3 --rate max --label host=a --label b=c=d --target a:1";
    let ended = ask(&peer, &flags.split(' ').collect::<Vec<_>>());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let started = peer.started().remove(0);
    let labels = [("b", "c=d"), ("host", "a")].map(|(key, value)| (key.into(), value.into()));
    assert_eq!(started.labels, labels.into());
    let plan = Plan::try_from(&started.plan.expect("a plan")).expect("one that is allowed");
    let group = &plan.group;
    assert_eq!(
        (
            group.clients,
            group.profile,
            group.batch,
            group.target.as_str()
        ),
        (3, Profile::Flood, 1024, "a:1")
    );
}

#[test]
fn an_error_in_a_filter_is_shown_at_its_place_whoever_finds_it() {
    let failure = Failure::new(FailureCode::FieldOutOfRange, "ENDED is not listed today")
        .with("field", "filter")
        .with("byte", 8_u32);
    let runs = Some(status_of(&failure, Code::InvalidArgument));
    let stricter = Peer::start(Script {
        runs,
        ..Script::default()
    });
    for (filter, column) in [("state = ENDED", 8), ("state ! ENDED", 6)] {
        let ended = ask(&stricter, &["runs", "--filter", filter]);
        assert_eq!(ended.code, Some(2), "{ended:?}");
        let lines: Vec<&str> = ended.stderr.lines().collect();
        assert!(lines[0].starts_with("error: --filter: "), "{ended:?}");
        let caret = format!("  {:column$}^", "");
        assert_eq!(lines[1..3], [&format!("  {filter}"), &caret], "{ended:?}");
    }
    assert_eq!(
        stricter.calls(),
        ["ListRuns"],
        "the second one is no filter"
    );
}

#[test]
fn a_list_is_asked_for_with_its_filter_and_order_on_every_page() {
    let peer = peer_that(&[]);
    let filter = "labels.host = a";
    ask(&peer, &["runs", "--filter", filter, "--order", "oldest"]);
    let listed = peer.listed();
    assert_eq!(listed.len(), 3);
    for request in listed {
        assert_eq!(
            (
                request.filter.as_str(),
                request.order_by.as_str(),
                request.view()
            ),
            (filter, "created_at", RunView::Basic)
        );
    }
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
        ("agents", "/agents/1/name", serde_json::json!("bench1-8")),
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
