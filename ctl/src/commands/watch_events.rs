//! `benchctl watch` of events: of everything, of the runs of a filter, or of one run as JSON lines.

use metronome_proto::v1::{self, watch_events_request::Runs};

use super::{context::Context, interrupts::Interrupts};
use crate::{
    client::{Client, Wanted},
    exit::{Exit, Failure},
    render::{json, text},
    terminal,
};

/// Prints events until there are no more, they have no reader left, or Ctrl-C. The exit is that of
/// the one run that is watched.
pub(super) async fn watch(
    context: &Context,
    wanted: impl AsyncFnOnce(&Client) -> Result<Runs, Failure>,
    after: Option<u64>,
) -> Result<Exit, Failure> {
    let interrupts = Interrupts::listen()?;
    let watching = async {
        let client = context.connect().await?;
        let runs = wanted(&client).await?;
        client
            .follow(Wanted { runs, after }, |of| print(context, of))
            .await
    };
    match interrupts.first().run_until_cancelled(watching).await {
        Some(Ok(Some(run))) => Exit::of_run(&run),
        Some(Ok(None)) => Ok(Exit::Done),
        Some(Err(failure)) => Err(failure),
        None => Ok(Exit::Interrupted),
    }
}

/// Prints one event. False when there is no reader any more.
fn print(context: &Context, of: &v1::WatchEventsResponse) -> Result<bool, Failure> {
    let line = if context.lines {
        Some(json::event::event(of))
    } else {
        text::events::event(of)
    };
    if let Some(line) = line {
        terminal::print(&(line + "\n"))?;
    }
    Ok(terminal::has_reader())
}
