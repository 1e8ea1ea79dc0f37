//! How long calls of the API took, by method and status, since the server's start.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use metronome_proto::histogram::Histogram;
use metronome_telemetry::rpc_status;
use tonic::Code;

/// The histograms since the server's start.
#[derive(Debug, Default)]
pub(crate) struct CallCounters(Mutex<BTreeMap<(String, &'static str), Histogram>>);

impl CallCounters {
    /// A call was answered.
    pub(crate) fn call_answered(&self, method: &str, status: &'static str, took: Duration) {
        let took_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.lock()
            .entry((method.to_owned(), status))
            .or_default()
            .record(took_ns);
    }

    /// Method, status and times of every kind of call.
    pub(super) fn calls(&self) -> Vec<(String, &'static str, Histogram)> {
        let calls = self.lock();
        let call = |((method, status), times): (&(String, &'static str), &Histogram)| {
            (method.clone(), *status, times.clone())
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
                restored.insert((method, status), times);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, &'static str), Histogram>> {
        // No code between lock and unlock can leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
