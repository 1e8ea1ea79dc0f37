//! How long calls of the API took, by method and status, since the server's start.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use metronome_proto::histogram::Histogram;
use metronome_telemetry::{SampledSpan, rpc_status};
use tonic::Code;

use crate::{
    metrics::{CallFigures, Exemplar, Exemplars},
    wall_clock,
};

/// The histograms since the server's start.
#[derive(Debug, Default)]
pub(crate) struct CallCounters(Mutex<BTreeMap<(String, &'static str), CallTimes>>);

#[derive(Debug, Default)]
struct CallTimes {
    times: Histogram,
    exemplars: Exemplars,
}

impl CallCounters {
    /// A call was answered. `span` is the call's, if it is in a trace that can be looked up.
    pub(crate) fn call_answered(
        &self,
        method: &str,
        status: &'static str,
        took: Duration,
        span: Option<SampledSpan>,
    ) {
        let took_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let mut lock = self.lock();
        let calls = lock.entry((method.to_owned(), status)).or_default();
        calls.times.record(took_ns);
        if let Some(SampledSpan { trace_id, span_id }) = span {
            calls.exemplars.note(Exemplar {
                value_ns: took_ns,
                at_unix_ns: wall_clock::unix_ns(),
                trace_id,
                span_id,
            });
        }
    }

    /// Every kind of call.
    pub(super) fn calls(&self) -> Vec<CallFigures> {
        let calls = self.lock();
        let call = |((method, status), calls): (&(String, &'static str), &CallTimes)| CallFigures {
            method: method.clone(),
            status,
            is_error: is_fault_of_server(status),
            times: calls.times.clone(),
            exemplars: calls.exemplars.clone(),
        };
        calls.iter().map(call).collect()
    }

    /// Continues from the histograms of another server. A status that only the other version has is
    /// left out.
    pub(super) fn restore(&self, calls: Vec<(String, String, Histogram)>) {
        let known = |status: &str| {
            (0..=16)
                .map(|code| rpc_status(Code::from(code)))
                .find(|known| *known == status)
        };
        let mut restored = self.lock();
        for (method, status, times) in calls {
            if let Some(status) = known(&status) {
                let exemplars = Exemplars::default();
                restored.insert((method, status), CallTimes { times, exemplars });
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, &'static str), CallTimes>> {
        // No code between lock and unlock can leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a status is an error of a server: the others are the caller's, which gets them as its
/// answer.
pub(crate) fn is_fault_of_server(status: &str) -> bool {
    let faults = [
        Code::Unknown,
        Code::DeadlineExceeded,
        Code::Unimplemented,
        Code::Internal,
        Code::Unavailable,
        Code::DataLoss,
    ];
    faults
        .into_iter()
        .map(rpc_status)
        .any(|fault| fault == status)
}
