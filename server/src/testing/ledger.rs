//! A slot of the ledger in which anything may stand: recovered, shown to watchers and as metrics,
//! recorded and judged.

use std::{collections::BTreeMap, io};

use metronome_proto::{
    plan::{GROUP_DEFAULT, Plan},
    v1,
};
use rustix::io::pwrite;

use super::plan::{group_of, plan_of};
use crate::{
    control::snapshots,
    ipc::{AdmissionKeys, ConnectionAdmission},
    ledger::{BUFFER_BYTES, Dimensions, Ledger, ReleaseStore, Slot, Stage, replay},
    master::testing::{Seen, record_run},
    metrics::{Figures, families, write},
    model::{AgentRecords, AgentShare},
    verdict::{Evidence, conclude},
};

/// The ledger as a broken worker may have left it: words at any places of a slot, the rest zero.
/// The master recovers, shows, records and judges it; the agent's own record is as given.
pub fn recover_show_and_judge(words: &[(u32, u64)], left: u16, reported: v1::ClientRecord) {
    let Ok(ledger) = ledger_with(words) else {
        return;
    };
    let slot = &ledger.slots()[0];
    let Some(mut connection_counters) = slot.counters() else {
        return;
    };
    let taken = connection_counters.bytes.checked_add(u64::from(left));
    if taken.is_some()
        && connection_counters.is_possible()
        && connection_counters.stage != Stage::Closed
    {
        let Ok(other) = Ledger::create(Dimensions { slots: 1 }) else {
            return;
        };
        let admission = ConnectionAdmission {
            admission_keys: &AdmissionKeys::new(false),
            ledger: &other,
            slot: 0,
            generation: 1,
        };
        let room = BUFFER_BYTES - usize::from(connection_counters.partial_frame_bytes);
        replay(
            slot,
            &mut connection_counters,
            usize::from(left).min(room),
            1,
            &admission,
            &ReleaseStore,
        );
        assert!(
            connection_counters.is_possible(),
            "what could be became what cannot be: {connection_counters:?}"
        );
    }
    let seen = record_run(&connection_counters, slot, taken);
    show_metrics(&seen);
    let mut agent = AgentRecords::new(
        "fuzz".into(),
        AgentShare::of(0..1, connection_counters.clock),
    );
    let _ = snapshots(std::slice::from_ref(&agent), seen.live);
    agent.take(v1::ClientRecords {
        run_id: String::new(),
        clients: vec![reported],
    });
    let plan = plan();
    let start_at_ns = Some(slot.read_ns());
    let evidence = Evidence {
        hosts: &[],
        plan: &plan,
        agents: &[agent],
        counters: Some(&seen.record),
        data_address: "",
        start_at_ns,
        stopped: None,
        finished_early: &BTreeMap::new(),
        notes: &[],
    };
    let _ = conclude(&evidence);
}

/// A ledger of one slot with words in it.
fn ledger_with(words: &[(u32, u64)]) -> io::Result<Ledger> {
    let ledger = Ledger::create(Dimensions { slots: 1 })?;
    let [_, slots, ..] = ledger.descriptors();
    for (place, word) in words {
        let at = *place as usize % (size_of::<Slot>() / 8) * 8;
        pwrite(slots, &word.to_le_bytes(), at as u64)?;
    }
    Ok(ledger)
}

/// The text that Prometheus gets, whenever it asks.
fn show_metrics(seen: &Seen) {
    for (server, totals) in seen.server.iter().zip(&seen.totals) {
        let text = write(&families(&Figures {
            server: server.clone(),
            totals: totals.clone(),
            ..Figures::default()
        }));
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}

/// A plan of one client.
fn plan() -> Plan {
    plan_of(vec![group_of(GROUP_DEFAULT, 1)])
}

#[cfg(test)]
mod tests {
    use metronome_proto::v1::{ClientRecord, GeneratorCounts};
    use proptest::prelude::*;

    use super::*;

    /// Any word, and above all those beside which a sum wraps.
    fn word() -> impl Strategy<Value = u64> {
        prop_oneof![
            any::<u64>(),
            (0..4_u64).prop_map(|below| u64::MAX - below),
            (0..4_u64).prop_map(|above| (1 << 63) + above),
            0..100_u64,
        ]
    }

    fn reported() -> impl Strategy<Value = ClientRecord> {
        prop::array::uniform7(word()).prop_map(|words| ClientRecord {
            counts: Some(GeneratorCounts {
                replies_read: None,
                replies_requested: None,
                replies_unexpected: None,
                scheduled: words[0],
                sent: words[1],
                skipped: words[2],
                blocked: words[3],
            }),
            acknowledged: Some(words[4]),
            kernel_acknowledged_bytes: Some(words[5]),
            digest: words[6],
            ..ClientRecord::default()
        })
    }

    proptest! {
        #[test]
        fn no_words_of_a_ledger_make_a_panic(
            counters in prop::collection::vec((0..160_u32, word()), 0..60),
            elsewhere in prop::collection::vec((any::<u32>(), word()), 0..200),
            left: u16,
            reported in reported(),
        ) {
            let words = [counters, elsewhere].concat();
            recover_show_and_judge(&words, left, reported.clone());
            // A client of a run that has packets, of which more is read.
            let words = [client().collect(), words].concat();
            recover_show_and_judge(&words, left, reported);
        }
    }

    /// A verified client with packets, in both copies of the counters, and every group of buckets
    /// in use.
    fn client() -> impl Iterator<Item = (u32, u64)> {
        let groups = (11..19).map(|place| (place, u64::MAX));
        let copies = [24, 88].into_iter();
        let words = copies.flat_map(|at| [(at, 0x0100_0001), (at + 2, 7), (at + 38, 1)]);
        groups.chain(words)
    }

    #[test]
    fn the_client_of_these_tests_is_one() {
        let words: Vec<_> = client().collect();
        let ledger = ledger_with(&words).expect("room for a slot");
        let counters = ledger.slots()[0].counters();
        let counters = counters.expect("no writer flips it");
        assert!(counters.is_client() && counters.stage == Stage::Packets);
        assert_eq!((counters.run, counters.counts.received), (7, 1));
    }
}
