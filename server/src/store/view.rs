//! A run as it is shown, from how it is stored.

use metronome_proto::v1::{self, Failure, FailureCode};

use super::{owner::Owners, rows::abort};

/// Why a run without a stored end whose server is gone is ABORTED. The server may have died before
/// or after the end of the run; a copy of the file has never had a server.
pub(super) fn server_died() -> Failure {
    Failure::new(
        FailureCode::ServerDied,
        "the server ended, or stopped using this database, before it had stored the result",
    )
}

/// The stored run; ABORTED when its server is gone without having stored the end of the run, also
/// when that is not stored yet.
pub(super) fn as_it_stands(mut run: v1::Run, owner: &str, owners: &Owners) -> v1::Run {
    if !run.state().is_final() && owners.is_gone(owner) {
        abort(&mut run, None, server_died());
    }
    run
}

/// A BASIC view: without the `hdr_v2_deflated` of the distributions.
pub(crate) fn without_records(mut run: v1::Run) -> v1::Run {
    if let Some(report) = &mut run.report {
        clear_records_of_groups(report);
        report.times.iter_mut().for_each(clear_records);
    }
    run
}

/// The same of those of the groups alone.
pub(crate) fn clear_records_of_groups(report: &mut v1::Report) {
    let times = report.groups.iter_mut().map(|group| &mut group.times);
    times.flatten().for_each(clear_records);
}

fn clear_records(times: &mut v1::Times) {
    let v1::Times {
        lateness,
        transit,
        latency,
        spread,
        one_way,
        queueing,
        rtt_from_due,
        rtt_from_write,
    } = times;
    let all = [
        lateness,
        transit,
        latency,
        spread,
        one_way,
        queueing,
        rtt_from_due,
        rtt_from_write,
    ];
    for distribution in all.into_iter().flatten() {
        distribution.hdr_v2_deflated.clear();
    }
}
