//! A slot of the ledger in which anything may stand: recovered, recorded and judged.

use std::{collections::BTreeMap, time::Duration};

use metronome_proto::{
    plan::{GROUP_DEFAULT, Group, Plan},
    profile::Profile,
    v1,
};
use zerocopy::FromBytes as _;

use crate::{
    ipc::{AdmissionKeys, ConnectionAdmission},
    ledger::{BUFFER_BYTES, Dimensions, Ledger, ReleaseStore, Slot, Stage, replay},
    master::testing::record_run,
    model::{AgentRecords, AgentShare},
    verdict::{Evidence, conclude},
};

/// The ledger as a broken worker may have left it: words at any places of a slot, the rest zero.
/// The master recovers, records and judges it; the agent's own record is as given.
pub fn recover_record_and_judge(words: &[(u32, u64)], left: u16, reported: v1::ClientRecord) {
    let mut bytes = vec![0; size_of::<Slot>()];
    for (place, word) in words {
        let at = *place as usize % (bytes.len() / 8) * 8;
        bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
    }
    let Ok(slot) = Slot::read_from_bytes(&bytes).map(Box::new) else {
        return;
    };
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
            &slot,
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
    let record = record_run(&connection_counters, &slot, taken);
    let mut agent = AgentRecords::new(
        "fuzz".into(),
        AgentShare::of(0..1, connection_counters.clock),
    );
    agent.take(v1::ClientRecords {
        run_id: String::new(),
        clients: vec![reported],
    });
    let plan = plan();
    let start_at_ns = Some(slot.read_ns());
    let evidence = Evidence {
        plan: &plan,
        agents: &[agent],
        counters: Some(&record),
        data_address: "",
        start_at_ns,
        stopped: None,
        finished_early: &BTreeMap::new(),
        notes: &[],
    };
    let _ = conclude(&evidence);
}

/// A plan of one client.
fn plan() -> Plan {
    let group = Group {
        name: GROUP_DEFAULT.into(),
        clients: 1,
        profile: Profile::constant(1_000),
        batch: 1,
        phase: v1::Phase::Staggered,
        agents: Vec::new(),
        target: String::new(),
    };
    Plan {
        group,
        duration: Duration::from_secs(1),
        threads: 1,
        requires: Vec::new(),
        thresholds: Vec::new(),
        has_default_objectives: true,
    }
}
