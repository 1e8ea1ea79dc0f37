//! What can be promised of the times between an agent and the server, and findings about the path
//! between them.

use metronome_proto::{
    quantity::{count, time},
    v1::{self, clock_relation::Relation},
};

use super::super::{
    finding::Finding,
    path::{AgentPath, Bound},
};

/// A wider bound hides what a load does to a network within a data centre.
const BOUND_NS_MAX: i64 = 1_000_000;
/// What every link of IPv6 carries.
const PATH_MTU_MIN: u32 = 1_280;
/// An agent waits so long for the last answers, ns.
const LAST_ANSWERS_NS: i64 = 200_000_000;
/// A period of probes at their highest rate, ns.
const PROBE_PERIOD_NS: i64 = 20_000_000;

/// One sentence, without its full stop: how far the times of a run with this agent can be trusted.
pub(crate) fn promise(path: &AgentPath) -> String {
    if let Some(ground) = &path.refused {
        return format!("nothing, since its run shows nothing: {}", ground.code);
    }
    if let Some(bound) = path.one_way {
        let queueing = match path.queueing_bound_ns {
            Some(ns) => format!("queueing to ± {} (estimated)", time(ns)),
            None => "no queueing, since the rates of the clocks are not known well enough".into(),
        };
        return format!("one-way times to {}, {queueing}", in_words(bound));
    }
    match path.relation() {
        Some(Relation::Same(same)) if path.has_transit => match same.bound_ns {
            Some(ns) => format!(
                "same clock: transit and latency are exact, to ± {} by the exchanges alone",
                time(ns)
            ),
            None => "same clock: transit and latency are exact".into(),
        },
        _ => format!(
            "no times between the clocks, since {}; lateness, spread and round trips as ever",
            why_unknown(path)
        ),
    }
}

fn in_words(bound: Bound) -> String {
    let word = if bound.is_claimed {
        "claimed"
    } else {
        "proved"
    };
    format!("± {} ({word})", time(bound.ns))
}

/// Why there is no time between the clocks.
fn why_unknown(path: &AgentPath) -> String {
    let probes = path.probes.as_ref();
    if !path.can_probe {
        return format!("the agent, of version {}, cannot probe", version(path));
    }
    if probes.is_some_and(|of| of.contradictions > 0) {
        return "a clock was stepped, or does not run evenly".into();
    }
    if probes.is_some_and(|of| of.probes_answered == 0) {
        return "no probe was answered".into();
    }
    "how the clocks relate is not known".into()
}

fn version(path: &AgentPath) -> &str {
    match path.version.as_str() {
        "" => "unknown",
        version => version,
    }
}

/// What was found about all of these paths: for each agent what is not as it should be, and of
/// what is so everywhere a finding for all.
pub(crate) fn paths(paths: &[AgentPath]) -> Vec<Finding> {
    let measured: Vec<_> = paths.iter().filter(|of| of.refused.is_none()).collect();
    let refused = paths.iter().filter_map(refused);
    let mut findings: Vec<Finding> = refused.collect();
    let checks: [(Wrong, Fine); 5] = [
        (clock, clocks_known),
        (bound, bounds_narrow),
        (probes, probes_answered),
        (segments, segments_once),
        (path_mtu, mtus_wide),
    ];
    for (of_one, of_all) in checks {
        let wrong: Vec<_> = measured.iter().filter_map(|path| of_one(path)).collect();
        match wrong.is_empty() {
            true => findings.extend(of_all(&measured)),
            false => findings.extend(wrong),
        }
    }
    findings.extend(measured.iter().filter_map(|path| late(path)));
    findings
}

/// What is not as it should be of one path.
type Wrong = fn(&AgentPath) -> Option<Finding>;

/// What is so of all paths; `None` where it is known of none.
type Fine = fn(&[&AgentPath]) -> Option<Finding>;

fn refused(path: &AgentPath) -> Option<Finding> {
    let ground = path.refused.as_ref()?;
    let observed = format!("{}: {}: {}", path.agent, ground.code, ground.sentence);
    let cure = ground.remedy.clone().unwrap_or_default();
    let cure = match cure.is_empty() {
        true => format!("see the logs of the server and of agent {}", path.agent),
        false => cure,
    };
    Some(Finding::problem("run", observed, cure))
}

fn late(path: &AgentPath) -> Option<Finding> {
    let ground = path.late.as_ref()?;
    let observed = format!(
        "{}: {}: {} Clocks and probes do not depend on it",
        path.agent, ground.code, ground.sentence
    );
    let cure = format!(
        "`benchctl doctor` on the host of agent {} has what delays it there",
        path.agent
    );
    Some(Finding::warning("generator", observed, cure))
}

