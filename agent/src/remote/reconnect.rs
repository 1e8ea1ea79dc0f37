//! One session after the other, until this process is asked to end.

use std::{
    io::{self, Write as _},
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use super::{
    dial::{dial, refused, url},
    resume_token::ResumeToken,
    runs::Runs,
    session::{SHUTDOWN_TIME_MAX, Session},
};
use crate::{config::RemoteConfig, net::backoff};

/// After a session that lasted this long the server is dialled again at once: it was upgraded, or
/// the network failed for a moment. After a shorter one that would be a loop.
const SESSION_IS_LONG: Duration = Duration::from_secs(1);

/// Serves the server of `config`, however often it goes away, until `shutdown`.
pub(super) async fn serve(config: &RemoteConfig, shutdown: &CancellationToken) {
    let (mut failures, mut is_announced, mut reported) = (0, false, String::new());
    let (mut runs, mut resume_token) = (Runs::new(), ResumeToken::default());
    loop {
        let (mut welcomed, begun_at) = (false, Instant::now());
        let mut on_welcome = || {
            welcomed = true;
            if !std::mem::replace(&mut is_announced, true) {
                announce(config);
            }
        };
        let ended = run_session(
            config,
            &mut runs,
            &mut resume_token,
            shutdown,
            &mut on_welcome,
        );
        let ended = ended.await;
        let Err(reason) = ended else { break };
        failures = if welcomed {
            u32::from(begun_at.elapsed() < SESSION_IS_LONG)
        } else {
            failures + 1
        };
        // A server that stays away is worth one line, not one a try.
        if welcomed || reason != reported {
            tracing::warn!("{reason}; trying again until it is there");
        }
        reported = reason;
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

/// One stream, from dialling to its end: `Ok` after `shutdown`, else one sentence with the reason.
async fn run_session(
    config: &RemoteConfig,
    runs: &mut Runs,
    resume_token: &mut ResumeToken,
    shutdown: &CancellationToken,
    on_welcome: &mut dyn FnMut(),
) -> Result<(), String> {
    let refused = |status| refused(config, &status);
    let opening = async {
        let client = dial(config).await?;
        Session::open(config, runs, resume_token, client)
            .await
            .map_err(refused)
    };
    match shutdown.run_until_cancelled(opening).await {
        Some(session) => session?.serve(shutdown, on_welcome).await.map_err(refused),
        None => Ok(()),
    }
}

/// Prints the one line on standard output, which scripts wait for.
fn announce(config: &RemoteConfig) {
    // Standard output may be closed, which is no reason to stop.
    let mut stdout = io::stdout();
    let _ = writeln!(
        stdout,
        "metronome-agent ready: name {} server {}",
        config.name,
        url(config)
    );
    let _ = stdout.flush();
}
