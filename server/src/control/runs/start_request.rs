//! What a StartRun asks for, checked: every field is within its limits.

use std::collections::BTreeMap;

use metronome_proto::{
    features,
    limits::REQUEST_ID_BYTES_MAX,
    names::check_labels,
    plan::Plan,
    run_id::RunId,
    v1::{self, Failure, FailureCode, RunState},
};
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::{control::status, store::RequestDigest, wall_clock::timestamp};

/// A request whose every field is within its limits.
pub(super) struct StartRequest {
    /// With the bytes of its records.
    pub(super) plan: Plan,
    /// Empty when the caller gave none.
    pub(super) request_id: String,
    labels: BTreeMap<String, String>,
    /// What identifies the request as it came: two with one digest ask for the same.
    pub(super) digest: RequestDigest,
}

impl StartRequest {
    pub(super) fn check(request: v1::StartRunRequest) -> Result<Self, Failure> {
        // Its maps are ordered, so equal requests have equal bytes.
        let digest = Sha256::digest(request.encode_to_vec()).into();
        let v1::StartRunRequest {
            plan,
            request_id,
            labels,
        } = request;
        let plan =
            plan.ok_or_else(|| status::out_of_range("plan", "missing; it is what to run"))?;
        let plan = check_plan(&plan)?;
        has_its_records(&plan)?;
        plan.check_thresholds()
            .map_err(|error| status::bad_field("plan", error))?;
        check_request_id(&request_id)?;
        check_labels(&labels).map_err(|problem| status::out_of_range("labels", problem))?;
        Ok(Self {
            plan,
            request_id,
            labels,
            digest,
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
            labels: self.labels.clone(),
            plan: Some(self.plan.clone().described().to_proto()),
            state: RunState::Preparing.into(),
            created_at: Some(timestamp(created_unix_ms)),
            ..v1::Run::default()
        }
    }
}

fn check_plan(plan: &v1::Plan) -> Result<Plan, Failure> {
    Plan::try_from(plan).map_err(|error| {
        let is_feature = error.field == "requires";
        let failure = status::bad_field("plan", error);
        match features::missing(&plan.requires, features::CAPABILITIES) {
            Some(feature) if is_feature && failure.code() == FailureCode::Unsupported => {
                Failure::new(FailureCode::Unsupported, failure.sentence).with("feature", feature)
            }
            _ => failure,
        }
    })
}

/// The plan of a stored run only describes its records.
fn has_its_records(plan: &Plan) -> Result<(), Failure> {
    let Some(index) = plan.group_without_records() else {
        return Ok(());
    };
    let field = format!("plan.groups[{index}].payload.records.data");
    let problem = "missing; a stored run has only the name and the hash of its records: give the \
                   file again";
    Err(status::out_of_range(&field, problem))
}

fn check_request_id(id: &str) -> Result<(), Failure> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if id.len() <= REQUEST_ID_BYTES_MAX && id.bytes().all(is_allowed) {
        return Ok(());
    }
    let problem = format!(
        "at most {REQUEST_ID_BYTES_MAX} characters of A-Z, a-z, 0-9, _, . and - are allowed"
    );
    Err(status::out_of_range("request_id", problem))
}

#[cfg(test)]
mod tests {
    use metronome_proto::{
        limits::RECORDS_BYTES_MAX,
        payload::{Payload, Records, sha256},
        profile::Profile,
        threshold::Threshold,
        v1::figure::Value,
    };

    use super::*;

    fn request(change: impl FnOnce(&mut v1::Plan)) -> v1::StartRunRequest {
        let mut plan = v1::Plan {
            groups: vec![v1::Group {
                clients: 2,
                profile: Some(Profile::constant(1_000_000).to_proto()),
                packet_bytes: 132,
                payload: Payload::Records(Records::new("readings.bin", vec![7; 300])).to_proto(),
                ..v1::Group::default()
            }],
            duration: Some(prost_types::Duration {
                seconds: 1,
                nanos: 0,
            }),
            ..v1::Plan::default()
        };
        change(&mut plan);
        v1::StartRunRequest {
            plan: Some(plan),
            ..v1::StartRunRequest::default()
        }
    }

    /// The field that is refused.
    fn refused(change: impl FnOnce(&mut v1::Plan)) -> String {
        let failure = StartRequest::check(request(change)).err().expect("refused");
        assert_eq!(failure.code(), FailureCode::FieldOutOfRange);
        match &failure.figures["field"].value {
            Some(Value::Text(field)) => field.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn records(plan: &mut v1::Plan) -> &mut v1::Records {
        let payload = plan.groups[0].payload.as_mut().unwrap();
        match payload.source.as_mut().unwrap() {
            v1::payload::Source::Records(records) => records,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_run_is_stored_with_its_records_described_and_cannot_be_started_from_that() {
        let request = StartRequest::check(request(|_| {})).unwrap();
        assert_eq!(request.plan.groups[0].payload.data_bytes(), 300);
        let run = request.to_run(RunId::from_bits(7), 0);
        let mut stored = run.plan.unwrap();
        let of_run = records(&mut stored).clone();
        assert!(of_run.data.is_empty());
        assert_eq!((of_run.size, of_run.name.as_str()), (300, "readings.bin"));
        assert_eq!(of_run.sha256, sha256(&[7; 300]));
        let field = "plan.groups[0].payload.records.data";
        assert_eq!(refused(|plan| *plan = stored.clone()), field);
        // With the same file again it is the same run; with another one it is none.
        let again = |byte: u8| {
            let mut plan = stored.clone();
            records(&mut plan).data = vec![byte; 300];
            plan
        };
        assert!(StartRequest::check(self::request(|plan| *plan = again(7))).is_ok());
        assert_eq!(
            refused(|plan| *plan = again(8)),
            "plan.groups[0].payload.records.sha256"
        );
    }

    #[test]
    fn records_are_bounded_and_whole() {
        let data = "plan.groups[0].payload.records.data";
        assert_eq!(refused(|plan| records(plan).data = vec![7; 301]), data);
        let too_many = vec![7; RECORDS_BYTES_MAX / 100 * 100 + 100];
        assert_eq!(refused(|plan| records(plan).data = too_many), data);
    }

    #[test]
    fn a_round_trip_is_judged_only_where_one_is_measured() {
        for metric in ["rtt_from_due", "rtt_from_write"] {
            let threshold: Threshold = format!("{metric}.p99<1ms").parse().unwrap();
            let asks = |plan: &mut v1::Plan| {
                let lost: Threshold = "lost==0".parse().unwrap();
                plan.thresholds = vec![lost.to_proto(), threshold.to_proto()];
            };
            assert_eq!(refused(asks), "plan.thresholds[1]");
            let measured = |plan: &mut v1::Plan| {
                asks(plan);
                plan.groups[0].echo_every = 100;
            };
            assert!(StartRequest::check(request(measured)).is_ok());
        }
    }
}
