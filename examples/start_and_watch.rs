//! Starts a run over the API and follows it to its verdict.
//!
//! ```sh
//! cargo run --release --example start_and_watch -- http://127.0.0.1:50051
//! ```

use metronome_proto::v1::{
    Constant, Group, Plan, Profile, StartRunRequest, WatchEventsRequest, profile::Shape,
    run_service_client::RunServiceClient, watch_events_request::Runs, watch_events_response::Event,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let server = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "http://127.0.0.1:50051".into());
    let mut runs = RunServiceClient::connect(server).await?;
    let rate_millihertz = 1_000_000; // 1,000 packets per second from each client
    let profile = Profile {
        shape: Some(Shape::Constant(Constant { rate_millihertz })),
    };
    let group = Group {
        clients: 10,
        profile: Some(profile),
        ..Group::default()
    };
    let plan = Plan {
        groups: vec![group],
        duration: Some(prost_types::Duration {
            seconds: 2,
            nanos: 0,
        }),
        ..Plan::default()
    };
    let request = StartRunRequest {
        plan: Some(plan),
        ..StartRunRequest::default()
    };
    let Some(run) = runs.start_run(request).await?.into_inner().run else {
        anyhow::bail!("no run in the response")
    };
    println!("run {}", run.run_id);

    let mut events = runs
        .watch_events(WatchEventsRequest {
            runs: Some(Runs::RunId(run.run_id)),
            ..WatchEventsRequest::default()
        })
        .await?
        .into_inner();
    while let Some(response) = events.message().await? {
        match response.event {
            Some(Event::Snapshot(snapshot)) => println!("{:?}", snapshot.state()),
            // It has a report, or a failure when it ended before its first packet.
            Some(Event::RunEnded(run)) => match run.report {
                Some(report) => println!("{:?}", report.verdict),
                None => anyhow::bail!("no report: {:?}", run.failure),
            },
            // Events that were not asked for, and kinds that a later version has.
            _ => {}
        }
    }
    Ok(())
}
