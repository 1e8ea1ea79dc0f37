//! Agents on a real server: honest ones, lying ones, and those that go.

#![allow(
    clippy::unwrap_used,
    reason = "a test may stop at the first thing that is not as it should be"
)]

mod common;

use std::{
    collections::BTreeSet,
    fs::{self, File},
    ops::Range,
    os::unix::fs::FileExt as _,
    path::PathBuf,
    time::{Duration, Instant},
};

use metronome_proto::{
    features::{CAPABILITIES, PROTOCOL_VERSION_MAX, PROTOCOL_VERSION_MIN},
    run_id::RunId,
    v1::{
        self, FailureCode, LawStatus, NoteCode, ReasonCode, RunState, VerdictStatus,
        agent_service_session_request::Message, clock_relation::Relation, figure::Value, start::At,
        stop_run_request::Runs,
    },
};
use rustix::process::{Pid, Signal, kill_process};
use tonic::{Code, Status};

use common::{
    Server,
    agent::{Agent, Pace, register, share, unsent},
    by_id, code, codes, easy_plan, ended, export, figure, plan, received, start, stop, watch,
};

/// Longer than the server keeps a reading of its metrics.
const METRICS_KEPT: Duration = Duration::from_millis(1_100);

async fn start_run(server: &Server, plan: v1::Plan) -> String {
    server.start_run(start(plan, "")).await.run_id
}

fn verdict(run: &v1::Run) -> v1::Verdict {
    run.report.clone().unwrap().verdict.unwrap()
}

/// The code of the failure of a run that has one, and no report.
#[track_caller]
fn failure(run: &v1::Run) -> FailureCode {
    assert_eq!((run.state(), &run.report), (RunState::Failed, &None));
    assert!(run.started_at.is_none() && run.ended_at.is_some());
    run.failure.as_ref().unwrap().code()
}

/// A failure of an agent's own.
fn why(code: FailureCode) -> v1::Failure {
    v1::Failure::new(code, "what happened \x1b[31m").with("address", "192.0.2.7:8888")
}

#[tokio::test]
async fn an_agent_is_listed_when_its_first_renew_comes() {
    let server = Server::start(&["--workers", "1"]);
    let first = Message::Register(register("a"));
    let mut agent = Agent::send_first(&server, first).await.unwrap();
    // It answers the probes that lie before the Renew.
    assert!(agent.receive_renewed_runs().await.is_empty());
    let run_id = start_run(&server, easy_plan(1)).await;
    assert_eq!(share(&agent.receive_prepare().await).clients, 0..1);
    server.runs().await.stop_run(stop(&run_id)).await.unwrap();
}

