//! What a client has counted: which packets of its schedule were due, sent, skipped or blocked.
//!
//! A packet has two numbers. Its *place* in the schedule counts every packet that was ever due; its
//! *sequence* on the wire counts only those that were sent, so the wire has no gaps. They differ
//! once packets are skipped: `place = sequence + skipped so far`.
//!
//! Places are settled in their order: a packet is sent or skipped before the one at the next place.
//! So the backlog needs no queue; it is the places from `sent + skipped` to `scheduled`. These are
//! skipped, always from the oldest place on:
//!
//! - places that are more than [`BACKLOG_NS_MAX`] overdue, before each write;
//! - what is left when the load is over or the connection breaks, and every place that becomes due
//!   after that;
//! - a packet of which only a part was ever written: its first bytes were sent, but no receiver can
//!   count it.
//!
//! Law: scheduled = sent + skipped in every record.

use metronome_proto::packet::{FLAG_ECHO, Frame, checksum, digest_with};

/// Packets that wait for longer than this are skipped, ns: the connection takes less than the
/// schedule gives, and an unbounded backlog would measure nothing but itself.
pub(super) const BACKLOG_NS_MAX: u64 = 1_000_000_000;

/// The counters of one client.
#[derive(Debug, Default)]
pub(crate) struct ClientCounters {
    scheduled: u64,
    sent: u64,
    skipped: u64,
    blocked: u64,
    /// Places before this one are counted in `blocked` if they belong there.
    blocked_until: u64,
    digest: u64,
    replies_requested: u64,
}

impl ClientCounters {
    /// Packets of the schedule that were due so far.
    #[inline]
    pub(crate) fn scheduled(&self) -> u64 {
        self.scheduled
    }

    /// Packets of which the kernel has taken every byte; also the sequence of the next one.
    #[inline]
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Places of the schedule that were skipped.
    pub(crate) fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Places that became due while the kernel had no room.
    pub(super) fn blocked(&self) -> u64 {
        self.blocked
    }

    /// Order-independent digest of all packets that were sent.
    pub(super) fn digest(&self) -> u64 {
        self.digest
    }

    /// Packets that were sent and asked for a reply.
    pub(super) fn replies_requested(&self) -> u64 {
        self.replies_requested
    }

    /// Places that are sent or skipped; also the place of the next packet.
    #[inline]
    pub(super) fn settled(&self) -> u64 {
        self.sent + self.skipped
    }

    /// Whether packets are due and not settled.
    #[inline]
    pub(super) fn has_backlog(&self) -> bool {
        self.settled() < self.scheduled
    }

    /// Packets that are due and not settled.
    #[inline]
    pub(super) fn backlog(&self) -> u64 {
        self.scheduled - self.settled()
    }

    /// The first `packets` of the schedule are due; returns how many became so.
    #[inline]
    pub(crate) fn schedule(&mut self, packets: u64) -> u64 {
        let more = packets.saturating_sub(self.scheduled);
        self.scheduled += more;
        more
    }

    /// In a flood a packet is due when it is written: what was settled was due, and `unfinished`
    /// packets more. Returns how many became due.
    pub(super) fn schedule_what_was_written(&mut self, unfinished: u64) -> u64 {
        self.schedule(self.settled() + unfinished)
    }

    /// The next packets, with these headers, were written whole. Returns how many of them asked for
    /// a reply, if any may.
    #[inline]
    pub(super) fn count_sent<'a>(
        &mut self,
        headers: impl Iterator<Item = &'a Frame> + Clone,
        ask_for_replies: bool,
    ) -> u64 {
        for header in headers.clone() {
            self.digest = digest_with(self.digest, self.sent, checksum(header));
            self.sent += 1;
        }
        if !ask_for_replies {
            return 0;
        }
        let asks = |header: &&Frame| header[3] & FLAG_ECHO != 0;
        let requests = headers.filter(asks).count() as u64;
        self.replies_requested += requests;
        requests
    }

    /// Skips the places before `place` that are not settled; returns how many.
    pub(super) fn skip_to(&mut self, place: u64) -> u64 {
        let skipped = place.saturating_sub(self.settled());
        self.skipped += skipped;
        skipped
    }

    /// The kernel has no more room, so the whole backlog waits for it. Each place counts once, the
    /// first time. Returns how many were counted.
    pub(super) fn count_blocked(&mut self) -> u64 {
        let more = self
            .scheduled
            .saturating_sub(self.settled().max(self.blocked_until));
        self.blocked += more;
        self.blocked_until = self.scheduled;
        more
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FRAME: Frame = [7; 32];

    #[test]
    fn every_place_is_sent_skipped_or_in_the_backlog() {
        let mut counters = ClientCounters::default();
        assert_eq!(counters.schedule(10), 10);
        counters.count_sent([FRAME; 3].iter(), false);
        assert_eq!((counters.settled(), counters.backlog()), (3, 7));
        assert_eq!(counters.skip_to(5), 2);
        assert_eq!(counters.skip_to(4), 0, "what is settled stays so");
        assert_eq!(counters.schedule(8), 0, "what was due stays so");
        assert_eq!((counters.scheduled(), counters.backlog()), (10, 5));
        counters.count_sent([FRAME; 5].iter(), false);
        assert_eq!((counters.sent(), counters.skipped()), (8, 2));
        assert_eq!(counters.backlog(), 0);
    }

    /// One thing that happens to a client; numbers are of packets.
    #[derive(Clone, Debug)]
    enum Event {
        Due(u64),
        Sent(usize),
        SkippedTo(u64),
        Blocked,
    }

    proptest! {
        #[test]
        fn places_rise_and_all_that_was_scheduled_is_sent_or_skipped_in_the_end(
            events in prop::collection::vec(
                prop_oneof![
                    (0..500_u64).prop_map(Event::Due),
                    (0..64_usize).prop_map(Event::Sent),
                    (0..500_u64).prop_map(Event::SkippedTo),
                    Just(Event::Blocked),
                ],
                0..100,
            ),
        ) {
            let mut counters = ClientCounters::default();
            let (mut scheduled, mut blocked) = (0, 0);
            for event in events {
                let place = counters.settled();
                match event {
                    Event::Due(more) => scheduled += counters.schedule(scheduled + more),
                    Event::Sent(packets) => {
                        let packets = packets.min(counters.backlog() as usize);
                        counters.count_sent(vec![FRAME; packets].iter(), false);
                    }
                    Event::SkippedTo(place) => {
                        counters.skip_to(place.min(counters.scheduled()));
                    }
                    Event::Blocked => blocked += counters.count_blocked(),
                }
                prop_assert!(counters.settled() >= place, "places rise");
                prop_assert!(counters.settled() <= counters.scheduled());
                prop_assert_eq!(counters.scheduled(), scheduled);
            }
            prop_assert_eq!(counters.blocked(), blocked);
            prop_assert!(blocked <= scheduled);
            counters.skip_to(scheduled);
            prop_assert_eq!(counters.sent() + counters.skipped(), scheduled);
        }
    }

    #[test]
    fn a_blocked_place_counts_once() {
        let mut counters = ClientCounters::default();
        counters.schedule(4);
        counters.count_sent([FRAME].iter(), false);
        assert_eq!((counters.count_blocked(), counters.count_blocked()), (3, 0));
        assert_eq!(counters.blocked(), 3);
        counters.schedule(6);
        assert_eq!(counters.count_blocked(), 2);
        assert_eq!(counters.blocked(), 5);
    }
}
