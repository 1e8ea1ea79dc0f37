//! What both ends have of one client of a sample: the agent's report, and what workers that hold
//! every packet against the plan count. Times are ns.

use metronome_proto::{
    counters::CounterList as _,
    load::Load,
    plan::{Group, Plan},
    schedule::Schedule,
    v1,
};

use super::{PACKETS, START_NS};
use crate::model::{ClientCounters, ClientEnd, ClientStart, FinalCounters, WorkerCounters};

/// What an agent reports of a client that has sent so many packets, all of its schedule, so many of
/// them in the warm-up.
pub(super) fn clean_record(
    group: &Group,
    client: u32,
    packets: u64,
    warm_up: u64,
) -> v1::ClientRecord {
    let asked = |packets: u64| {
        let every = group.echo_every?;
        Some(packets.div_ceil(every.get().into()))
    };
    let size = group.packet_size.bytes() as u64;
    v1::ClientRecord {
        round_trips: asked(packets)
            .zip(asked(warm_up))
            .map(|(all, in_warm_up)| all - in_warm_up),
        rtt_from_due_p99_ns: None,
        rtt_from_write_p99_ns: None,
        tcp: None,
        client,
        counts: Some(v1::GeneratorCounts {
            scheduled: packets,
            sent: packets,
            replies_requested: asked(packets),
            replies_read: asked(packets),
            replies_unexpected: asked(0),
            ..v1::GeneratorCounts::default()
        }),
        digest: digest(client),
        acknowledged: Some(packets),
        kernel_acknowledged_bytes: Some(packets * size),
        attempts: 1,
        failure: None,
    }
}

/// When each packet of a client is due after its start, ns; in a flood one every millisecond.
pub(in crate::verdict) fn due_times(load: &Load, client: u32) -> Vec<u64> {
    let Some(schedule) = load.schedule(0, client) else {
        return (0..PACKETS).map(|packet| packet * 1_000_000).collect();
    };
    let mut cursor = schedule.first();
    let mut due = Vec::new();
    while !cursor.is_over(&schedule) {
        due.push(cursor.due_ns());
        cursor.advance(&schedule);
    }
    due
}

/// What the workers count of a client with packets that are due then, all of them read: they look
/// for the place of each in the schedule that the plan has for this client.
pub(super) fn counted(plan: &Plan, client: u32, start: ClientStart, due: &[u64]) -> ClientCounters {
    let group = plan.group_of(client).expect("a client of the plan");
    let schedule = plan.load(group).schedule(start.start_ns, client);
    let run_start_ns = start.start_ns - start.offset_ns;
    let warm_up_ns = run_start_ns + plan.warm_up.as_nanos() as u64;
    let is_warm_up = |due_ns: &&u64| **due_ns < warm_up_ns;
    let packets = due.len() as u64;
    let [off_schedule, left_out, warm_up_left_out] = match &schedule {
        Some(schedule) => places(schedule, due, warm_up_ns).map(Some),
        None => [None; 3],
    };
    let of_schedule = |packets| schedule.is_some().then_some(packets);
    let first = due.first();
    let bytes = (packets + 2) * group.packet_size.bytes() as u64 + 32;
    let every = group.echo_every.map(|every| u64::from(every.get()));
    let asked = every.map_or(0, |every| packets.div_ceil(every));
    ClientCounters {
        client,
        worker: client % 2,
        counts: v1::ReceiverCounts {
            received: packets,
            in_time: of_schedule(packets),
            off_schedule,
            left_out,
            warm_up: Some(due.iter().filter(is_warm_up).count() as u64),
            warm_up_left_out,
            spread_understated: of_schedule(0),
            spread_uncertain: of_schedule(0),
            replies_wanted: Some(asked),
            below_floor: None,
            ..v1::ReceiverCounts::zero()
        },
        start: Some(start),
        least_ns: first.and(of_schedule(0)).map(|_| 0),
        digest: digest(client),
        reported_sent: Some(packets),
        first_read_ns: first.map_or(0, |due_ns| due_ns + 10_000),
        last_read_ns: due.last().map_or(0, |due_ns| {
            (due_ns + 10_000).max(START_NS + PACKETS * 1_000_000)
        }),
        first_due_ns: first.copied().unwrap_or(0),
        last_due_ns: due.last().copied().unwrap_or(0),
        next_sequence: packets,
        bytes,
        bytes_taken: Some(bytes),
        end: ClientEnd::Clean,
        ..ClientCounters::default()
    }
}

/// Packets off the schedule, places left out, and those of them in the warm-up.
fn places(schedule: &Schedule, due: &[u64], warm_up_ns: u64) -> [u64; 3] {
    let mut cursor = schedule.first();
    let [mut off_schedule, mut left_out, mut warm_up_left_out] = [0; 3];
    for due_ns in due {
        let mut next = cursor;
        let (mut passed, mut passed_in_warm_up) = (0, 0);
        while next.due_ns() < *due_ns && !next.is_over(schedule) {
            passed += 1;
            passed_in_warm_up += u64::from(next.due_ns() < warm_up_ns);
            next.advance(schedule);
        }
        if next.is_over(schedule) || next.due_ns() != *due_ns {
            off_schedule += 1;
            continue;
        }
        left_out += passed;
        warm_up_left_out += passed_in_warm_up;
        next.advance(schedule);
        cursor = next;
    }
    [off_schedule, left_out, warm_up_left_out]
}

/// The workers' record of so many clients that have not sent a packet yet.
pub(super) fn clean_counters(clients: u32) -> FinalCounters {
    let worker = |worker| WorkerCounters {
        worker,
        packets: 0,
        cpu_ns: Some(500_000),
        reads: Some(0),
        wakeups: Some(0),
        pauses: Some(0),
        paused_ns: Some(0),
        ..WorkerCounters::default()
    };
    let client = |client| ClientCounters {
        client,
        ..ClientCounters::default()
    };
    FinalCounters {
        clients: (0..clients).map(client).collect(),
        workers: vec![worker(0), worker(1)],
        ..FinalCounters::default()
    }
}

fn digest(client: u32) -> u64 {
    u64::from(client).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}
