//! How long a call may take, and which calls are repeated after a failure.

use std::time::Duration;

use metronome_proto::v1::FailureCode;
use tokio::time::{Instant, sleep};
use tonic::Request;

use super::errors::may_pass;
use crate::exit::Failure;

/// Every response but a watch's is a matter of milliseconds.
pub(super) const RESPONSE_TIME_MAX: Duration = Duration::from_secs(10);
/// A restart takes milliseconds a worker; a worker that does not quit is killed after 2 s.
pub(super) const RESTART_TIME_MAX: Duration = Duration::from_secs(130);
/// The server itself gives an upgrade up after twice its --upgrade-wait, which may be an hour.
pub(super) const UPGRADE_TIME_MAX: Duration = Duration::from_secs(2 * 60 * 60 + 60);
/// An upgrade waits up to 10 s for the runs, unless --upgrade-wait of the server differs, and then
/// takes milliseconds.
const UPGRADING_TIME_MAX: Duration = Duration::from_secs(15);
const UPGRADING_PAUSE: Duration = Duration::from_millis(50);

/// A request that the server has to answer within `time_max`.
pub(super) fn with_deadline<T>(message: T, time_max: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(time_max);
    request
}

/// Repeats a call for as long as the server is being upgraded, and once more when the connection
/// broke under a call that `may_repeat`, as it does when another process has become the server.
pub(super) async fn retried<T, F: Future<Output = Result<T, Failure>>>(
    may_repeat: bool,
    call: impl Fn() -> F,
) -> Result<T, Failure> {
    let give_up_at = Instant::now() + UPGRADING_TIME_MAX;
    let mut may_repeat = may_repeat;
    loop {
        let failure = match call().await {
            Ok(response) => return Ok(response),
            Err(failure) => failure,
        };
        let is_upgrading = failure.code() == FailureCode::Upgrading;
        if is_upgrading && Instant::now() < give_up_at {
            sleep(UPGRADING_PAUSE).await;
        } else if !std::mem::take(&mut may_repeat) || !may_pass(&failure) {
            return Err(failure);
        }
    }
}
