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
    let answered: u64 = probes.map(|of| of.probes_answered).sum();
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
