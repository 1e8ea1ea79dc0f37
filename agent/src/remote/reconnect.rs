//! One session after the other, until this process is asked to end.

use std::time::{Duration, Instant};

use metronome_os::standard_output;
use metronome_proto::v1::Failure;
use tokio_util::sync::CancellationToken;

use super::{
    dial::{dial, server},
    resume_token::ResumeToken,
    runs::Runs,
    session::{SHUTDOWN_TIME_MAX, Session, Stage},
    session_failure::what_next,
};
use crate::{config::RemoteConfig, net::backoff};

/// After a session that lasted this long the server is dialled again at once: it was upgraded, or
/// the network failed for a moment. After a shorter one that would be a loop.
const SESSION_IS_LONG: Duration = Duration::from_secs(1);

/// Serves the server of `config`, however often it goes away, until `shutdown`.
pub(super) async fn serve(config: &RemoteConfig, shutdown: &CancellationToken) {
    let (mut failures, mut is_announced, mut reported) = (0, false, None);
    let (mut runs, mut resume_token) = (Runs::new(), ResumeToken::default());
    loop {
        let (mut welcomed, begun_at) = (false, Instant::now());
        let mut on_stage = |stage| match stage {
            Stage::Welcomed => welcomed = true,
            Stage::TakesPart if !is_announced => {
                is_announced = true;
                announce(config);
            }
            Stage::TakesPart => {}
        };
        let ended = run_session(
            config,
            &mut runs,
            &mut resume_token,
            shutdown,
            &mut on_stage,
        );
        let ended = ended.await;
        let Err(failure) = ended else { break };
        failures = if welcomed {
            u32::from(begun_at.elapsed() < SESSION_IS_LONG)
        } else {
            failures + 1
        };
        // A server that stays away is worth one line, not one a try.
        if welcomed || reported != Some(failure.code()) {
            warn_of(&failure);
        }
        reported = Some(failure.code());
        let wait = if failures == 0 {
            Duration::ZERO
        } else {
            backoff::wait_after(failures, fastrand::f64())
        };
        let waited = shutdown.run_until_cancelled(tokio::time::sleep(wait)).await;
        if waited.is_none() {
            break;
        }
    }
    runs.abort_and_wait(SHUTDOWN_TIME_MAX).await;
}

/// One stream, from dialling to its end: `Ok` after `shutdown`.
async fn run_session(
    config: &RemoteConfig,
    runs: &mut Runs,
    resume_token: &mut ResumeToken,
    shutdown: &CancellationToken,
    on_stage: &mut dyn FnMut(Stage),
) -> Result<(), Failure> {
    let opening = async {
        let client = dial(config).await?;
        Session::open(config, runs, resume_token, client).await
    };
    match shutdown.run_until_cancelled(opening).await {
        Some(session) => session?.serve(shutdown, on_stage).await,
        None => Ok(()),
    }
}

fn warn_of(failure: &Failure) {
    let Failure {
        sentence, remedy, ..
    } = failure;
    let code = failure.code();
    tracing::warn!(
        code = code.name(),
        remedy,
        "{sentence}; {}",
        what_next(code)
    );
}

/// Prints the one line on standard output, which scripts wait for.
fn announce(config: &RemoteConfig) {
    standard_output::announce(&format!(
        "metronome-agent ready: name {} server {}\n",
        config.name,
        server(config).address
    ));
}
