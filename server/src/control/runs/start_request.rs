//! What a StartRun asks for, checked: every field is within its limits.

use metronome_proto::{
    plan::Plan,
    run_id::RunId,
    v1::{self, RunState},
};
use metronome_telemetry::sanitise;
use tonic::Status;

use crate::{control::status, wall_clock::timestamp};

const REQUEST_ID_BYTES_MAX: usize = 64;
const LABEL_BYTES_MAX: usize = 128;

/// A request whose every field is within its limits.
pub(super) struct StartRequest {
    pub(super) plan: Plan,
    /// Empty when the caller gave none.
    pub(super) request_id: String,
    label: String,
}

impl StartRequest {
    pub(super) fn check(request: v1::StartRunRequest) -> Result<Self, Status> {
        let plan = request
            .plan
            .ok_or_else(|| status::bad_field("plan", "missing; say what to run"))?;
        let plan = Plan::try_from(&plan).map_err(|error| status::bad_plan(&error))?;
        let id = request.request_id;
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        if id.len() > REQUEST_ID_BYTES_MAX || !id.bytes().all(is_allowed) {
            let problem = format!(
                "at most {REQUEST_ID_BYTES_MAX} characters of A-Z, a-z, 0-9, _, . and - are allowed"
            );
            return Err(status::bad_field("request_id", &problem));
        }
        if request.label.len() > LABEL_BYTES_MAX
            || sanitise::printable(&request.label, LABEL_BYTES_MAX) != request.label
        {
            let problem =
                format!("at most {LABEL_BYTES_MAX} bytes without control characters are allowed");
            return Err(status::bad_field("label", &problem));
        }
        Ok(Self {
            plan,
            request_id: id,
            label: request.label,
        })
    }

    /// The run that this request makes, PREPARING.
    pub(super) fn to_run(&self, id: RunId, created_unix_ms: u64) -> v1::Run {
        let request_id = if self.request_id.is_empty() {
            format!("run-{id}")
        } else {
            self.request_id.clone()
        };
        v1::Run {
            run_id: id.to_string(),
            request_id,
            plan: Some(self.plan.to_proto()),
            state: RunState::Preparing.into(),
            created_at: Some(timestamp(created_unix_ms)),
            ended_at: None,
            report: None,
            label: self.label.clone(),
        }
    }
}
