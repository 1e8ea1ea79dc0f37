//! Starts a run over the API and follows it to its verdict.
//!
//! ```sh
//! cargo run --release --example start_and_watch -- http://127.0.0.1:50051
//! ```

use metronome_proto::v1::{
    Plan, StartRunRequest, WatchRunRequest, operator_service_client::OperatorServiceClient,
    watch_run_response::Event,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let server = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "http://127.0.0.1:50051".into());
    let mut operator = OperatorServiceClient::connect(server).await?;
    let plan = Plan {
        clients: 10,
        rate_hz: 1_000.0,
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
    let Some(run) = operator.start_run(request).await?.into_inner().run else {
        anyhow::bail!("no run in the response")
    };
    println!("run {}", run.run_id);

    let mut events = operator
        .watch_run(WatchRunRequest { run_id: run.run_id })
        .await?
        .into_inner();
    while let Some(response) = events.message().await? {
        match response.event {
            Some(Event::Snapshot(snapshot)) => println!("{:?}", snapshot.state()),
            Some(Event::Ended(run)) => {
                println!("{:?}", run.report.and_then(|report| report.verdict));
            }
            None => {}
        }
    }
    Ok(())
}