#[tokio::test]
async fn an_honest_run_is_valid_and_every_client_has_its_row() {
    let server = Server::start(&["--workers", "2"]);
    let mut agent = Agent::register(&server, "honest").await;
    // A second run works like the first.
    for _ in 0..2 {
        let run_id = start_run(&server, easy_plan(5)).await;
        let prepare = agent.receive_prepare().await;
        let own = share(&prepare);
        assert_eq!((own.clients, own.clients_total), (0..5, 5));
        assert_eq!(prepare.requires, ["profile.constant", "phase.auto"]);
        agent.run_honestly(&server, &prepare).await;
        let run = ended(&server, &run_id).await;
        assert_eq!(
            (verdict(&run).status(), codes(&run)),
            (VerdictStatus::Valid, vec![])
        );
        let report = run.report.unwrap();
        let counts = report.counts.unwrap();
        let (generator, receiver) = (counts.generator.unwrap(), counts.receiver.unwrap());
        let packets = [generator.scheduled, generator.sent, receiver.received];
        assert_eq!(packets, [50; 3]);
        let laws = report.verdict.unwrap().laws;
        assert!(!laws.is_empty());
        assert!(
            laws.iter().all(|law| law.status() != v1::LawStatus::Broken),
            "{laws:?}"
        );
        assert_eq!(report.times.unwrap().transit.unwrap().count, 50);
        let rows = export(&server, &run_id, 0).await.unwrap().concat();
        let received = |row: &v1::ClientReport| row.counts.unwrap().receiver.unwrap().received;
        assert_eq!(
            rows.iter()
                .map(|row| (row.client, received(row)))
                .collect::<Vec<_>>(),
            [0, 1, 2, 3, 4].map(|i| (i, 10))
        );
        let resumed = export(&server, &run_id, 3).await.unwrap().concat();
        assert_eq!(resumed, rows[3..]);
        assert!(export(&server, &run_id, 5).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn an_agent_that_claims_the_impossible_makes_its_run_invalid_and_harms_nothing_else() {
    let server = Server::start(&["--http", "127.0.0.1:0"]);
    let mut agent = Agent::register(&server, "liar").await;
    let run_id = start_run(&server, plan(1, 1000, 3_600_000)).await;
    let prepare = agent.receive_prepare().await;
    agent.send_prepared(&prepare.run_id).await;
    agent.receive_start().await;
    server.running(&run_id).await;
    let most = v1::GeneratorCounts {
        replies_read: None,
        replies_requested: None,
        replies_unexpected: None,
        scheduled: u64::MAX,
        sent: u64::MAX,
        skipped: u64::MAX,
        blocked: u64::MAX,
    };
    let progress = v1::Progress {
        sockets: None,
        round_trips: Vec::new(),
        run_id: run_id.clone(),
        counts: Some(most),
        obstacle: Some(why(FailureCode::ConnectionRefused)),
        host_points: Vec::new(),
        groups: Vec::new(),
    };
    agent.send(Message::Progress(progress)).await;
    let record = |client| v1::ClientRecord {
        round_trips: None,
        rtt_from_due_p99_ns: None,
        rtt_from_write_p99_ns: None,
        tcp: None,
        client,
        counts: Some(most),
        digest: u64::MAX,
        acknowledged: Some(u64::MAX),
        kernel_acknowledged_bytes: Some(u64::MAX),
        attempts: u32::MAX,
        failure: Some(v1::Failure {
            code: i32::MAX,
            sentence: format!("\x1b[31m{}", "x".repeat(10_000)),
            ..why(FailureCode::ConnectionBroken)
        }),
    };
    agent
        .send_records(
            &run_id,
            vec![record(0), record(0), record(1), record(u32::MAX)],
        )
        .await;
    let finished = v1::Finished {
        round_trips: Vec::new(),
        run_id: run_id.clone(),
        cpu_ns: Some(i64::MAX),
        writes: Some(u64::MAX),
        oversleep_max_ns: Some(i64::MAX),
        probes_sent: None,
        probe_tcp: None,
        host_points: Vec::new(),
        environment: Some(v1::Environment {
            role: v1::EnvironmentRole::Server.into(),
            name: "another".into(),
            host: "\u{1b}[2J".to_owned() + &"h".repeat(1000),
            cpu_quota_cores: Some(f64::NAN),
            priority: v1::ThreadPriority::RaisedNice.into(),
            ..v1::Environment::default()
        }),
    };
    agent.send(Message::Finished(finished)).await;
    let run = ended(&server, &run_id).await;
    assert_eq!(verdict(&run).status(), VerdictStatus::Invalid);
    let reported = &run.report.as_ref().unwrap().agents[0];
    assert_eq!((reported.cpu_ns, reported.writes), (None, None));
    let [own, stated] = &run.report.as_ref().unwrap().environments[..] else {
        panic!("not two: {:?}", run.report)
    };
    assert_eq!(
        (own.role(), &*own.name),
        (v1::EnvironmentRole::Server, "server")
    );
    assert!(own.cores > Some(0) && !own.kernel.is_empty() && !own.boot_id.is_empty());
    assert_eq!(
        (stated.role(), &*stated.name),
        (v1::EnvironmentRole::Agent, "liar")
    );
    assert_eq!(stated.host, "[2J".to_owned() + &"h".repeat(61));
    assert_eq!(stated.cpu_quota_cores, None);
    let notes = verdict(&run).notes;
    let mut codes_of_notes = notes.iter().map(v1::Note::code);
    assert!(
        codes_of_notes.any(|code| code == v1::NoteCode::NoRealTime),
        "{notes:?}"
    );
    let rows = export(&server, &run_id, 0).await.unwrap().concat();
    assert_eq!(rows[0].attempts, None);
    assert!(
        codes(&run).contains(&ReasonCode::RecordsContradict),
        "{:?}",
        codes(&run)
    );
    let texts = verdict(&run)
        .reasons
        .iter()
        .map(|reason| format!("{reason:?}"))
        .collect::<String>();
    assert!(!texts.contains("\\u{1b}"), "{texts}");

    // What lasts has no more of it than its share: 1 kHz for an hour.
    let sums = || {
        let names = ["sent", "skipped", "lost"];
        names.map(|name| server.metric(&format!("metronome_packets_{name}_total")))
    };
    let [sent, skipped, lost] = sums();
    assert!(
        sent > 0.0 && sent + skipped <= 3_600_000.0,
        "{sent} {skipped}"
    );
    assert!(lost <= 3_600_000.0, "{lost}");
    assert_eq!(
        server.metric("metronome_agent_cpu_packets_total{agent=\"liar\"}"),
        0.0
    );

    let run_id = start_run(&server, plan(1, 1000, 10)).await;
    let prepare = agent.receive_prepare().await;
    agent.run_honestly(&server, &prepare).await;
    let run = ended(&server, &run_id).await;
    assert_eq!(received(&run), 10);
    tokio::time::sleep(METRICS_KEPT).await;
    assert_eq!(sums(), [sent + 10.0, skipped, lost]);
}

/// Writes words near 2^64 to what the ledger of a server holds of the clients of a run: their
/// counters and every histogram.
fn damage_ledger(server: &Server, run: RunId) {
    let folder = format!("/proc/{}/fd", server.pid());
    let is_slots = |path: &PathBuf| {
        let target = fs::read_link(path).unwrap_or_default();
        target
            .to_string_lossy()
            .starts_with("/memfd:metronome-slots")
    };
    let mut files = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let path = files.find(is_slots).expect("the memory of the slots");
    let slots = File::options().read(true).write(true).open(path).unwrap();
    let mut bytes = vec![0; 1 << 20];
    slots.read_exact_at(&mut bytes, 0).unwrap();
    let words = bytes
        .chunks_exact(8)
        .map(|word| u64::from_le_bytes(word.try_into().unwrap()));
    // The run is word 2 of the counters, of which there are two copies: from words 24 and 88 of a
    // slot, which begins with a page.
    let copies = [24, 88];
    let is_of_run = |(place, word): &(usize, u64)| {
        *word == run.bits() && copies.iter().any(|at| at + 2 == place % 512)
    };
    let places = words.enumerate().filter(is_of_run);
    let in_use: BTreeSet<_> = places.map(|(place, _)| place - place % 512).collect();
    assert_eq!(in_use.len(), 2, "a slot for each client");
    let write = |places: Range<usize>| {
        let words = places
            .clone()
            .flat_map(|place| (u64::MAX - place as u64 % 7).to_le_bytes());
        let words: Vec<_> = words.collect();
        slots.write_all_at(&words, places.start as u64 * 8).unwrap();
    };
    for slot in in_use {
        // The groups of buckets in use, and histograms.
        write(slot + 11..slot + 19);
        write(slot + (32 << 10) / 8..slot + (128 << 10) / 8);
        for copy in copies {
            // Bytes, sequence and digest; times; packets of the end; times counted; the counters.
            for places in [4..13, 19..23, 37..49] {
                write(slot + copy + places.start..slot + copy + places.end);
            }
        }
    }
}

#[tokio::test]
async fn words_near_the_largest_in_the_ledger_stop_neither_the_server_nor_its_metrics() {
    for worker_dies in [false, true] {
        run_on_a_damaged_ledger(worker_dies).await;
    }
}

/// The words are those of the worker's last commit when it dies; else it overwrites some of them.
async fn run_on_a_damaged_ledger(worker_dies: bool) {
    let server = Server::start(&["--http", "127.0.0.1:0"]);
    let mut agent = Agent::register(&server, "a").await;
    let run_id = start_run(&server, plan(2, 1000, 3_600_000)).await;
    let prepare = agent.receive_prepare().await;
    let clients = Agent::connect(&server, &prepare);
    agent.send_prepared(&prepare.run_id).await;
    agent.receive_start().await;
    server.running(&run_id).await;
    damage_ledger(&server, run_id.parse().unwrap());
    assert!(server.metric("metronome_packets_received_total") > 1e19);
    let status = server.status().await;
    let get = server.runs().await.get_run(by_id(&run_id)).await;
    assert!(get.unwrap().into_inner().run.is_some());
    let events = server.runs().await.watch_events(watch(&run_id)).await;
    let mut events = events.unwrap().into_inner();
    loop {
        let event = events.message().await.unwrap().unwrap().event.unwrap();
        let v1::watch_events_response::Event::Snapshot(snapshot) = event else {
            continue;
        };
        let receiver = snapshot.receiver.unwrap_or_default();
        if receiver.received == u64::MAX {
            break;
        }
    }
    if worker_dies {
        let pid = status.workers[0].pid.cast_signed();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    }
    server.runs().await.stop_run(stop(&run_id)).await.unwrap();
    agent
        .send_records(&run_id, vec![unsent(0), unsent(1)])
        .await;
    agent.send_finished(&run_id).await;
    drop(clients);
    let run = ended(&server, &run_id).await;
    assert_eq!(verdict(&run).status(), VerdictStatus::Invalid);
    tokio::time::sleep(METRICS_KEPT).await;
    assert_eq!(server.metric("metronome_runs_active"), 0.0);
    let (_folder, status) = server.end(Signal::TERM);
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn a_burst_that_passes_for_a_paced_load_makes_the_run_invalid() {
    let server = Server::start(&[]);
    let mut agent = Agent::register(&server, "hasty").await;
    for (pace, code) in [
        (Pace::AtOnce, ReasonCode::ReadBeforeWritten),
        (Pace::AtOnceAndDueThen, ReasonCode::ScheduleNotFollowed),
    ] {
        let run_id = start_run(&server, easy_plan(2)).await;
        let prepare = agent.receive_prepare().await;
        agent.run(&server, &prepare, pace).await;
        let run = ended(&server, &run_id).await;
        assert_eq!(received(&run), 20, "as many as planned");
        assert_eq!(verdict(&run).status(), VerdictStatus::Invalid, "{pace:?}");
        assert!(codes(&run).contains(&code), "{pace:?} {:?}", codes(&run));
    }
}

#[tokio::test]
async fn the_run_goes_on_without_an_agent_that_is_lost() {
    let server = Server::start(&[]);
    let (lost, mut left) = (
        Agent::register(&server, "a-lost").await,
        Agent::register(&server, "b-left").await,
    );
    let run_id = start_run(&server, easy_plan(2)).await;
    let prepare = left.receive_prepare().await;
    assert_eq!((prepare.agent_index, share(&prepare).clients), (1, 1..2));
    drop(lost);
    left.run_honestly(&server, &prepare).await;
    let run = ended(&server, &run_id).await;
    assert_eq!(
        (verdict(&run).status(), codes(&run)),
        (VerdictStatus::Partial, vec![ReasonCode::AgentLost])
    );
    let cause = verdict(&run).reasons[0].failure.clone().unwrap();
    assert_eq!(cause.code(), FailureCode::AgentLost);
    let agents = &run.report.as_ref().unwrap().agents;
    assert_eq!(agents[0].failure, Some(cause));
    assert_eq!(agents[1].failure, None);
    assert_eq!(received(&run), 10);
}

#[tokio::test]
async fn an_agent_that_never_prepares_spoils_one_run_and_gets_no_other_until_it_is_named() {
    let server = Server::start(&[]);
    let mut hung = Agent::register(&server, "a-hung").await;
    let mut well = Agent::register(&server, "b-well").await;
    let state = async |name: &str| {
        let agents = server.agents().await;
        agents
            .iter()
            .find(|agent| agent.name == name)
            .unwrap()
            .state()
    };
    assert_eq!(state("a-hung").await, v1::AgentState::Available);
    let begun_at = Instant::now();
    let run_id = start_run(&server, easy_plan(2)).await;
    let run = async {
        let prepare = well.receive_prepare().await;
        well.run_honestly(&server, &prepare).await;
        ended(&server, &run_id).await
    };
    // It reads all orders, reports that it is alive, and does nothing else.
    let reads = async {
        loop {
            if let Err(status) = hung.receive().await {
                break status;
            }
        }
    };
    let run = tokio::select! {
        run = run => run,
        status = reads => panic!("its stream has ended: {status}"),
    };
    let seconds = begun_at.elapsed().as_secs();
    assert!((10..25).contains(&seconds), "{seconds} s");
    assert_eq!(codes(&run), [ReasonCode::AgentLost]);
    let reason = &verdict(&run).reasons[0];
    assert_eq!(reason.figures["agent"], "a-hung".into());
    let cause = reason.failure.as_ref().unwrap();
    assert_eq!(cause.code(), FailureCode::PrepareTimedOut);
    assert_eq!(cause.figures["deadline_ns"], 10_000_000_000_i64.into());

    // The next run is the other's alone.
    assert_eq!(state("a-hung").await, v1::AgentState::Unresponsive);
    assert_eq!(state("b-well").await, v1::AgentState::Available);
    let run_id = start_run(&server, easy_plan(2)).await;
    let prepare = well.receive_prepare().await;
    assert_eq!(share(&prepare).clients, 0..2);
    well.run_honestly(&server, &prepare).await;
    assert_eq!(codes(&ended(&server, &run_id).await), []);

    // Where there is no other there is no run.
    drop(well);
    tokio::time::timeout(Duration::from_secs(30), async {
        while server.agents().await.len() > 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
    let mut runs = server.runs().await;
    let refused = runs.start_run(start(easy_plan(1), "")).await.unwrap_err();
    assert_eq!(code(&refused), FailureCode::AgentsUnresponsive);
    assert_eq!(refused.code(), Code::FailedPrecondition);

    // A new session is no answer.
    drop(hung);
    let mut hung = loop {
        if let Ok((agent, _)) = Agent::register_as(&server, register("a-hung")).await {
            break agent;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(state("a-hung").await, v1::AgentState::Unresponsive);

    // Named, it gets another chance. That it cannot prepare is an answer as well.
    let named = common::change(easy_plan(1), |group| {
        group.agents = Some(v1::AgentSelector {
            names: vec!["a-hung".into()],
        });
    });
    let run_id = start_run(&server, named).await;
    let prepare = hung.receive_prepare().await;
    let refused = v1::Failure::new(FailureCode::ConnectionRefused, "no connection");
    hung.send_failed(&prepare.run_id, refused).await;
    assert_eq!(ended(&server, &run_id).await.state(), RunState::Failed);
    assert_eq!(state("a-hung").await, v1::AgentState::Available);
    start_run(&server, easy_plan(1)).await;
}

/// An easy plan that stops when an agent is lost.
fn stops_on_loss(clients: u32) -> v1::Plan {
    v1::Plan {
        on_agent_loss: v1::AgentLoss::Stop.into(),
        ..plan(clients, 10, 3_600_000)
    }
}

#[tokio::test]
async fn a_lost_agent_stops_a_run_of_a_plan_that_asks_for_that() {
    let server = Server::start(&[]);
    let (mut lost, mut left) = (
        Agent::register(&server, "b-lost").await,
        Agent::register(&server, "a-left").await,
    );
    let run_id = start_run(&server, stops_on_loss(2)).await;
    for agent in [&mut lost, &mut left] {
        let prepare = agent.receive_prepare().await;
        agent.send_prepared(&prepare.run_id).await;
    }
    left.receive_start().await;
    server.running(&run_id).await;
    drop(lost);
    assert_eq!(left.receive_stop().await.run_id, run_id);
    left.send_records(&run_id, vec![unsent(0)]).await;
    left.send_finished(&run_id).await;
    let run = ended(&server, &run_id).await;
    assert_eq!(run.state(), RunState::Ended);
    assert_eq!(run.stopped.unwrap().cause(), v1::StopCause::AgentLost);
    let reasons = verdict(&run).reasons;
    let find = |code| reasons.iter().find(|reason| reason.code() == code).unwrap();
    let lost = &find(ReasonCode::AgentLost).figures;
    assert_eq!(lost["agent"], "b-lost".into());
    let stopped = find(ReasonCode::Stopped);
    assert_eq!(stopped.figures["cause"], "agent_lost".into());
    assert!(
        stopped.sentence.contains("an agent was lost"),
        "{stopped:?}"
    );
    let shown = run.plan.unwrap();
    assert_eq!(shown.on_agent_loss(), v1::AgentLoss::Stop);
}

#[tokio::test]
async fn a_run_of_such_a_plan_has_failed_with_the_lost_agents_failure_before_its_first_packet() {
    let server = Server::start(&[]);
    let (mut lost, mut left) = (
        Agent::register(&server, "b-lost").await,
        Agent::register(&server, "a-left").await,
    );
    let run_id = start_run(&server, stops_on_loss(2)).await;
    left.receive_prepare().await;
    lost.receive_prepare().await;
    lost.send_failed(&run_id, why(FailureCode::NoRoute)).await;
    assert_eq!(left.receive_stop().await.run_id, run_id);
    left.send_failed(&run_id, why(FailureCode::Stopped)).await;
    let run = ended(&server, &run_id).await;
    assert_eq!(failure(&run), FailureCode::NoRoute);
    let failure = run.failure.unwrap();
    assert_eq!(failure.figures["agent"], "b-lost".into());
    assert_eq!(run.stopped.unwrap().cause(), v1::StopCause::AgentLost);
}

#[tokio::test]
async fn a_silent_agent_is_lost_after_three_seconds_and_its_name_is_free_again() {
    let server = Server::start(&[]);
    let mut silent = Agent::register(&server, "a1").await;
    let run_id = start_run(&server, plan(1, 1000, 10)).await;
    let heard_at = Instant::now();
    let status = loop {
        if let Err(status) = silent.receive_next().await {
            break status;
        }
    };
    assert!(
        (2..8).contains(&heard_at.elapsed().as_secs()),
        "{:?}",
        heard_at.elapsed()
    );
    assert_eq!(code(&status), FailureCode::AgentSilent);
    let run = ended(&server, &run_id).await;
    assert_eq!(failure(&run), FailureCode::AgentSilent);
    Agent::register(&server, "a1").await;
}

#[tokio::test]
async fn what_an_agent_cannot_do_keeps_its_code_all_the_way_into_the_run() {
    let server = Server::start(&[]);
    let mut agent = Agent::register(&server, "a1").await;
    for reported in [
        FailureCode::RefusedFull,
        FailureCode::WrongProgram,
        FailureCode::NoRoute,
        FailureCode::AgentClientsFull,
    ] {
        let run_id = start_run(&server, plan(1, 1000, 10)).await;
        agent.receive_prepare().await;
        agent.send_failed(&run_id, why(reported)).await;
        let run = ended(&server, &run_id).await;
        assert_eq!(failure(&run), reported);
        let failure = run.failure.as_ref().unwrap();
        assert_eq!(failure.remedy, reported.remedy());
        assert_eq!(failure.figures["address"].to_string(), "192.0.2.7:8888");
        assert!(!failure.sentence.contains('\x1b'));
        assert_eq!(server.get(&run_id).await, run, "stored as it was shown");
        assert!(export(&server, &run_id, 0).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_stop_reaches_the_agents_and_the_run_is_partial() {
    let server = Server::start(&[]);
    let mut agent = Agent::register(&server, "a1").await;
    let mut runs = server.runs().await;
    for filter in [None, Some(""), Some("state != PREPARING AND labels.a != b")] {
        let run_id = start_run(&server, plan(1, 1000, 3_600_000)).await;
        let prepare = agent.receive_prepare().await;
        agent.send_prepared(&prepare.run_id).await;
        agent.receive_start().await;
        // Before its first packet is due it would be FAILED.
        server.running(&run_id).await;
        let request = match filter {
            Some(filter) => v1::StopRunRequest {
                runs: Some(Runs::Filter(filter.into())),
            },
            None => stop(&run_id),
        };
        let none = v1::StopRunRequest {
            runs: Some(Runs::Filter("labels.a = b".into())),
        };
        let stopped = async |request| {
            let response = server.runs().await.stop_run(request).await;
            response.unwrap().into_inner().runs
        };
        assert_eq!(stopped(none).await, []);
        let shown = stopped(request).await;
        assert_eq!((shown.len(), &shown[0].run_id), (1, &run_id));
        assert_eq!(shown[0].state(), RunState::Draining);
        assert_eq!(agent.receive_stop().await.run_id, run_id);
        agent.send_records(&run_id, vec![unsent(0)]).await;
        agent.send_finished(&run_id).await;
        let run = ended(&server, &run_id).await;
        assert!(
            codes(&run).contains(&ReasonCode::Stopped),
            "{:?}",
            codes(&run)
        );
        assert_eq!(run.stopped.unwrap().cause(), v1::StopCause::Operator);
        assert!(run.started_at.is_some());
        // Stopping what has ended changes nothing, and no filter matches it.
        let again = stopped(stop(&run_id)).await;
        assert_eq!(again[0].state(), RunState::Ended);
        assert_eq!(server.get(&run_id).await, run);
        let all = v1::StopRunRequest {
            runs: Some(Runs::Filter(String::new())),
        };
        assert_eq!(stopped(all).await, []);
    }
    let status = runs.stop_run(v1::StopRunRequest::default()).await;
    assert_eq!(code(&status.unwrap_err()), FailureCode::FieldOutOfRange);
}

#[tokio::test]
async fn a_run_stopped_before_its_first_packet_has_failed() {
    let server = Server::start(&[]);
    let mut agent = Agent::register(&server, "a1").await;
    let run_id = start_run(&server, plan(1, 1, 3_600_000)).await;
    agent.receive_prepare().await;
    server.runs().await.stop_run(stop(&run_id)).await.unwrap();
    agent.receive_stop().await;
    agent.send_records(&run_id, vec![unsent(0)]).await;
    agent.send_failed(&run_id, why(FailureCode::Stopped)).await;
    let run = ended(&server, &run_id).await;
    assert_eq!(failure(&run), FailureCode::Stopped);
    assert_eq!(run.stopped.unwrap().cause(), v1::StopCause::Operator);
}

#[tokio::test]
async fn a_renewal_lists_the_runs_that_live_and_no_others() {
    let server = Server::start(&[]);
    let mut agent = Agent::register(&server, "a1").await;
    assert_eq!(agent.receive_renewed_runs().await, [""; 0]);
    let run_id = start_run(&server, easy_plan(1)).await;
    let prepare = agent.receive_prepare().await;
    assert_eq!(
        agent.receive_renewed_runs().await,
        std::slice::from_ref(&run_id)
    );
    agent.run_honestly(&server, &prepare).await;
    ended(&server, &run_id).await;
    // One may have been on its way.
    while agent.receive_renewed_runs().await != [""; 0] {}
}

#[tokio::test]
async fn an_agent_whose_message_is_too_long_breaks_the_protocol() {
    let server = Server::start(&[]);
    let mut agent = Agent::register(&server, "a1").await;
    let run_id = start_run(&server, easy_plan(1)).await;
    agent.receive_prepare().await;
    let sentence = "x".repeat(metronome_proto::MESSAGE_BYTES_MAX);
    let record = v1::ClientRecord {
        failure: Some(v1::Failure {
            sentence,
            ..v1::Failure::default()
        }),
        ..unsent(0)
    };
    agent.send_records(&run_id, vec![record]).await;
    let run = ended(&server, &run_id).await;
    assert_eq!(failure(&run), FailureCode::AgentProtocol);
    let figures = &run.failure.as_ref().unwrap().figures;
    assert_eq!(figures["agent"].to_string(), "a1");
}

async fn refused(server: &Server, register: v1::Register) -> Status {
    match Agent::register_as(server, register).await {
        Err(status) => status,
        Ok(_) => panic!("it was welcome"),
    }
}

#[tokio::test]
async fn a_name_can_be_had_once_and_what_is_out_of_range_not_at_all() {
    let server = Server::start(&[]);
    let _agent = Agent::register(&server, "a1").await;
    let taken = refused(&server, register("a1")).await;
    assert_eq!(taken.code(), Code::AlreadyExists);
    assert_eq!(code(&taken), FailureCode::AgentNameTaken);
    assert_eq!(figure(&taken, "agent"), "a1");
    let wrong = async |field: &str, change: &dyn Fn(&mut v1::Register)| {
        let mut register = register("b");
        change(&mut register);
        let status = refused(&server, register).await;
        assert_eq!(code(&status), FailureCode::FieldOutOfRange);
        assert_eq!(figure(&status, "field"), field);
    };
    for name in ["", "A", "a b", "a\x1b[31m", &"a".repeat(64)] {
        wrong("register.name", &|register| register.name = name.into()).await;
    }
    for max_clients in [0, 10_001, u32::MAX] {
        wrong("register.capacity.max_clients", &|register| {
            register.capacity = Some(v1::Capacity {
                max_clients,
                cores: 1,
            });
        })
        .await;
    }
    wrong("register.capacity.max_clients", &|register| {
        register.capacity = None;
    })
    .await;
    let feature = |bytes: usize| "x".repeat(bytes);
    wrong("register.capabilities", &|register| {
        register.capabilities = vec![feature(65)];
    })
    .await;
    wrong("register.capabilities", &|register| {
        register.capabilities = vec![feature(1); 65];
    })
    .await;
    wrong("register.run_ids", &|register| {
        register.run_ids = vec!["no id".into()];
    })
    .await;
    wrong("register.run_ids", &|register| {
        register.run_ids = vec!["0123456789abcdef".into(); 101];
    })
    .await;
    let first = Agent::send_first(&server, Message::Alive(v1::Alive {})).await;
    let status = first.err().unwrap();
    assert_eq!(
        (status.code(), code(&status)),
        (Code::InvalidArgument, FailureCode::AgentProtocol)
    );
    let listed = server.agents().await;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].name, "a1");
    let Some(Relation::Same(same)) = listed[0].clock.unwrap().relation else {
        panic!("it is on the server's clock")
    };
    assert!(same.bound_ns.unwrap() > 0);
    let capacity = v1::Capacity {
        max_clients: 100,
        cores: 1,
    };
    assert_eq!(listed[0].capacity, Some(capacity));
    assert_eq!(listed[0].protocol_version, PROTOCOL_VERSION_MAX);
    assert_eq!(listed[0].capabilities, CAPABILITIES);
}

#[tokio::test]
async fn a_version_of_the_protocol_that_the_server_does_not_speak_is_refused() {
    let server = Server::start(&[]);
    let speaking = |protocol_version_min, protocol_version_max| v1::Register {
        protocol_version_min,
        protocol_version_max,
        ..register("a1")
    };
    let (least, most) = (PROTOCOL_VERSION_MIN, PROTOCOL_VERSION_MAX);
    for (min, max) in [
        (least - 1, least - 1),
        (most + 1, most + 1),
        (most + 1, 9),
        (u32::MAX, u32::MAX),
    ] {
        let status = refused(&server, speaking(min, max)).await;
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(code(&status), FailureCode::Unsupported);
        let figures = ["protocol_version_min", "protocol_version_max"];
        let spoken = [least, most].map(|version| version.to_string());
        assert_eq!(figures.map(|name| figure(&status, name)), spoken);
    }
    for (min, max) in [(0, 0), (0, 1), (2, 1)] {
        let status = refused(&server, speaking(min, max)).await;
        assert_eq!(code(&status), FailureCode::FieldOutOfRange, "{min} {max}");
        assert_eq!(figure(&status, "field"), "register.protocol_version_min");
    }
    // A newer agent that still speaks the server's version.
    let (_agent, welcome) = Agent::register_as(&server, speaking(1, 9)).await.unwrap();
    assert_eq!(welcome.protocol_version, most);
    assert_eq!(server.agents().await[0].protocol_version, most);
    let status = server.status().await;
    assert_eq!(
        (status.protocol_version_min, status.protocol_version_max),
        (least, most)
    );
}

#[tokio::test]
async fn an_agent_without_a_feature_of_the_plan_is_not_given_the_run() {
    let server = Server::start(&[]);
    let older = v1::Register {
        capabilities: ["profile.flood", "phase.auto", "of.its.own"]
            .map(String::from)
            .to_vec(),
        ..register("older")
    };
    let (mut older, _) = Agent::register_as(&server, older).await.unwrap();
    let mut runs = server.runs().await;
    let status = runs.start_run(start(easy_plan(1), "")).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(code(&status), FailureCode::Unsupported);
    let (agent, feature) = (figure(&status, "agent"), figure(&status, "feature"));
    assert_eq!(
        (agent.as_str(), feature.as_str()),
        ("older", "profile.constant")
    );
    let flood = common::change(plan(1, 1, 1000), |group| {
        group.profile = Some(metronome_proto::profile::Profile::Flood.to_proto());
    });
    let run_id = start_run(&server, flood).await;
    let prepare = older.receive_prepare().await;
    assert_eq!(
        (prepare.run_id, prepare.requires),
        (
            run_id,
            ["profile.flood", "phase.auto"].map(String::from).to_vec()
        )
    );
}

#[tokio::test]
async fn an_agent_gets_its_place_back_with_its_token_and_its_run_goes_on() {
    let server = Server::start(&[]);
    let (mut first, welcome) = Agent::register_as(&server, register("a1")).await.unwrap();
    let run_id = start_run(&server, easy_plan(2)).await;
    let prepare = first.receive_prepare().await;
    let resume = |resume_token: &[u8], run_ids: &[String]| v1::Register {
        resume_token: resume_token.into(),
        run_ids: run_ids.into(),
        ..register("a1")
    };
    let mut wrong = welcome.resume_token.clone();
    wrong[0] ^= 1;
    for token in [&[][..], &wrong, &welcome.resume_token[1..]] {
        let status = refused(&server, resume(token, &[])).await;
        assert_eq!(code(&status), FailureCode::AgentNameTaken);
    }
    // The old stream is open and alive; the new one takes its place and carries the run out.
    let again = resume(&welcome.resume_token, std::slice::from_ref(&run_id));
    let (mut second, again) = Agent::register_as(&server, again).await.unwrap();
    assert_eq!(again.resume_token, welcome.resume_token);
    let replaced = tokio::time::timeout(Duration::from_secs(30), async {
        loop {
            if let Err(status) = first.receive_anything().await {
                return status;
            }
        }
    });
    assert_eq!(code(&replaced.await.unwrap()), FailureCode::AgentLost);
    second.run_honestly(&server, &prepare).await;
    let run = ended(&server, &run_id).await;
    assert_eq!((codes(&run), received(&run)), (vec![], 20));
    assert_eq!(server.agents().await.len(), 1);

    // One that comes back without having answered the order to prepare may not have received it.
    let run_id = start_run(&server, easy_plan(1)).await;
    let prepare = second.receive_prepare().await;
    let resumed = || resume(&welcome.resume_token, &[]);
    let (mut third, _) = Agent::register_as(&server, resumed()).await.unwrap();
    assert_eq!(third.receive_prepare().await, prepare);
    third.send_prepared(&run_id).await;
    third.receive_start().await;
    // After it, one that comes back without its run has lost it.
    let _fourth = Agent::register_as(&server, resumed()).await.unwrap();
    let run = ended(&server, &run_id).await;
    assert_eq!(failure(&run), FailureCode::AgentRestarted);
}

#[tokio::test]
async fn a_clone_of_the_servers_machine_with_the_same_boot_id_is_not_on_its_clock() {
    let server = Server::start(&[]);
    for ahead_ns in [10_000_000_000, -10_000_000_000] {
        let clone = Agent::register_ahead(&server, register("a1"), ahead_ns).await;
        let (mut agent, _) = clone.unwrap();
        let clock = server.agents().await[0].clock.unwrap();
        let Some(Relation::Offset(offset)) = clock.relation else {
            panic!("{ahead_ns}: {clock:?}")
        };
        // The server's reading less the agent's.
        let off_ns = (offset.offset_ns + ahead_ns).abs();
        assert!(off_ns <= offset.bound_ns, "{ahead_ns}: {offset:?}");
        let run_id = start_run(&server, plan(1, 100, 100)).await;
        let probes = agent.receive_prepare().await.probe_every;
        assert!(probes.is_some_and(|every| every.nanos == 20_000_000));
        // It has reported no probe: its clock is not known in the run.
        agent.send_prepared(&run_id).await;
        let at = agent.receive_start().await.at;
        assert!(matches!(at, Some(At::StartIn(_))), "{at:?}");
        drop(agent);
        ended(&server, &run_id).await;
        while !server.agents().await.is_empty() {}
    }
}

#[tokio::test]
async fn an_agent_that_answers_no_probe_takes_part_after_two_seconds_with_an_unknown_clock() {
    let server = Server::start(&[]);
    let begun_at = Instant::now();
    let first = Message::Register(register("a1"));
    let _mute = Agent::send_first(&server, first).await.unwrap();
    let listed = loop {
        if let Some(agent) = server.agents().await.pop() {
            break agent;
        }
    };
    assert!(begun_at.elapsed().as_millis() >= 2_000);
    let unknown = Some(Relation::Unknown(v1::UnknownClock {}));
    assert_eq!(listed.clock.unwrap().relation, unknown);
}

/// Sends every packet of an order in time while the agent goes on to read and answer, for two
/// renewals; then reports. `meanwhile` comes once the run is under way.
async fn run_and_answer(
    server: &Server,
    agent: &mut Agent,
    run_id: &str,
    meanwhile: impl FnOnce(&mut Agent),
) -> v1::Run {
    let prepare = agent.receive_prepare().await;
    let clients = Agent::connect(server, &prepare);
    agent.send_prepared(run_id).await;
    let Some(At::StartAtNs(start_ns)) = agent.receive_start().await.at else {
        panic!("it is on the server's clock")
    };
    let sending: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            let prepare = prepare.clone();
            std::thread::spawn(move || client.send(&prepare, start_ns, Pace::Honest))
        })
        .collect();
    server.running(run_id).await;
    meanwhile(agent);
    for _ in 0..2 {
        agent.receive_renewed_runs().await;
    }
    let records = sending.into_iter().map(|client| client.join().unwrap());
    agent.send_records(run_id, records.collect()).await;
    agent.send_finished(run_id).await;
    ended(server, run_id).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_contradicted_in_a_run_takes_the_one_way_times_with_it_and_no_law() {
    let server = Server::start(&[]);
    for ahead_ns in [-1_000_000_000, 0, 1_000_000_000] {
        let mut agent = Agent::register(&server, "a1").await;
        let run_id = start_run(&server, plan(2, 50, 3_000)).await;
        let change = |agent: &mut Agent| agent.ahead_ns = ahead_ns;
        let run = run_and_answer(&server, &mut agent, &run_id, change).await;
        let is_one = ahead_ns == 0;
        let report = run.report.as_ref().unwrap();
        let times = report.times.as_ref().unwrap();
        let one_way = [times.transit.is_some(), times.latency.is_some()];
        assert_eq!(one_way, [is_one; 2], "{ahead_ns}");
        assert!(times.lateness.is_some());
        let clock = report.agents[0].clock.unwrap().relation.unwrap();
        assert_eq!(matches!(clock, Relation::Same(_)), is_one);
        let notes: Vec<_> = verdict(&run).notes.iter().map(v1::Note::code).collect();
        assert_eq!(
            notes.contains(&NoteCode::ClockContradicted),
            !is_one,
            "{notes:?}"
        );
        for law in verdict(&run).laws {
            let needs_one_clock = law.code() == ReasonCode::ReadBeforeWritten;
            if needs_one_clock && !is_one {
                assert_eq!(law.status(), LawStatus::NotCheckable, "{law:?}");
            } else {
                assert_ne!(law.status(), LawStatus::Broken, "{law:?}");
            }
        }
        drop(agent);
        while !server.agents().await.is_empty() {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_stopped_does_not_hold_its_own_silence_against_its_agents() {
    let server = Server::start(&[]);
    let mut agent = Agent::register(&server, "a1").await;
    let run_id = start_run(&server, plan(2, 50, 6_000)).await;
    let run = run_and_answer(&server, &mut agent, &run_id, |_| {
        server.signal(Signal::STOP);
        std::thread::sleep(Duration::from_millis(3_500));
        server.signal(Signal::CONT);
    })
    .await;
    let agents = &run.report.as_ref().unwrap().agents;
    assert_eq!(agents[0].failure, None, "its lease is its own affair");
    assert!(
        !codes(&run).contains(&ReasonCode::AgentLost),
        "{:?}",
        codes(&run)
    );
    let notes = verdict(&run).notes;
    let paused = notes
        .iter()
        .find(|note| note.code() == NoteCode::ServerPaused);
    let Some(Value::Integer(pause_ns)) = paused.unwrap().figures["pause_ns"].value else {
        panic!("{notes:?}")
    };
    assert!(
        (3_000_000_000..5_000_000_000).contains(&pause_ns),
        "{pause_ns}"
    );
}

#[tokio::test]
async fn late_unknown_and_malformed_messages_do_no_harm() {
    let server = Server::start(&[]);
    let mut agent = Agent::register(&server, "a1").await;
    for run_id in ["0123456789abcdef", "0000000000000000"] {
        agent.send_prepared(run_id).await;
        agent.send_records(run_id, vec![unsent(0); 1000]).await;
        agent.send_finished(run_id).await;
    }
    let run_id = start_run(&server, easy_plan(1)).await;
    let prepare = agent.receive_prepare().await;
    agent.run_honestly(&server, &prepare).await;
    agent.send_finished(&run_id).await;
    let run = ended(&server, &run_id).await;
    assert_eq!(verdict(&run).status(), VerdictStatus::Valid);

    agent.send_prepared("no run id").await;
    let status = agent.receive().await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(code(&status), FailureCode::AgentProtocol);
}

#[tokio::test]
async fn a_final_report_of_a_run_that_has_not_begun_is_a_fault_of_the_agent() {
    let server = Server::start(&[]);
    let mut agent = Agent::register(&server, "hasty").await;
    let run_id = start_run(&server, easy_plan(1)).await;
    agent.receive_prepare().await;
    agent.send_finished(&run_id).await;
    let run = ended(&server, &run_id).await;
    assert_eq!(failure(&run), FailureCode::AgentProtocol);
}

#[tokio::test]
async fn an_agent_cannot_fail_with_a_code_that_is_not_an_agents() {
    let server = Server::start(&[]);
    let mut agent = Agent::register(&server, "forger").await;
    for (reported, expected) in [
        (FailureCode::Interrupted, FailureCode::AgentProtocol),
        (FailureCode::AgentPortsFull, FailureCode::AgentPortsFull),
    ] {
        let run_id = start_run(&server, easy_plan(1)).await;
        agent.receive_prepare().await;
        agent.send_failed(&run_id, why(reported)).await;
        let run = ended(&server, &run_id).await;
        assert_eq!(failure(&run), expected);
    }
}
