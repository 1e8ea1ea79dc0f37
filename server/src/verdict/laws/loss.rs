//! The laws of what was lost: every lost packet has a place, and a clean end loses none.

use metronome_proto::packet::FRAME_BYTES;

use super::law::{Checked, for_every_client};
use crate::verdict::rows::{Row, total};

/// Most bytes that a connection may have taken in and no worker read, when it ends before its time:
/// a receive buffer of 128 KiB, which the kernel doubles, and a worker's buffer of 64 KiB.
const UNREAD_BYTES_MAX: u128 = (256 + 64) << 10;

/// Every lost packet is placed by what the agent's kernel reported, and nothing was received or
/// acknowledged that was not sent.
pub(super) fn sent_is_received_or_placed(rows: &[Row<'_>]) -> Checked {
    let law = "sent = received + lost";
    let placed = |row: &Row<'_>| {
        let acknowledged = row.kernel_acknowledged();
        let is_known = row.lost() == 0 || acknowledged.is_some();
        row.received() <= row.sent()
            && is_known
            && acknowledged.is_none_or(|packets| packets <= row.sent())
    };
    let figures = format!(
        "{} = {} + ({} not acknowledged + {} unread)",
        total(rows, Row::sent),
        total(rows, Row::received),
        total(rows, Row::lost_unacknowledged),
        total(rows, Row::lost_unread)
    );
    for_every_client(law, "LOSS_NOT_PLACED", figures, rows, placed, |row| {
        let acknowledged = row
            .kernel_acknowledged()
            .map_or("unknown".into(), |packets| packets.to_string());
        format!(
            "{} sent, {} received, {acknowledged} acknowledged by the kernel",
            row.sent(),
            row.received()
        )
    })
}

/// "Acknowledged, but unread" is an explanation only for what a connection has room for.
pub(super) fn unread_fits_the_buffers(rows: &[Row<'_>]) -> Checked {
    let law = "lost unread ≤ buffers of the connection";
    let unread_bytes = |row: &Row<'_>| u128::from(row.lost_unread()) * FRAME_BYTES as u128;
    let most = rows.iter().map(unread_bytes).max().unwrap_or(0);
    let figures = format!("at most {most} of {UNREAD_BYTES_MAX} bytes");
    let fits = |row: &Row<'_>| unread_bytes(row) <= UNREAD_BYTES_MAX;
    for_every_client(law, "UNREAD_BEYOND_BUFFERS", figures, rows, fits, |row| {
        format!("{} bytes", unread_bytes(row))
    })
}

pub(super) fn clean_end_loses_nothing<'a>(rows: &[Row<'a>]) -> Checked {
    let clean: Vec<_> = rows.iter().filter(|row| row.exchanged_ends()).collect();
    let sum = |figure: fn(&Row<'a>) -> u64| {
        clean
            .iter()
            .map(|row| u128::from(figure(row)))
            .sum::<u128>()
    };
    let figures = format!("{} = {}", sum(Row::sent), sum(Row::received));
    let law = "sent = received on a clean end";
    let holds = |row: &Row<'_>| !row.exchanged_ends() || row.sent() == row.received();
    for_every_client(law, "LOSS_ON_CLEAN_END", figures, rows, holds, |row| {
        format!("{} and {}", row.sent(), row.received())
    })
}
