//! What the probes of a run have read and was not reported yet. The prober fills it, the session
//! empties it. Pure.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use metronome_proto::v1;

/// Readings that wait at most: those of a run's first second. The newest are kept, since each
/// proves most about its own time.
const WAITING_MAX: usize = 500;
/// Readings that a report has at most.
const READINGS_MAX: usize = 100;

/// A log that two threads have. Both hold it for moments only.
#[derive(Debug, Default)]
pub(crate) struct SharedLog(Mutex<ProbeLog>);

impl SharedLog {
    pub(crate) fn lock(&self) -> MutexGuard<'_, ProbeLog> {
        // What a thread that panicked has left is a log all the same.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What all probes of a run have shown and was not reported yet.
#[derive(Debug, Default)]
pub(crate) struct ProbeLog {
    sent: u64,
    readings: VecDeque<v1::ProbeReading>,
    /// A probe has been sent since the last report.
    is_new: bool,
}

impl ProbeLog {
    pub(super) fn count_sent(&mut self) {
        self.sent += 1;
        self.is_new = true;
    }

    pub(super) fn add(&mut self, reading: v1::ProbeReading) {
        self.is_new = true;
        if self.readings.len() == WAITING_MAX {
            self.readings.pop_front();
        }
        self.readings.push_back(reading);
    }

    /// Probes that were sent.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// The readings that were not reported yet, the oldest of them as far as a report has room.
    /// `None` where nothing has happened since.
    pub(crate) fn take(&mut self) -> Option<Vec<v1::ProbeReading>> {
        let many = self.readings.len().min(READINGS_MAX);
        let is_new = std::mem::replace(&mut self.is_new, self.readings.len() > many);
        is_new.then(|| self.readings.drain(..many).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_have_the_newest_readings_in_order_and_what_was_reported_is_gone() {
        let mut log = ProbeLog::default();
        assert_eq!(log.take(), None);
        for sent_ns in 0..WAITING_MAX as u64 + 5 {
            log.count_sent();
            log.add(v1::ProbeReading {
                sent_ns,
                answered_ns: sent_ns,
                server_ns: 0,
            });
        }
        for first_ns in (5..WAITING_MAX as u64).step_by(READINGS_MAX) {
            let readings = log.take().unwrap();
            let report = (readings.len(), readings[0].sent_ns);
            assert_eq!(report, (READINGS_MAX, first_ns));
        }
        assert_eq!(log.take(), None);
        log.count_sent();
        assert_eq!(log.take(), Some(Vec::new()), "a probe without an answer");
        assert_eq!(log.sent(), WAITING_MAX as u64 + 6);
    }
}
