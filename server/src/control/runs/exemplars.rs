//! Packets of runs that can be looked up in their traces, for the histograms of `/metrics`.

use std::sync::{Mutex, MutexGuard, PoisonError};

use metronome_telemetry::SampledSpan;

use crate::metrics::{Exemplar, Exemplars, PacketExemplars};

/// A packet that has a span of its own in a sampled trace.
#[derive(Clone, Debug)]
pub(super) struct TracedPacket {
    pub(super) span: SampledSpan,
    /// When it was read, ns since 1970.
    pub(super) at_unix_ns: u64,
    pub(super) lateness_ns: u64,
    /// From due to read; `None` where the clocks differ.
    pub(super) latency_ns: Option<u64>,
}

/// The newest of each bucket since the server's start.
#[derive(Debug, Default)]
pub(crate) struct TracedPackets(Mutex<PacketExemplars>);

impl TracedPackets {
    /// A run has ended with these.
    pub(super) fn note(&self, packets: Vec<TracedPacket>) {
        let mut kept = self.lock();
        for packet in packets {
            let note = |exemplars: &mut Exemplars, value_ns| {
                exemplars.note(Exemplar {
                    value_ns,
                    at_unix_ns: packet.at_unix_ns,
                    trace_id: packet.span.trace_id.clone(),
                    span_id: packet.span.span_id.clone(),
                });
            };
            note(&mut kept.lateness, packet.lateness_ns);
            if let Some(latency_ns) = packet.latency_ns {
                let transit_ns = latency_ns.saturating_sub(packet.lateness_ns);
                note(&mut kept.transit, transit_ns);
                note(&mut kept.latency, latency_ns);
            }
        }
    }

    /// Those that there are.
    pub(crate) fn exemplars(&self) -> PacketExemplars {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, PacketExemplars> {
        // No code between lock and unlock can leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
