//! What the probes of a run have read and was not reported yet. The prober fills it, the session
//! empties it. Pure.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use metronome_proto::v1;

/// Readings that wait at most, and that a report has: the newest, since each proves most about its
/// own time.
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
        if self.readings.len() == READINGS_MAX {
            self.readings.pop_front();
        }
        self.readings.push_back(reading);
    }

    /// Probes that were sent.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// The readings that were not reported yet. `None` where nothing has happened since.
    pub(crate) fn take(&mut self) -> Option<Vec<v1::ProbeReading>> {
        let is_new = std::mem::take(&mut self.is_new);
        is_new.then(|| self.readings.drain(..).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_the_newest_readings_and_what_was_reported_is_gone() {
        let mut log = ProbeLog::default();
        assert_eq!(log.take(), None);
        for sent_ns in 0..READINGS_MAX as u64 + 5 {
            log.count_sent();
            log.add(v1::ProbeReading {
                sent_ns,
                answered_ns: sent_ns,
                server_ns: 0,
            });
        }
        let readings = log.take().unwrap();
        assert_eq!((readings.len(), readings[0].sent_ns), (READINGS_MAX, 5));
        assert_eq!(log.take(), None);
        log.count_sent();
        assert_eq!(log.take(), Some(Vec::new()), "a probe without an answer");
        assert_eq!(log.sent(), 106);
    }
}
