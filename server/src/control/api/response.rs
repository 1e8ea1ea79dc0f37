//! What a service returns, in gRPC's form.

use metronome_proto::v1::Failure;
use tonic::{Response, Status};

use crate::control::status;

/// A response, or the status of a failure.
pub(super) fn response<T>(result: Result<T, Failure>) -> Result<Response<T>, Status> {
    match result {
        Ok(response) => Ok(Response::new(response)),
        Err(failure) => Err(status::from_failure(&failure)),
    }
}
