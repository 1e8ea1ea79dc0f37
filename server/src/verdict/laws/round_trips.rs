//! The law of the times of round trips: those that an agent reports can have been.
//!
//! How many there are is the law of [`super::replies`]. Their times are the agent's own, so they
//! are held against each other and, on this host's clock, against what the workers have measured: a
//! reply is written after its packet was read, and a packet is written after it was due. What holds
//! for each packet holds for the distributions: of the longer times no more lie below a bucket's
//! top than of the shorter ones. Times are ns.

use std::collections::BTreeSet;

use metronome_proto::{
    histogram::{BUCKETS, Histogram, beyond, bucket, shown_ns},
    v1::{self, ReasonCode},
};

use super::law::{Checked, Law};
use crate::{
    model::RoundTrips,
    verdict::{
        evidence::Evidence,
        replies::round_trips,
        rows::{Row, by_group},
        sentence::{Figures, figures},
    },
};

/// The quantile that the record of a client has, in millionths.
const P99: u32 = 990_000;

/// No round trip from due is shorter than the one from write, on this host's clock none is shorter
/// than the way of its packet, and the p99 of a client is one that its round trips can have.
pub(super) fn round_trips_can_have_been(evidence: &Evidence<'_>, rows: &[Row<'_>]) -> Checked {
    let law = Law {
        code: ReasonCode::HistogramMiscounted,
        law: "round trips from due ≥ from write, from due ≥ latency, from write ≥ transit",
        sides: "{clients_broken} of {clients} clients break it",
        first: "p99 {first_from_due_ns} from due and {first_from_write_ns} from write, of \
                {first_round_trips} round trips",
        missing: "no agent has reported a client",
    };
    let holds = |row: &Row<'_>| {
        let record = row.reported?;
        if row.group.echo_every.is_none() {
            return Some(true);
        }
        let held = (row.agent).add_round_trips(RoundTrips::default(), &row.group.name)?;
        Some(p99s_can_be(record, &held))
    };
    let checked = law.for_every_client(rows, Figures::new(), holds, |row| {
        let record = row.reported.cloned().unwrap_or_default();
        let known = |of: Option<i64>| of.and_then(|ns| u64::try_from(ns).ok()).unwrap_or(0);
        figures([
            ("from_due_ns", known(record.rtt_from_due_p99_ns).into()),
            ("from_write_ns", known(record.rtt_from_write_p99_ns).into()),
            ("round_trips", record.round_trips.unwrap_or(0).into()),
        ])
    });
    if checked.is_broken() {
        return checked;
    }
    let mut too_short = by_group(rows).filter_map(|rows| TooShort::of_group(evidence, rows));
    too_short.next().map_or(checked, |found| {
        let sides = "of group {group} {longer_within} times {longer} are within {ns} ns, and \
                     {shorter_within} times {shorter}";
        law.broken_by_a_part(sides, found.figures())
    })
}

/// Whether the p99 of both times are values that this client's part of the distributions can have:
/// enough of them lie at or above it, and enough at or below.
fn p99s_can_be(record: &v1::ClientRecord, held: &RoundTrips) -> bool {
    let count = record.round_trips.unwrap_or(0);
    let beyond = beyond(P99, count);
    let can_be = |p99_ns: Option<i64>, held: &Histogram| {
        let known = p99_ns.and_then(|ns| u64::try_from(ns).ok());
        known.is_none_or(|ns| {
            let index = bucket(ns);
            let above = held.count_from(index + 1);
            held.count_from(index) > beyond
                && held.count().saturating_sub(above) >= count.saturating_sub(beyond)
        })
    };
    let [from_due, from_write] = [record.rtt_from_due_p99_ns, record.rtt_from_write_p99_ns];
    let is_ordered = from_due
        .zip(from_write)
        .is_none_or(|(due, write)| due >= write);
    is_ordered && can_be(from_due, &held.from_due) && can_be(from_write, &held.from_write)
}

/// Two distributions of which the one that must be longer has more times up to a bucket.
struct TooShort<'r> {
    group: &'r str,
    longer: &'static str,
    longer_within: u64,
    shorter: &'static str,
    shorter_within: u64,
    ns: u64,
}

