//! How long a call may take, and which calls are repeated after a failure.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

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

/// A request that the server has to answer within [`RESPONSE_TIME_MAX`].
pub(super) fn with_usual_deadline<T>(message: T) -> Request<T> {
    with_deadline(message, RESPONSE_TIME_MAX)
}

/// A request that the server has to answer within `time_max`.
pub(super) fn with_deadline<T>(message: T, time_max: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(time_max);
    request
}

/// Repeats a call for as long as the server is being upgraded, and once more when the connection
/// broke under a call that `may_repeat`, as it does when another process has become the server.
pub(super) async fn retried<T, F: Future<Output = Result<T, Status>>>(
    may_repeat: bool,
    call: impl Fn() -> F,
) -> Result<T, Status> {
    let give_up_at = Instant::now() + UPGRADING_TIME_MAX;
    let mut may_repeat = may_repeat;
    loop {
        let status = match call().await {
            Ok(response) => return Ok(response),
            Err(status) => status,
        };
        if is_upgrading(&status) && Instant::now() < give_up_at {
            sleep(UPGRADING_PAUSE).await;
        } else if !std::mem::take(&mut may_repeat) || !is_broken(&status) {
            return Err(status);
        }
    }
}

/// Whether the connection, and not the request, was at fault, so that another try may succeed.
pub(super) fn is_broken(status: &Status) -> bool {
    // Unknown and Internal are what the library makes of a connection that broke under a stream.
    let codes = [
        Code::Unavailable,
        Code::Cancelled,
        Code::DeadlineExceeded,
        Code::Unknown,
        Code::Internal,
    ];
    codes.contains(&status.code())
}

fn is_upgrading(status: &Status) -> bool {
    status
        .get_details_error_info()
        .is_some_and(|info| info.reason == "UPGRADING")
}