fn clock(path: &AgentPath) -> Option<Finding> {
    let is_known = path.one_way.is_some() || path.has_transit;
    if is_known {
        return None;
    }
    let observed = format!(
        "{}: no time between the clocks is known, since {}",
        path.agent,
        why_unknown(path)
    );
    let contradictions = path.probes.as_ref().map_or(0, |of| of.contradictions);
    let cure = if !path.can_probe {
        "use the same release on all hosts"
    } else if contradictions > 0 {
        "keep CLOCK_MONOTONIC of both hosts even: no program that slews it by leaps, no host that \
         is moved or suspended; see docs/clocks.md"
    } else {
        "measure again; what keeps probes from their connection is in the agent's log"
    };
    Some(Finding::warning("clock", observed, cure))
}

fn clocks_known(paths: &[&AgentPath]) -> Option<Finding> {
    let same = paths.iter().filter(|path| path.has_transit).count();
    let observed = match (paths.len(), same) {
        (0, _) => return None,
        (all, same) if all == same => "every agent is on the server's clock".into(),
        (_, 0) => "how each agent's relates to the server's is known".to_owned(),
        _ => "how each agent's relates to the server's is known, or it is the same".into(),
    };
    Some(Finding::fine("clock", observed))
}

fn bound(path: &AgentPath) -> Option<Finding> {
    let bound = path.one_way.filter(|of| of.ns > BOUND_NS_MAX)?;
    let observed = format!("{}: one-way times to {} only", path.agent, in_words(bound));
    let cure = "no exchange gets below half of the least round trip: look at queueing and spread, or \
                claim clocks that are better synchronised (`--trust-ntp`, `--clock-bound 1us`)";
    Some(Finding::warning("bound", observed, cure))
}

fn bounds_narrow(paths: &[&AgentPath]) -> Option<Finding> {
    let bounds = paths.iter().filter_map(|path| path.one_way);
    let widest = bounds.max_by_key(|bound| bound.ns)?;
    let observed = format!("one-way times to {} or better", in_words(widest));
    Some(Finding::fine("bound", observed))
}

fn probes(path: &AgentPath) -> Option<Finding> {
    let probes = path.probes.as_ref()?;
    let lost = path.probes_lost().filter(|lost| *lost > 0)?;
    if lost <= on_their_way(probes) {
        return None;
    }
    let observed = format!(
        "{}: {} of {} were not answered",
        path.agent,
        count(lost),
        count(probes.probes_sent)
    );
    let cure = "TCP repeats what a path loses, so their connection broke or stood still: see the \
                agent's log, and firewalls and links between the hosts";
    Some(Finding::warning("probes", observed, cure))
}

/// Probes whose answers may have been on their way at the end, for which an agent waits only so
/// long: they are not lost.
fn on_their_way(probes: &v1::Path) -> u64 {
    let longest_ns = probes.probe_rtt.as_ref().map_or(0, |rtt| rtt.max_ns);
    match longest_ns > LAST_ANSWERS_NS {
        true => u64::try_from(longest_ns / PROBE_PERIOD_NS + 1).unwrap_or(0),
        false => 0,
    }
}

fn probes_answered(paths: &[&AgentPath]) -> Option<Finding> {
    let probes = paths.iter().filter_map(|path| path.probes.as_ref());
    let answered = probes.fold(0_u64, |sum, of| sum.saturating_add(of.probes_answered));
    let observed = format!("{} were answered, and none was lost", count(answered));
    (answered > 0).then(|| Finding::fine("probes", observed))
}

fn segments(path: &AgentPath) -> Option<Finding> {
    let ways = [
        (path.retransmitted_by_agent, "agent"),
        (path.retransmitted_by_server, "server"),
    ];
    let again = ways.into_iter().filter_map(|(segments, host)| {
        let segments = segments.filter(|number| *number > 0)?;
        Some(format!("{} by the {host}'s host", count(segments)))
    });
    let again: Vec<_> = again.collect();
    if again.is_empty() {
        return None;
    }
    let observed = format!("{}: sent again: {}", path.agent, again.join(", "));
    let cure = "the path, or a queue on it, loses segments or has been slower than ever before: \
                see `ip -s link` and `tc -s qdisc` on both hosts, and what lies between them";
    Some(Finding::warning("segments", observed, cure))
}

