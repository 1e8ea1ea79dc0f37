//! What the commands ask of a server, and what they print of its answer.

use metronome_proto::{
    plan::Plan,
    profile::Profile,
    v1::{
        self, Failure, FailureCode, Run, RunState, RunView, payload::Source, stop_run_request::Runs,
    },
};
use tonic::{Code, Status};

use crate::{
    Ended, Peer, Script, ask, json,
    peer::{OTHER_RUN_ID, RUN_ID, run, status_of},
    peer_that,
};

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
    let filters: Vec<String> = peer.listed().into_iter().map(|it| it.filter).collect();
    for prefix in ["run_id = 0199", "run_id = 01", "run_id = 02"] {
        assert!(filters.iter().any(|filter| filter == prefix), "{filters:?}");
    }
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
fn to_stop_a_run_that_has_ended_is_no_error_and_reported_as_nothing_to_stop() {
    let ended_at = prost_types::Timestamp {
        seconds: 1_764_189_000,
        nanos: 0,
    };
    let had_ended = Run {
        ended_at: Some(ended_at),
        ..run(RunState::Ended)
    };
    let stopping = |stops: &[Run]| {
        Peer::start(Script {
            stops: Some(stops.to_vec()),
            ..Script::default()
        })
    };
    let peer = stopping(&[had_ended]);
    let ended = ask(&peer, &["stop", RUN_ID]);
    let sentence = format!("run {RUN_ID} had ended at 2025-11-26T20:30:00.000Z: nothing to stop\n");
    assert_eq!((ended.code, ended.stdout), (Some(0), sentence));
    let object = json(&ask(&peer, &["stop", RUN_ID, "-o", "json"]));
    assert_eq!(object["run_ids"], serde_json::json!([]));
    let already = &object["already_ended"][0];
    assert_eq!(already["run_id"], RUN_ID);
    assert_eq!(already["state"], "ended");
    assert_eq!(already["ended_at"], "2025-11-26T20:30:00.000Z");
    let peer = stopping(&[]);
    for arguments in [
        &["stop", "--all"][..],
        &["stop", "--filter", "state = running"],
    ] {
        let ended = ask(&peer, arguments);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(ended.stdout.ends_with(": nothing to stop\n"), "{ended:?}");
    }
}

