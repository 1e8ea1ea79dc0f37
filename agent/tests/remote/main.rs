//! An agent that a server controls, over the real stream.
//!
//! | module | subject |
//! |---|---|
//! | [`course`] | every step of a run, and its end by an order, a signal or a lease that is over |
//! | [`sessions`] | streams that are lost, refused or never answered |
//! | [`replies`] | replies of every kind, what is counted and what is measured of them |
//! | [`probes`] | probes of the path and the clocks, answered in every way |
//! | [`orders`] | orders that cannot be followed, and targets that cannot be reached |
//! | [`payloads`] | packets of other sizes, and files of the agent behind their headers |

mod course;
#[path = "../master/mod.rs"]
mod master;
mod orders;
mod payloads;
#[path = "../peer/mod.rs"]
mod peer;
mod probes;
mod replies;
mod sessions;

use std::time::Duration;

use master::{Master, key, prepare};
use metronome_proto::v1::{
    self, GeneratorCounts, agent_service_session_request::Message as Report,
    agent_service_session_response::Message as Order,
};
use peer::{Behaviour, Peer};

const LONG_LEASE: Duration = Duration::from_secs(10);
/// More than any test lets a run go on: a minute at 1 kHz.
const ENDLESS: u32 = 60_000;

fn counts(record: &v1::ClientRecord) -> GeneratorCounts {
    record.counts.expect("it was connected")
}

/// Whether the schedule of a client of an endless run ended early.
fn is_cut_short(record: &v1::ClientRecord) -> bool {
    counts(record).scheduled < ENDLESS.into()
}

#[track_caller]
fn record_is_complete(record: &v1::ClientRecord) {
    record_is_complete_with(32, record);
}

#[track_caller]
fn record_is_complete_with(packet_bytes: u64, record: &v1::ClientRecord) {
    let counts = counts(record);
    assert_eq!(counts.scheduled, counts.sent + counts.skipped, "{record:?}");
    assert_eq!(record.acknowledged, Some(counts.sent), "{record:?}");
    assert_eq!(
        record.kernel_acknowledged_bytes,
        Some(packet_bytes * counts.sent),
        "{record:?}"
    );
    assert_eq!((&record.failure, counts.blocked), (&None, 0), "{record:?}");
}

async fn running(master: &mut Master, clients: u32, lease: Duration) -> (master::Session, Peer) {
    let peer = Peer::start_with(clients as usize, Behaviour::Proper, key());
    let mut session = master.welcomed(lease).await;
    session
        .order(Order::Prepare(prepare(peer.port, clients, ENDLESS)))
        .await;
    session.prepared().await;
    session.start().await;
    let progressed = |report| match report {
        Report::Progress(progress) => progress.counts.filter(|counts| counts.sent > 0),
        _ => None,
    };
    let counts = session.next(progressed).await;
    assert!(
        counts.scheduled >= counts.sent + counts.skipped,
        "{counts:?}"
    );
    (session, peer)
}
