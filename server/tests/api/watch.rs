//! The events of a run: snapshots while it goes on, and its end.

use metronome_proto::v1::{RunState, watch_events_response::Event};
use tokio_stream::StreamExt as _;

use crate::common::{Server, agent::Agent, easy_plan, ended, plan, received, start, watch};

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_sees_snapshots_twice_a_second_and_then_the_end() {
    let server = Server::start(&[]);
    let mut agent = Agent::register(&server, "a1").await;
    let mut runs = server.runs().await;
    let run = server.start_run(start(plan(2, 100, 1500), "")).await;
    assert_eq!(run.state(), RunState::Preparing);
    let events = runs
        .watch_events(watch(&run.run_id))
        .await
        .unwrap()
        .into_inner();
    let prepare = agent.receive_prepare().await;
    let watching = tokio::spawn(events.map(Result::unwrap).collect::<Vec<_>>());
    agent.run_honestly(&server, &prepare).await;
    let events = watching.await.unwrap();
    let numbers: Vec<_> = events.iter().map(|event| event.number).collect();
    assert!(numbers[0] > 0 && numbers.is_sorted_by(|one, next| one < next));
    let events = events.into_iter().map(|event| event.event.unwrap());
    let mut events: Vec<_> = events.collect();
    let Some(Event::RunEnded(last)) = events.pop() else {
        panic!("the end comes last")
    };
    let snapshots: Vec<_> = events
        .into_iter()
        .map(|event| match event {
            Event::Snapshot(snapshot) => snapshot,
            other => panic!("{other:?}: the end comes once"),
        })
        .collect();
    assert!(
        snapshots.len() >= 4,
        "{} snapshots in 1.5 s",
        snapshots.len()
    );
    assert!(
        snapshots
            .iter()
            .any(|snapshot| snapshot.state() == RunState::Running
                && snapshot.clients_connected == Some(2))
    );
    // What is not known comes before what is, and what is known only rises.
    assert!(snapshots.is_sorted_by_key(|snapshot| (
        snapshot.elapsed.is_some(),
        snapshot.receiver.map(|counts| counts.received),
        snapshot.generator.map(|counts| counts.sent)
    )));
    assert_eq!((snapshots[0].elapsed, snapshots[0].generator), (None, None));
    let draining = snapshots
        .iter()
        .filter(|snapshot| snapshot.state() == RunState::Draining);
    // A watcher may miss them, as any snapshot.
    for snapshot in draining {
        assert_eq!(snapshot.received_millihertz, None);
    }
    assert_eq!(received(&last), 300);
    let since_1970 = |at: Option<prost_types::Timestamp>| {
        let at = at.unwrap();
        (at.seconds, at.nanos)
    };
    let [created, started, over] =
        [last.created_at, last.started_at, last.ended_at].map(since_1970);
    assert!(created <= started && started < over, "{last:?}");
    assert!(
        over.0 - started.0 >= 1,
        "1.5 s of schedule lie between them"
    );

    // A run that has ended: the end alone, and the same as GetRun returns.
    assert_eq!(ended(&server, &run.run_id).await, last);
    assert_eq!(server.get(&run.run_id).await, last);
}

#[tokio::test]
async fn a_watcher_sees_the_clients_connect_before_the_run_starts() {
    let server = Server::start(&[]);
    let mut agent = Agent::register(&server, "a1").await;
    let run = server.start_run(start(easy_plan(4), "")).await;
    let prepare = agent.receive_prepare().await;
    let _clients = Agent::connect(&server, &prepare);
    let events = server.runs().await.watch_events(watch(&run.run_id)).await;
    let mut events = events.unwrap().into_inner();
    loop {
        let event = events.message().await.unwrap().unwrap().event.unwrap();
        let Event::Snapshot(snapshot) = event else {
            panic!("it has ended")
        };
        assert_eq!(snapshot.state(), RunState::Preparing);
        if snapshot.clients_connected == Some(4) {
            break;
        }
    }
}
