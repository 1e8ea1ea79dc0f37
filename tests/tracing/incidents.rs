//! What goes wrong in a run is an event of the span that it happened to, and what failed is marked.

use std::{
    io::{self, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    thread,
};

use rustix::process::{Signal, kill_process};

use crate::{
    common::{
        collector::{Collector, Span},
        json_of, wait_until,
    },
    observed::Observed,
};

/// Batches go out at once, so that those of a process that will be killed are seen.
const AT_ONCE: [(&str, &str); 1] = [("OTEL_BSP_SCHEDULE_DELAY", "50")];

#[test]
fn what_fails_is_marked_and_what_happened_is_an_event() {
    let collector = Collector::start();
    let mut observed = Observed::start(&collector, &[]);
    let child = observed.begin_run(&[]);
    kill_process(observed.worker(0).unwrap(), Signal::KILL).unwrap();
    wait_until("the death is noticed", || {
        (observed.look()["recoveries"]["deaths"] == 1).then_some(())
    });
    observed.agent.child.kill().unwrap();
    let (result, code) = json_of(child.wait_with_output().unwrap());
    assert!([3, 4].contains(&code), "{result:#}");
    // No agent is left to start a run with.
    let refused = observed.benchctl(&["start"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    observed.server.signal(Signal::TERM);
    assert!(observed.server.wait().success());

    let run = collector.wait_for("the run", |span| span.name == "run");
    assert_eq!(run.status, 2, "{run:?}");
    assert!(
        run.event("worker died").attributes["metronome.text"].contains("went on elsewhere"),
        "{run:#?}"
    );
    assert_eq!(run.event("agent lost").attributes["metronome.agent"], "a1");
    assert!(
        run.event("verdict reason")
            .attributes
            .contains_key("metronome.code"),
        "{run:#?}"
    );
    let call = collector.wait_for("the refused call", |span| {
        span.kind == 3
            && span
                .attributes
                .get("rpc.response.status_code")
                .is_some_and(|code| code == "FAILED_PRECONDITION")
    });
    assert_eq!(
        (call.status, call.attributes["error.type"].as_str()),
        (2, "FAILED_PRECONDITION")
    );
    let root = collector.wait_for("the refused command", |span| span.id == call.parent);
    assert_eq!((root.name.as_str(), root.status), ("benchctl start", 2));
}

#[test]
fn a_worker_that_hangs_dies_and_one_that_is_relieved_hands_over() {
    let collector = Collector::start();
    let observed = Observed::start(&collector, &[]);
    let child = observed.begin_run(&[]);
    kill_process(observed.worker(0).unwrap(), Signal::STOP).unwrap();
    wait_until("it is killed", || {
        (observed.look()["recoveries"]["deaths"] == 1).then_some(())
    });
    let others = [observed.worker(0), observed.worker(1)];
    // SIGHUP does the same, but under nohup it is ignored.
    let restart = observed.benchctl(&["server", "restart-workers"]).output();
    assert!(restart.unwrap().status.success());
    wait_until("both were restarted", || {
        let now = [observed.worker(0), observed.worker(1)];
        (now[0] != others[0] && now[1] != others[1] && now[0].is_some() && now[1].is_some())
            .then_some(())
    });
    assert!(
        observed
            .benchctl(&["stop", "--all"])
            .output()
            .unwrap()
            .status
            .success()
    );
    let (result, _) = json_of(child.wait_with_output().unwrap());
    assert_eq!(
        result["counts"]["sent"], result["counts"]["received"],
        "{result:#}"
    );
    observed.end();

    let run = collector.wait_for("the run", |span| span.name == "run");
    let incidents: Vec<&str> = run
        .event_names()
        .into_iter()
        .filter(|name| name.starts_with("worker "))
        .collect();
    assert_eq!(
        incidents,
        [
            "worker hangs",
            "worker died",
            "worker handed over",
            "worker handed over"
        ],
        "{run:#?}"
    );
    assert!(
        run.event("worker hangs").attributes["metronome.text"].contains("worker 0"),
        "{run:#?}"
    );
    let of_others = collector
        .spans()
        .into_iter()
        .filter(|span| span.id != run.id);
    let strays: Vec<Span> = of_others
        .filter(|span| {
            span.event_names()
                .iter()
                .any(|name| name.contains("worker"))
        })
        .collect();
    assert!(strays.is_empty(), "{strays:#?}");
}

/// The span of the agent's part, once it reports that the lease is lost; it lies in the run's
/// trace.
fn agent_that_lost_its_lease(collector: &Collector) -> Span {
    let part = collector.wait_for("the agent's part", |span| span.name == "agent a1");
    let call = collector.wait_for("the order", |span| {
        span.kind == 3 && span.name.ends_with("/StartRun")
    });
    assert_eq!((part.status, &part.trace), (2, &call.trace), "{part:#?}");
    assert!(part.event_names().contains(&"load generated"), "{part:#?}");
    part
}

#[test]
fn a_lease_that_is_not_renewed_is_reported_by_the_agent_while_the_server_is_away() {
    let collector = Collector::start();
    let observed = Observed::start(&collector, &AT_ONCE);
    let child = observed.begin_run(&[]);
    observed.server.signal(Signal::STOP);
    let part = agent_that_lost_its_lease(&collector);
    assert_eq!(
        part.event("the run failed here").attributes["metronome.code"],
        "LEASE_OVER"
    );
    observed.server.signal(Signal::CONT);
    let (result, code) = json_of(child.wait_with_output().unwrap());
    assert!(
        [3, 4].contains(&code),
        "without its agent's report a run is partial, late ones are invalid: {result:#}"
    );
    observed.end();
    let run = collector.wait_for("the run", |span| span.name == "run");
    assert_eq!(
        (
            &part.parent,
            run.event("agent lost").attributes["metronome.agent"].as_str()
        ),
        (&run.id, "a1")
    );
}

#[test]
fn a_server_that_is_gone_is_reported_by_the_agent_when_its_lease_ends() {
    let collector = Collector::start();
    let mut observed = Observed::start(&collector, &AT_ONCE);
    let child = observed.begin_run(&[]);
    collector.wait_for("the order", |span| {
        span.kind == 3 && span.name.ends_with("/StartRun")
    });
    observed.server.child.kill().unwrap();
    let part = agent_that_lost_its_lease(&collector);
    assert_eq!(
        part.event("the run failed here").attributes["metronome.code"],
        "LEASE_OVER"
    );
    assert!(!child.wait_with_output().unwrap().status.success());
}

/// A proxy before the data port that does `act` with each connection, the first one being number 0.
fn stand_before(
    server: &Observed,
    act: impl Fn(usize, TcpStream, TcpStream) + Send + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let behind = server.server.ready_word("data");
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            act(
                number,
                stream.unwrap(),
                TcpStream::connect(&behind).unwrap(),
            );
        }
    });
    address
}

