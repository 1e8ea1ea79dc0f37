//! What a server refuses, as benchctl reports it, and text of a server that is hostile.

use metronome_proto::v1::{Failure, FailureCode};
use tonic::{Code, Status};

use crate::{
    ask, json,
    peer::{Peer, Script, Watch, status_of},
    peer_that,
};

fn peer_that_refuses(status: Status) -> Peer {
    Peer::start(Script {
        start: Some(status),
        ..Script::default()
    })
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
        "doctor --quick",
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
            .with("max_clients", 10_u32)
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