impl<'r> TooShort<'r> {
    /// The first of one group, where its agents report distributions.
    fn of_group(evidence: &Evidence<'_>, rows: &'r [Row<'_>]) -> Option<Self> {
        let group = rows.first()?.group.as_ref();
        let of_each = agents_of(rows).find_map(|row| {
            let held = round_trips(std::slice::from_ref(row))?;
            let pair = [(FROM_DUE, &held.from_due), (FROM_WRITE, &held.from_write)];
            Self::of_pair(&group.name, pair)
        });
        if of_each.is_some() {
            return of_each;
        }
        // Of a flood the two ends may put the end of the warm-up at different packets.
        let is_cut_alike = !group.is_flood() || evidence.plan.warm_up.is_zero();
        let is_on_our_clock = rows.iter().all(Row::is_on_our_clock);
        let times = evidence.times_of(group.index);
        let times = times.filter(|_| is_cut_alike && is_on_our_clock)?;
        let held = round_trips(rows)?;
        let of_due = [(FROM_DUE, &held.from_due), ("of latency", &times.latency)];
        let of_write = [
            (FROM_WRITE, &held.from_write),
            ("of transit", &times.transit),
        ];
        Self::of_pair(&group.name, of_due).or_else(|| Self::of_pair(&group.name, of_write))
    }

    fn of_pair(group: &'r str, pair: [(&'static str, &Histogram); 2]) -> Option<Self> {
        let [(longer, longer_times), (shorter, shorter_times)] = pair;
        let counts = |of: &Histogram| {
            let mut counts = [0_u64; BUCKETS];
            of.counts()
                .for_each(|(index, _, count)| counts[index] = count);
            counts
        };
        let each = counts(longer_times).into_iter().zip(counts(shorter_times));
        let sums = each.scan([0_u64; 2], |sums, (longer, shorter)| {
            *sums = [
                sums[0].saturating_add(longer),
                sums[1].saturating_add(shorter),
            ];
            Some(*sums)
        });
        let mut too_many = sums
            .enumerate()
            .filter(|(_, [longer, shorter])| longer > shorter);
        let (index, [longer_within, shorter_within]) = too_many.next()?;
        Some(Self {
            group,
            longer,
            longer_within,
            shorter,
            shorter_within,
            ns: shown_ns(index),
        })
    }

    fn figures(&self) -> Figures {
        figures([
            ("group", self.group.into()),
            ("longer", self.longer.into()),
            ("longer_within", self.longer_within.into()),
            ("shorter", self.shorter.into()),
            ("shorter_within", self.shorter_within.into()),
            ("ns", self.ns.into()),
        ])
    }
}

const FROM_DUE: &str = "from due";
const FROM_WRITE: &str = "from write";

/// One client of each agent that has some of these.
fn agents_of<'r, 'a>(rows: &'r [Row<'a>]) -> impl Iterator<Item = &'r Row<'a>> {
    let mut agents = BTreeSet::new();
    rows.iter()
        .filter(move |row| agents.insert(row.agent_index))
}

#[cfg(test)]
mod tests {
    use metronome_proto::{
        histogram::bucket,
        v1::{LawStatus, ReasonCode, VerdictStatus},
    };
    use proptest::prelude::*;

    use super::*;
    use crate::verdict::samples::{Sample, codes, verdict};

    /// What an agent's distributions of its one group become; each sample's time is 10 µs.
    fn reported(sample: &mut Sample, agent: usize, from_due_ns: u64, from_write_ns: u64) {
        sample.last_report(agent, |finished| {
            let of = &mut finished.round_trips[0];
            for (buckets, ns) in [
                (&mut of.from_due, from_due_ns),
                (&mut of.from_write, from_write_ns),
            ] {
                let buckets = buckets.as_mut().expect("the sample has both");
                buckets.indices = vec![bucket(ns) as u32];
            }
        });
    }

