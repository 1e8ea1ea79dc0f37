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
        clear_records_of_parts(report);
        report.times.iter_mut().for_each(clear_records);
        report.probe_rtt.iter_mut().for_each(clear_record);
    }
    run
}

/// The same of those of the groups and of the agents alone.
pub(crate) fn clear_records_of_parts(report: &mut v1::Report) {
    let times = report.groups.iter_mut().map(|group| &mut group.times);
    times.flatten().for_each(clear_records);
    let paths = report.agents.iter_mut().map(|agent| &mut agent.path);
    let probes = paths.flatten().map(|path| &mut path.probe_rtt);
    probes.flatten().for_each(clear_record);
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
    all.into_iter().flatten().for_each(clear_record);
}

fn clear_record(distribution: &mut v1::Distribution) {
    distribution.hdr_v2_deflated.clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many distributions there are, and how many have a record.
    fn distributions(run: &v1::Run) -> (usize, usize) {
        let text = format!("{run:?}");
        let of = |part: &str| text.matches(part).count();
        let all = of("Distribution {");
        (all, all - of("hdr_v2_deflated: []"))
    }

    #[test]
    fn a_basic_view_has_every_distribution_and_no_record() {
        let full = || {
            Some(v1::Distribution {
                bound_ns: Some(5),
                hdr_v2_deflated: vec![7],
                ..v1::Distribution::default()
            })
        };
        let times = || {
            Some(v1::Times {
                lateness: full(),
                transit: full(),
                latency: full(),
                spread: full(),
                one_way: full(),
                queueing: full(),
                rtt_from_due: full(),
                rtt_from_write: full(),
            })
        };
        let report = v1::Report {
            times: times(),
            probe_rtt: full(),
            groups: vec![v1::GroupReport {
                times: times(),
                ..v1::GroupReport::default()
            }],
            agents: vec![v1::AgentReport {
                path: Some(v1::Path {
                    probe_rtt: full(),
                    ..v1::Path::default()
                }),
                ..v1::AgentReport::default()
            }],
            ..v1::Report::default()
        };
        let mut run = v1::Run {
            report: Some(report),
            ..v1::Run::default()
        };
        assert_eq!(distributions(&run), (18, 18));
        assert_eq!(distributions(&without_records(run.clone())), (18, 0));
        clear_records_of_parts(run.report.as_mut().unwrap());
        assert_eq!(distributions(&run), (18, 9), "those of the whole run stay");
    }
}