#[test]
fn a_wait_reports_what_it_waits_for_once() {
    let unavailable = Status::unavailable("");
    let peer = Peer::start(Script {
        agents: Some(unavailable),
        ..Script::default()
    });
    let wait = ["start", "--wait", "1500ms"];
    let ended = ask(&peer, &wait);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let notes = |ended: &Ended| ended.stderr.matches("waiting up to ").count();
    assert_eq!(notes(&ended), 1, "{ended:?}");
    assert!(ended.stderr.starts_with("waiting up to 2 s: "), "{ended:?}");
    let ended = ask(&peer, &[&wait[..], &["--quiet"]].concat());
    assert_eq!(notes(&ended), 0, "{ended:?}");
    let agent_that_is_missing = ["--agent", "bench1-7", "--agent", "a1", "--detach"];
    let ended = ask(
        &peer_that(&[]),
        &[&wait[..], &agent_that_is_missing].concat(),
    );
    let missing = "1 of 2 agents of --agent are connected; missing: a1";
    assert!(ended.stderr.contains(missing), "{ended:?}");
    assert_eq!(notes(&ended), 1, "{ended:?}");
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
    let ended = ask(&peer, &["delete", "01", "ff"]);
    assert_eq!(ended.code, Some(2), "the highest of theirs: {ended:?}");
    let ended = ask(&peer, &["delete", RUN_ID, "zzz"]);
    assert_eq!(ended.code, Some(2), "nothing is deleted then: {ended:?}");
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
    let group = &plan.groups[0];
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
fn a_start_of_a_file_is_its_plan_with_what_flags_replace() {
    let peer = peer_that(&[]);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/plans/mixed.yaml");
    let flags = "--seed 9 --duration 3s --threshold skipped==0 --no-default-objectives";
    let start = ["start", "--detach", "--plan", path];
    let ended = ask(
        &peer,
        &[&start[..], &flags.split(' ').collect::<Vec<_>>()].concat(),
    );
    assert_eq!(
        ended.code,
        Some(2),
        "a step of it begins after 4 s: {ended:?}"
    );
    assert!(peer.started().is_empty());
    let flags = flags.replace("3s", "20s");
    let ended = ask(
        &peer,
        &[&start[..], &flags.split(' ').collect::<Vec<_>>()].concat(),
    );
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let plan = peer.started().remove(0).plan.expect("a plan");
    let plan = Plan::try_from(&plan).expect("one that is allowed");
    assert_eq!((plan.seed, plan.duration.as_secs()), (9, 20));
    assert_eq!(
        (plan.thresholds.len(), plan.has_default_objectives),
        (3, false)
    );
    let groups: Vec<_> = plan
        .groups
        .iter()
        .map(|group| group.name.as_str())
        .collect();
    assert_eq!(groups, ["sensors", "users", "feeds", "alarms"]);
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

#[test]
fn a_run_that_cannot_be_read_is_named_once_and_hides_no_other() {
    let newest = "01ffffffffffffff";
    let peer = Peer::start(Script {
        unreadable: vec![newest.into(), "00ffffffffffffff".into()],
        ..Script::default()
    });
    let ended = ask(&peer, &["runs", "-o", "json"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let object = json(&ended);
    assert_eq!(object["runs"].as_array().map(Vec::len), Some(2));
    assert_eq!(object["unreadable_run_ids"][0], newest);
    assert_eq!(
        ended.stderr.matches("cannot be read").count(),
        1,
        "{ended:?}"
    );
    assert!(ended.stderr.contains("2 runs cannot be read"), "{ended:?}");
    let ended = ask(&peer, &["show", "last", "-o", "json"]);
    assert_eq!(ended.code, Some(1), "no older run is the last: {ended:?}");
    let error = &json(&ended)["error"];
    assert_eq!(error["code"], "HISTORY_DAMAGED");
    assert_eq!(error["figures"]["run_id"], newest);
    let remedy = error["remedy"].as_str().expect("a way out");
    assert!(
        remedy.contains(&format!("benchctl show {RUN_ID}")),
        "{remedy}"
    );
    let ended = ask(&peer, &["delete", "01ff"]);
    assert_eq!(ended.code, Some(1), "the peer has no such run: {ended:?}");
    assert!(
        peer.calls().contains(&"DeleteRun"),
        "it can be removed by its prefix"
    );
}

/// A file of two records of ten bytes, of a name that no other test has.
fn records(name: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, b"one recordtwo record").expect("a file can be written");
    path.to_str().expect("a path").to_owned()
}

fn source(plan: &v1::Plan, group: usize) -> Option<Source> {
    plan.groups[group].payload.clone()?.source
}

#[test]
fn a_start_brings_size_payload_and_echo() {
    let peer = peer_that(&[]);
    let path = records("requests-start.bin");
    let start = [
        "start",
        "--detach",
        "--packet-size",
        "42",
        "--echo-every",
        "100",
    ];
    for payload in ["pattern", "zeros", "agent:day.bin", &path] {
        let ended = ask(&peer, &[&start[..], &["--payload", payload]].concat());
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
    let group = format!("name=a packet-size=42 echo-every=7 payload={path}");
    let ended = ask(&peer, &["start", "--detach", "--group", &group]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ask(&peer, &["start", "--detach"]);
    let plans = peer
        .started()
        .into_iter()
        .map(|of| of.plan.expect("a plan"));
    let plans: Vec<v1::Plan> = plans.collect();
    let sized = plans.iter().map(|plan| {
        let group = &plan.groups[0];
        (group.packet_bytes, group.echo_every)
    });
    let sized: Vec<_> = sized.collect();
    assert_eq!(
        sized,
        [(42, 100), (42, 100), (42, 100), (42, 100), (42, 7), (32, 0)]
    );
    assert_eq!(source(&plans[0], 0), Some(Source::Pattern(v1::Pattern {})));
    assert_eq!(source(&plans[1], 0), None);
    let Some(Source::File(file)) = source(&plans[2], 0) else {
        panic!("{:?}", plans[2]);
    };
    assert_eq!(file.name, "day.bin");
    for plan in &plans[3..5] {
        let Some(Source::Records(records)) = source(plan, 0) else {
            panic!("{plan:?}");
        };
        assert_eq!(records.data, b"one recordtwo record");
        assert_eq!(records.name, path);
    }
}

#[test]
fn a_run_with_records_is_shown_as_a_plan_and_repeated_with_its_file_alone() {
    let path = records("requests-rerun.bin");
    let described = v1::Records {
        name: "day.bin".into(),
        data: Vec::new(),
        size: 20,
        sha256: metronome_proto::payload::sha256(b"one recordtwo record").into(),
    };
    let mut had = run(RunState::Ended);
    let mut plan = had.plan.take().unwrap_or_default();
    plan.groups = vec![v1::Group {
        name: "default".into(),
        clients: 1,
        profile: Some(Profile::constant(1_000_000).to_proto()),
        packet_bytes: 42,
        payload: Some(v1::Payload {
            source: Some(Source::Records(described)),
        }),
        ..v1::Group::default()
    }];
    plan.duration = Some(prost_types::Duration {
        seconds: 1,
        nanos: 0,
    });
    plan.threads = 1;
    had.plan = Some(plan);
    let peer = Peer::start(Script {
        shown: Some(had),
        ..Script::default()
    });
    let shown = ask(&peer, &["plan", "show", RUN_ID]);
    assert_eq!(shown.code, Some(0), "{shown:?}");
    assert!(
        shown.stdout.contains("# A run does not keep its records"),
        "{shown:?}"
    );
    assert!(
        shown
            .stdout
            .contains("    payload: {file: \"day.bin\", sha256: "),
        "{shown:?}"
    );
    let missing = ask(&peer, &["rerun", RUN_ID]);
    assert_eq!(missing.code, Some(2), "{missing:?}");
    assert!(
        missing.stderr.contains("\"day.bin\", 20 bytes"),
        "{missing:?}"
    );
    let other = format!("{path}.other");
    std::fs::write(&other, b"two recordone record").expect("a file can be written");
    let other = ask(&peer, &["rerun", RUN_ID, "--payload", &other]);
    assert_eq!(other.code, Some(2), "{other:?}");
    assert!(
        other.stderr.contains("is not the file that the run had"),
        "{other:?}"
    );
    assert_eq!(peer.started(), []);
    let again = ask(&peer, &["rerun", RUN_ID, "--detach", "--payload", &path]);
    assert_eq!(again.code, Some(0), "{again:?}");
    let plan = peer.started().remove(0).plan.expect("a plan");
    let Some(Source::Records(records)) = source(&plan, 0) else {
        panic!("{plan:?}");
    };
    assert_eq!(records.data, b"one recordtwo record");
    assert_eq!(records.name, "day.bin");
}