    #[test]
    fn round_trips_that_are_shorter_than_the_way_of_their_packets_are_found() {
        for (from_due_ns, from_write_ns, is_possible) in [
            (10_000, 10_000, true),
            (20_000, 15_000, true),
            // The reply was there before the packet.
            (9_000, 9_000, false),
            (20_000, 9_000, false),
            (0, 0, false),
            // It was written before it was due.
            (15_000, 20_000, false),
            (0, u64::MAX, false),
        ] {
            let mut sample = Sample::echoing(2, 2, 10);
            reported(&mut sample, 1, from_due_ns, from_write_ns);
            let expected: &[_] = match is_possible {
                true => &[],
                false => &[ReasonCode::HistogramMiscounted],
            };
            assert_eq!(
                codes(&sample.conclude()),
                expected,
                "{from_due_ns} {from_write_ns}"
            );
        }
    }

    #[test]
    fn on_another_clock_the_two_round_trips_alone_are_compared() {
        let on_another_clock = |from_due_ns, from_write_ns| {
            let mut sample = Sample::echoing(1, 2, 10);
            reported(&mut sample, 0, from_due_ns, from_write_ns);
            sample.agents[0].contradict_clock();
            let conclusion = sample.conclude();
            codes(&conclusion).contains(&ReasonCode::HistogramMiscounted)
        };
        assert!(!on_another_clock(9_000, 8_000));
        assert!(on_another_clock(8_000, 9_000));
    }

    /// One client whose packets all ask, with p99s of its own.
    fn with_p99(from_due_ns: i64, from_write_ns: i64) -> Vec<ReasonCode> {
        let mut sample = Sample::echoing(1, 1, 1);
        sample.reported(0, |record| {
            record.rtt_from_due_p99_ns = Some(from_due_ns);
            record.rtt_from_write_p99_ns = Some(from_write_ns);
        });
        codes(&sample.conclude())
    }

    #[test]
    fn a_p99_of_a_client_that_its_round_trips_cannot_have_is_found() {
        let possible = shown_ns(bucket(10_000)) as i64;
        assert_eq!(with_p99(possible, possible), []);
        for (from_due_ns, from_write_ns) in [
            (possible, possible - 100),
            (possible + 100, possible),
            (0, 0),
            (i64::MAX, possible),
        ] {
            let found = with_p99(from_due_ns, from_write_ns);
            assert_eq!(found, [ReasonCode::HistogramMiscounted], "{from_due_ns}");
        }
    }

    proptest! {
        /// Whatever packets there are, and whichever of them ask: what is measured breaks no law.
        #[test]
        fn round_trips_as_they_are_measured_are_never_too_short(
            packets in prop::collection::vec(
                (0..1_u64 << 37, 0..1_u64 << 33, 0..1_u64 << 30, any::<bool>()), 1..100,
            ),
        ) {
            let mut all = [(); 4].map(|()| Histogram::default());
            for (transit_ns, lateness_ns, back_ns, asks) in packets {
                all[0].record(lateness_ns + transit_ns);
                all[1].record(transit_ns);
                if asks {
                    all[2].record(lateness_ns + transit_ns + back_ns);
                    all[3].record(transit_ns + back_ns);
                }
            }
            let [latency, transit, from_due, from_write] = &all;
            for pair in [[from_due, latency], [from_write, transit], [from_due, from_write]] {
                prop_assert!(TooShort::of_pair("a", pair.map(|of| ("", of))).is_none());
            }
        }
    }

    #[test]
    fn the_figures_of_what_is_too_short_name_group_and_bound() {
        let mut sample = Sample::echoing(1, 2, 10);
        reported(&mut sample, 0, 500, 100);
        let conclusion = sample.conclude();
        assert_eq!(verdict(&conclusion).status(), VerdictStatus::Invalid);
        let mut laws = verdict(&conclusion).laws.iter();
        let law = laws.find(|law| law.law.starts_with("round trips from due"));
        let law = law.expect("the law of round trips");
        assert_eq!(law.status(), LawStatus::Broken);
        assert_eq!(law.figures["group"], "default".into());
        assert_eq!(law.figures["longer_within"], 20_u64.into());
        assert_eq!(law.figures["shorter_within"], 0_u64.into());
        assert!(!law.sentence.contains('–'), "{}", law.sentence);
    }
}