fn pass_on(mut from: TcpStream, mut to: TcpStream) {
    thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
}

#[test]
fn a_client_that_had_to_try_twice_is_one_event_of_the_one_span_that_connects() {
    let collector = Collector::start();
    let observed = Observed::start(&collector, &[]);
    let target = stand_before(&observed, |number, agent, server| {
        // The first one is dropped here, before its hello was answered.
        if number > 0 {
            pass_on(agent.try_clone().unwrap(), server.try_clone().unwrap());
            pass_on(server, agent);
        }
    });
    let (result, _) = observed.run(&[
        "--clients",
        "3",
        "--rate",
        "100",
        "--duration",
        "200ms",
        "--target",
        &target,
    ]);
    assert_eq!(result["counts"]["received"], 60, "{result:#}");
    observed.end();
    let spans: Vec<Span> = collector
        .spans()
        .into_iter()
        .filter(|span| span.name == "connect")
        .collect();
    assert_eq!(spans.len(), 1, "one span, not one a client: {spans:#?}");
    let retried: Vec<_> = spans[0]
        .events
        .iter()
        .filter(|event| event.name == "client retried")
        .collect();
    assert_eq!(
        (
            retried.len(),
            retried[0].attributes["metronome.tries"].as_str()
        ),
        (1, "2"),
        "{spans:#?}"
    );
    assert!(
        retried[0].attributes["metronome.took_ms"]
            .parse::<f64>()
            .unwrap()
            > 0.0,
        "{spans:#?}"
    );
    assert_eq!(spans[0].status, 0);
}

#[test]
fn a_client_that_cannot_connect_reports_why_and_fails_its_step_and_the_run() {
    let collector = Collector::start();
    let observed = Observed::start(&collector, &[]);
    let target = stand_before(&observed, |_, mut agent, _| {
        agent.write_all(&[b'?'; 32]).unwrap();
    });
    let (result, code) = observed.run(&[
        "--clients",
        "1",
        "--rate",
        "100",
        "--duration",
        "200ms",
        "--target",
        &target,
    ]);
    assert_eq!(
        (&result["state"], &result["failure"]["code"], code),
        (&"failed".into(), &"WRONG_PROGRAM".into(), 1),
        "{result:#}"
    );
    observed.end();
    let connect = collector.wait_for("the connecting", |span| span.name == "connect");
    assert_eq!(connect.status, 2);
    let failed = connect.event("client failed");
    assert_eq!(
        failed.attributes["metronome.code"], "WRONG_PROGRAM",
        "{connect:#?}"
    );
    for name in ["agent a1", "run"] {
        assert_eq!(
            collector.wait_for(name, |span| span.name == name).status,
            2,
            "{name}"
        );
    }
}
