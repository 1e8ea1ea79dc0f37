//! The laws of what was lost: every lost packet has a place, and a clean end loses none.

use metronome_proto::v1::ReasonCode;

use super::law::{Checked, Law, sides};
use crate::verdict::{
    rows::{Row, total},
    sentence::{Figures, figures},
};

/// Most bytes that a connection may have taken in and no worker read, when it ends before its time:
/// a receive buffer of 128 KiB, which the kernel doubles, and a worker's buffer of 64 KiB.
const UNREAD_BYTES_MAX: u128 = (256 + 64) << 10;

/// Every lost packet is placed by what the agent's kernel reported, and nothing was received or
/// acknowledged that was not sent.
pub(super) fn sent_is_received_or_placed<'a>(rows: &[Row<'a>]) -> Checked {
    let law = Law {
        code: ReasonCode::LossNotPlaced,
        law: "sent = received + lost",
        sides: "{left} = {received} + ({lost_unacknowledged} not acknowledged + {lost_unread} \
                unread)",
        first: "{first_sent} sent, {first_received} received, {first_kernel_acknowledged} \
                acknowledged by the kernel",
        missing: "there is no client of which both ends have reported",
    };
    let of_both = |figure: fn(&Row<'a>) -> Option<u64>| {
        let known = |row: &Row<'a>| figure(row).filter(|_| row.lost().is_some());
        total(rows, known)
    };
    let sent = of_both(Row::sent);
    let received = of_both(Row::received);
    let unacknowledged = of_both(Row::lost_unacknowledged);
    let unread = of_both(Row::lost_unread);
    let mut of_run = sides(sent, received + unacknowledged + unread);
    of_run.insert("received".into(), received.into());
    of_run.insert("lost_unacknowledged".into(), unacknowledged.into());
    of_run.insert("lost_unread".into(), unread.into());
    let is_placed = |row: &Row<'_>| {
        let (sent, received) = (row.sent()?, row.received()?);
        let is_possible = |packets: u64| packets <= sent;
        Some(
            received <= sent
                && row.lost_unacknowledged().is_some()
                && row.kernel_acknowledged().is_none_or(is_possible),
        )
    };
    law.for_every_client(rows, of_run, is_placed, |row| {
        let known = [
            ("sent", row.sent()),
            ("received", row.received()),
            ("kernel_acknowledged", row.kernel_acknowledged()),
        ];
        let known = known.into_iter().filter_map(|(name, packets)| {
            let packets = packets?;
            Some((name.to_owned(), packets.into()))
        });
        known.collect()
    })
}

/// "Acknowledged, but unread" is an explanation only for what a connection has room for.
pub(super) fn unread_fits_the_buffers(rows: &[Row<'_>]) -> Checked {
    let law = Law {
        code: ReasonCode::UnreadBeyondBuffers,
        law: "lost unread ≤ buffers of the connection",
        sides: "at most {unread_max_bytes} of {buffers_bytes} bytes",
        first: "{first_unread_bytes} bytes",
        missing: "there is no client of which it is known how many packets were acknowledged, but \
                  not read",
    };
    let unread_bytes =
        |row: &Row<'_>| Some(u128::from(row.lost_unread()?) * u128::from(row.packet_bytes()));
    let most = rows.iter().filter_map(unread_bytes).max().unwrap_or(0);
    let of_run = figures([
        ("unread_max_bytes", most.into()),
        ("buffers_bytes", UNREAD_BYTES_MAX.into()),
    ]);
    let fits = |row: &Row<'_>| unread_bytes(row).map(|bytes| bytes <= UNREAD_BYTES_MAX);
    law.for_every_client(rows, of_run, fits, |row| {
        unread_bytes(row).map_or_else(Figures::new, |bytes| {
            figures([("unread_bytes", bytes.into())])
        })
    })
}

/// Nothing, but packets that came corrupt or are gaps: these have laws of their own.
pub(super) fn clean_end_loses_nothing(rows: &[Row<'_>]) -> Checked {
    let law = Law {
        code: ReasonCode::LossOnCleanEnd,
        law: "received ≤ sent ≤ received + absent on a clean end",
        sides: "{received}, {sent}, {absent} absent",
        first: "{first_received}, {first_sent}, {first_absent} absent",
        missing: "no client has exchanged ends",
    };
    let counts_of = |row: &Row<'_>| {
        let counts = row.receiver.filter(|_| row.exchanged_ends())?;
        Some([counts.received, row.sent()?, row.absent()?])
    };
    let named = |[received, sent, absent]: [u128; 3]| {
        figures([
            ("received", received.into()),
            ("sent", sent.into()),
            ("absent", absent.into()),
        ])
    };
    let sums = [0, 1, 2].map(|side| total(rows, |row| Some(counts_of(row)?[side])));
    let holds = |row: &Row<'_>| {
        let [received, sent, absent] = counts_of(row)?;
        Some(received <= sent && sent <= received.saturating_add(absent))
    };
    law.for_every_client(rows, named(sums), holds, |row| {
        named(counts_of(row).unwrap_or_default().map(u128::from))
    })
}
