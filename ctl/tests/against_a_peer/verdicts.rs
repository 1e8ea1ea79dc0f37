//! How a run ended: what is printed about it, and the exit code.

use metronome_proto::v1::{
    Failure, FailureCode, Law, LawStatus, Objective, Outcome, OutcomeStatus, Reason, Run, RunState,
    Verdict, VerdictStatus,
};

use crate::{
    ask, json,
    peer::{OTHER_RUN_ID, Peer, RUN_ID, Script, Watch, ended as ended_run, run},
    peer_that,
};

#[test]
fn the_exit_code_is_the_verdicts() {
    for (watch, code, word) in [
        (Watch::Ends(VerdictStatus::Valid), 0, "VALID · not judged"),
        (
            Watch::Ends(VerdictStatus::Partial),
            3,
            "PARTIAL · not judged",
        ),
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

#[test]
fn a_valid_run_that_did_not_hold_exits_with_99_wherever_it_is_shown() {
    fn judged(status: OutcomeStatus) -> Run {
        let mut run = ended_run(VerdictStatus::Valid);
        let objective = Objective {
            status: status.into(),
            sentence: "lost 3 of 10 packets, and 0 were allowed".into(),
            ..Objective::default()
        };
        run.report.as_mut().expect("it has ended").outcome = Some(Outcome {
            status: status.into(),
            objectives: vec![objective],
        });
        run
    }
    let held: fn() -> Run = || judged(OutcomeStatus::Held);
    let not_held: fn() -> Run = || judged(OutcomeStatus::NotHeld);
    for (made, code, head) in [
        (held, 0, "HELD · valid"),
        (not_held, 99, "NOT HELD · valid"),
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
            assert_eq!(ended.code, Some(code), "{ended:?}");
            let first = ended.stdout.lines().next().unwrap_or_default();
            assert_eq!(first, format!("{head}  run {RUN_ID}"));
            let is_named = ended.stdout.contains("\n  lost 3 of 10 packets");
            assert_eq!(is_named, code == 99, "{ended:?}");
        }
        let ended = ask(&shows, &["show", RUN_ID, "-o", "json"]);
        assert_eq!(ended.code, Some(code), "{ended:?}");
        let status = &json(&ended)["outcome"]["objectives"][0]["status"];
        assert_eq!(status == "held", code == 0, "{status}");
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
    let held_without_an_objective: fn() -> Run = || {
        let mut run = ended_run(VerdictStatus::Valid);
        run.report.as_mut().expect("it has ended").outcome = Some(Outcome {
            status: OutcomeStatus::Held.into(),
            ..Outcome::default()
        });
        run
    };
    for (made, code) in [
        (held_without_an_objective, FailureCode::Internal),
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
        lines[0], "  CONNECTION_REFUSED: nothing listens there",
        "as soon as it is there, {ended:?}"
    );
    assert!(lines[1].starts_with("  next  start metronome-server there"));
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