fn segments_once(paths: &[&AgentPath]) -> Option<Finding> {
    let is_known = |path: &&&AgentPath| {
        path.retransmitted_by_agent.is_some() && path.retransmitted_by_server.is_some()
    };
    let are_known = !paths.is_empty() && paths.iter().all(|path| is_known(&path));
    are_known.then(|| Finding::fine("segments", "none was sent again"))
}

fn path_mtu(path: &AgentPath) -> Option<Finding> {
    let (observed, cure) = match path.path_mtu {
        Some(PATH_MTU_MIN..) => return None,
        Some(bytes) => (
            format!("{}: {} bytes", path.agent, count(bytes.into())),
            "a tunnel or a link of the path carries small packets only: raise its MTU \
             (`ip link set DEVICE mtu 1500`), or expect more segments of large --packet-size",
        ),
        None => (
            format!("{}: not known", path.agent),
            "the agent has not reported it: use the same release on all hosts, or see \
             `ip route get ADDRESS` and `ping -M do -s 1252 ADDRESS` there",
        ),
    };
    Some(Finding::warning("path mtu", observed, cure))
}

fn mtus_wide(paths: &[&AgentPath]) -> Option<Finding> {
    let least = paths.iter().filter_map(|path| path.path_mtu).min()?;
    let observed = match paths.len() {
        1 => format!("{} bytes", count(least.into())),
        _ => format!("{} bytes or more", count(least.into())),
    };
    Some(Finding::fine("path mtu", observed))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::doctor::{
        finding::Level,
        path::tests::{far, near, on_clock},
        trial::Ground,
    };

    fn found(path: AgentPath, check: &str) -> Finding {
        let findings = paths(&[path]);
        let finding = findings.iter().find(|of| of.check == check);
        finding.unwrap_or_else(|| panic!("{findings:?}")).clone()
    }

    fn probing(change: impl FnOnce(&mut v1::Path)) -> AgentPath {
        let mut path = far();
        path.probes.as_mut().map(change).expect("it probes");
        path
    }

    #[test]
    fn what_is_promised_is_what_is_proved() {
        let far_promise = "one-way times to ± 53.0 µs (proved), queueing to ± 8.00 µs (estimated)";
        assert_eq!(promise(&far()), far_promise);
        let same = "same clock: transit and latency are exact, to ± 12.1 µs by the exchanges alone";
        assert_eq!(promise(&near()), same);
        let claimed = Bound {
            ns: 1_000,
            is_claimed: true,
        };
        let claimed = AgentPath {
            one_way: Some(claimed),
            queueing_bound_ns: None,
            ..far()
        };
        let expected = "one-way times to ± 1.00 µs (claimed), no queueing";
        assert!(promise(&claimed).starts_with(expected));
        let unsure = AgentPath {
            clock: on_clock(Relation::Same(v1::SameClock::default())),
            ..near()
        };
        assert!(!promise(&unsure).contains('±'), "{}", promise(&unsure));
    }

    #[test]
    fn without_a_relation_no_time_between_the_clocks_is_promised_and_the_reason_is_named() {
        let blind = |path: AgentPath| AgentPath {
            one_way: None,
            queueing_bound_ns: None,
            ..path
        };
        let old = AgentPath {
            can_probe: false,
            probes: None,
            version: "0.0.9".into(),
            ..blind(far())
        };
        let uneven = blind(probing(|of| of.contradictions = 1));
        let silent = blind(probing(|of| of.probes_answered = 0));
        // Said to be the same at the end, but not for the whole run.
        let doubtful = AgentPath {
            has_transit: false,
            ..near()
        };
        for (path, why) in [
            (old, "0.0.9, cannot probe"),
            (uneven, "a clock was stepped"),
            (silent, "no probe was answered"),
            (doubtful, "is not known"),
        ] {
            let promise = promise(&path);
            assert!(promise.starts_with("no times between"), "{promise}");
            assert!(promise.contains(why) && !promise.contains('±'), "{promise}");
            let finding = found(path, "clock");
            assert_eq!(finding.level, Level::Warning);
            assert!(finding.observed.contains(why), "{finding:?}");
        }
    }

    #[test]
    fn a_good_path_has_nothing_to_cure() {
        let findings = paths(&[far(), near()]);
        let checks: Vec<_> = findings.iter().map(|of| of.check).collect();
        assert_eq!(checks, ["clock", "bound", "probes", "segments", "path mtu"]);
        assert!(
            findings.iter().all(|of| of.level == Level::Fine),
            "{findings:?}"
        );
    }

    #[test]
    fn what_is_wrong_with_a_path_is_found_with_the_name_of_its_agent() {
        let wide = Bound {
            ns: 1_000_001,
            is_claimed: false,
        };
        for (check, path) in [
            (
                "bound",
                AgentPath {
                    one_way: Some(wide),
                    ..far()
                },
            ),
            ("probes", probing(|of| of.probes_answered -= 1)),
            (
                "segments",
                AgentPath {
                    retransmitted_by_agent: Some(1),
                    ..far()
                },
            ),
            (
                "segments",
                AgentPath {
                    retransmitted_by_server: Some(1),
                    ..far()
                },
            ),
            (
                "path mtu",
                AgentPath {
                    path_mtu: Some(1_279),
                    ..far()
                },
            ),
            (
                "path mtu",
                AgentPath {
                    path_mtu: None,
                    ..far()
                },
            ),
        ] {
            let finding = found(path, check);
            assert_eq!(finding.level, Level::Warning, "{finding:?}");
            assert!(finding.observed.starts_with("far: "), "{finding:?}");
        }
        let at_the_limit = AgentPath {
            path_mtu: Some(1_280),
            ..far()
        };
        assert_eq!(found(at_the_limit, "path mtu").level, Level::Fine);
    }

    #[test]
    fn answers_that_are_on_their_way_at_the_end_are_not_lost() {
        let slow = |max_ns: i64, lost: u64| {
            probing(|of| {
                of.probes_answered -= lost;
                of.probe_rtt.as_mut().expect("answered").max_ns = max_ns;
            })
        };
        let findings = |path| {
            let found = paths(&[path]);
            found.iter().filter(|of| of.level > Level::Fine).count()
        };
        assert_eq!(findings(slow(400_000_000, 21)), 0);
        assert_eq!(findings(slow(400_000_000, 22)), 1);
        assert_eq!(findings(slow(200_000_000, 1)), 1, "it waits for those");
    }

    #[test]
    fn what_was_not_measured_is_a_problem_and_nothing_else_is_found_of_it() {
        let ground = Ground {
            code: "NO_ROUTE".into(),
            sentence: "no route".into(),
            remedy: None,
        };
        let refused = AgentPath {
            refused: Some(ground),
            path_mtu: None,
            ..far()
        };
        assert_eq!(
            promise(&refused),
            "nothing, since its run shows nothing: NO_ROUTE"
        );
        let findings = paths(&[refused]);
        assert_eq!(findings.len(), 1, "{findings:?}");
        let finding = &findings[0];
        assert_eq!((finding.check, finding.level), ("run", Level::Problem));
        assert!(finding.cure.as_ref().is_some_and(|cure| !cure.is_empty()));
    }

    #[test]
    fn a_figure_that_nobody_knows_is_never_found_to_be_fine() {
        let unknown = AgentPath {
            probes: None,
            path_mtu: None,
            retransmitted_by_agent: None,
            retransmitted_by_server: None,
            ..near()
        };
        let fine = paths(&[unknown]);
        let fine: Vec<_> = fine.iter().filter(|of| of.level == Level::Fine).collect();
        assert!(fine.iter().all(|of| of.check == "clock"), "{fine:?}");
        assert!(paths(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn every_finding_that_is_not_fine_has_a_cure_and_no_figure_panics(
            one_way in proptest::option::of(any::<i64>()),
            queueing in proptest::option::of(any::<i64>()),
            sent: u64,
            answered: u64,
            max_ns: i64,
            contradictions: u32,
            mtu in proptest::option::of(any::<u32>()),
            again in proptest::option::of(any::<u64>()),
            has_transit: bool,
            can_probe: bool,
        ) {
            let mut path = far();
            path.one_way = one_way.map(|ns| Bound { ns, is_claimed: false });
            path.queueing_bound_ns = queueing;
            path.path_mtu = mtu;
            path.retransmitted_by_agent = again;
            (path.has_transit, path.can_probe) = (has_transit, can_probe);
            let probes = path.probes.as_mut().unwrap();
            (probes.probes_sent, probes.probes_answered) = (sent, answered);
            probes.contradictions = contradictions;
            probes.probe_rtt.as_mut().unwrap().max_ns = max_ns;
            let promised = promise(&path);
            prop_assert!(one_way.is_some() || !promised.contains("one-way"));
            for finding in paths(&[path, near()]) {
                prop_assert_eq!(finding.level == Level::Fine, finding.cure.is_none());
            }
        }
    }
}
