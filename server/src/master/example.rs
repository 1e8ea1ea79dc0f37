//! A master's state, for tests of what an upgrade hands over.

use std::{borrow::Cow, os::fd::AsFd as _, time::Duration};

use metronome_proto::{
    handshake::Key, histogram::Histogram, load::Load, profile::Profile, run_id::RunId,
    v1::ReceiverCounts,
};

use super::{
    admission::Admission, connection_table::ConnectionTable, run_counters::ClosedConnection,
};
use crate::{
    ipc::AdmissionKey,
    ledger::{ClientLoad, ConnectionCounters, Dimensions, Ledger, RUNS_MAX},
    model::{
        ClientEnd, ClockRelation, KernelFigures, RunCounters, TcpFigures, Unread, WorkerTotals,
    },
    upgrade::{MasterState, SavedWorker},
};

pub(crate) fn agent_key(row: u32) -> AdmissionKey {
    AdmissionKey {
        row,
        run: RunId::from_bits(7),
        agent: 1,
        key: Key::from_bytes([9; 32]),
        clients: 3..7,
        clock: ClockRelation::Same,
        load: Some(ClientLoad {
            packet_size: metronome_proto::packet_size::PacketSize::MIN,
            load: Load {
                profile: Profile::constant(10_000_000),
                duration: Duration::from_secs(3),
                batch: 5,
                seed: 8,
            },
            warm_up_ns: 1_000_000_000,
        }),
        group: 0,
        is_static: false,
    }
}

/// Counters of one run in row `row`, and of a raw client, with figures made from `seed`.
fn counters(row: usize, seed: u64) -> RunCounters {
    let mut counters = RunCounters {
        accepted: seed,
        ..RunCounters::default()
    };
    let admission = Admission {
        run: RunId::from_bits(seed),
        clients: 5,
        duration: Duration::from_secs(3),
        warm_up: Duration::ZERO,
        seed: 1,
        groups: vec!["default".into()],
        agents: Vec::new(),
    };
    counters.open(
        &admission,
        row,
        vec![
            WorkerTotals {
                packets: seed,
                ..WorkerTotals::default()
            };
            2
        ],
    );
    counters.note_incident(seed, "worker died", "it did");
    let ledger = Ledger::create(Dimensions { slots: 1 }).unwrap();
    let client = ConnectionCounters {
        run: seed,
        attempt: 1,
        counts: ReceiverCounts {
            received: 3,
            ..ReceiverCounts::default()
        },
        end: ClientEnd::Clean,
        ..ConnectionCounters::default()
    };
    for connection_counters in [
        client,
        ConnectionCounters {
            is_raw: true,
            attempt: 0,
            ..client
        },
    ] {
        let (record, peer) = (&ledger.slots()[0], ([127, 0, 0, 1], 1).into());
        counters.record_closed(&ClosedConnection {
            connection_counters: &connection_counters,
            record,
            peer,
            worker: Some(1),
            kernel: KernelFigures {
                bytes_taken: Some(seed),
                tcp: Some(tcp_figures(seed)),
            },
        });
    }
    counters
}

fn tcp_figures(seed: u64) -> TcpFigures {
    TcpFigures {
        rtt_min_ns: Some(seed),
        rtt_smoothed_ns: Some(seed),
        retransmitted: Some(seed),
        reordering_seen: None,
        received_out_of_order: Some(seed),
        window_limited_ns: Some(seed),
        delivery_bytes_per_s: Some(seed),
        path_mtu: Some(1_500),
    }
}

/// A master with a connection that is not read, with figures made from `seed`.
pub(crate) fn master_state(row: usize, seed: u64) -> MasterState<'static> {
    let mut pauses = Histogram::default();
    pauses.record(seed);
    let mut table = ConnectionTable::new(4);
    let socket = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    let slot = table
        .insert(socket, ([127, 0, 0, 1], 1).into(), seed)
        .unwrap();
    let unread = Unread {
        since_ns: seed,
        last_batch_ns: 1,
    };
    table.set_unread(slot, unread);
    MasterState {
        connections: table.saved(),
        generations: table.generations().to_vec(),
        admission_keys: vec![agent_key(1).into()],
        counters: Cow::Owned(counters(row, seed)),
        workers: vec![SavedWorker::default(); 2],
        recovered_packets: seed,
        connections_lost: 1,
        pauses: Cow::Owned(pauses),
        row_closed_ns: [seed; RUNS_MAX],
    }
}
