//! CPU of both ends in the last second, in words: of agents the busiest pacing thread, of the
//! server each worker; and what their hosts kept from them.

use metronome_proto::v1::{EnvironmentRole, HostPoint, HostSeries};

use super::phrases::{Phrase, Tone};
use crate::render::text::figures::{self, UNKNOWN, known};

/// So many workers have a figure each, and more the busiest one's.
const WORKERS_EACH: usize = 6;
/// A thread that has used so much of its core, in percent, has little left.
const BUSY_PERCENT: f64 = 90.0;
/// A host of which the hypervisor took so much, in percent, measures its neighbours.
const STEAL_PERCENT: f64 = 1.0;

/// The agents: which one is the busiest, and how busy it is.
pub(super) fn agents(hosts: &[HostSeries]) -> Vec<Phrase> {
    let agents = || of_role(hosts, EnvironmentRole::Agent);
    let pacing = agents().filter_map(|(name, point)| {
        let threads = percents(point, "pacing-");
        Some((name, threads.into_iter().reduce(f64::max)?))
    });
    let busiest = pacing.max_by(|(_, one), (_, other)| one.total_cmp(other));
    let mut parts = Vec::new();
    if let number @ 2.. = agents().count() {
        let number = figures::number_of(number as u64, "agent");
        parts.push(Phrase::new(3, format!("{number}, busiest")));
    }
    parts.push(match busiest {
        Some((name, used)) => {
            let name = figures::clean(name);
            Phrase::new(0, format!("{name} pacing {}", percent(used))).toned(busy(used))
        }
        None => Phrase::new(0, format!("pacing {UNKNOWN}")),
    });
    parts.extend(of_host(agents().map(|(_, point)| point)));
    parts
}

/// The server: its workers.
pub(super) fn server(hosts: &[HostSeries]) -> Vec<Phrase> {
    let servers = || of_role(hosts, EnvironmentRole::Server);
    let used: Vec<f64> = servers()
        .flat_map(|(_, point)| percents(point, "worker-"))
        .collect();
    let highest = used.iter().copied().reduce(f64::max);
    let number = figures::number_of(used.len() as u64, "worker");
    let workers = match highest {
        None => format!("workers {UNKNOWN}"),
        Some(highest) if used.len() > WORKERS_EACH => {
            format!("{number}, busiest {}", percent(highest))
        }
        Some(_) => {
            let each: Vec<_> = used.iter().map(|used| without_unit(*used)).collect();
            format!("{number} {} %", each.join(" "))
        }
    };
    let mut parts = vec![Phrase::new(0, workers).toned(highest.map_or(Tone::Plain, busy))];
    parts.extend(of_host(servers().map(|(_, point)| point)));
    parts
}

/// What the hosts of some processes kept from them: of several the worst.
fn of_host<'a>(points: impl Iterator<Item = &'a HostPoint> + Clone) -> Vec<Phrase> {
    let steal = points.clone().filter_map(|point| {
        let (stolen, all) = (point.stolen_ns? as f64, point.cores_ns? as f64);
        (all > 0.0 && stolen >= 0.0).then(|| stolen * 100.0 / all)
    });
    let steal = steal.reduce(f64::max);
    let tone = match steal {
        Some(STEAL_PERCENT..) => Tone::Warning,
        _ => Tone::Plain,
    };
    let mut parts = vec![Phrase::new(1, format!("steal {}", known(steal, percent))).toned(tone)];
    let away = points.map(|point| point.away_ns).max();
    parts.extend(away.filter(|away_ns| *away_ns > 0).map(|away_ns| {
        Phrase::new(2, format!("away {}", figures::time(away_ns))).toned(Tone::Warning)
    }));
    parts
}

/// The last point of each process of this role, with its name.
fn of_role(
    hosts: &[HostSeries],
    role: EnvironmentRole,
) -> impl Iterator<Item = (&str, &HostPoint)> + Clone {
    let processes = hosts.iter().filter(move |of| of.role() == role);
    processes.filter_map(|of| Some((of.name.as_str(), of.points.last()?)))
}

/// The shares of a core that the threads of this kind used, percent.
fn percents(point: &HostPoint, prefix: &str) -> Vec<f64> {
    let threads = point.threads.iter();
    let of_kind = threads.filter(|thread| thread.name.starts_with(prefix));
    let used = of_kind.filter(|thread| point.span_ns > 0 && thread.cpu_ns >= 0);
    used.map(|thread| thread.cpu_ns as f64 * 100.0 / point.span_ns as f64)
        .collect()
}

fn busy(percent: f64) -> Tone {
    match percent {
        BUSY_PERCENT.. => Tone::Warning,
        _ => Tone::Plain,
    }
}

/// `77 %`, `0.4 %`.
fn percent(percent: f64) -> String {
    format!("{} %", without_unit(percent))
}

fn without_unit(percent: f64) -> String {
    match percent {
        10.0.. => figures::fixed(percent, 0),
        // No share but 0 is shown as 0.
        percent if percent > 0.0 && percent < 0.1 => "<0.1".into(),
        percent => figures::fixed(percent, 1),
    }
}

#[cfg(test)]
mod tests {
    use metronome_proto::v1::ThreadPoint;

    use super::*;

    fn host(role: EnvironmentRole, name: &str, threads: &[(&str, i64)]) -> HostSeries {
        let thread = |(name, percent): &(&str, i64)| ThreadPoint {
            name: (*name).into(),
            cpu_ns: percent * 10_000_000,
            ..ThreadPoint::default()
        };
        HostSeries {
            role: role.into(),
            name: name.into(),
            points: vec![HostPoint {
                span_ns: 1_000_000_000,
                stolen_ns: Some(8_000_000),
                cores_ns: Some(2_000_000_000),
                threads: threads.iter().map(thread).collect(),
                ..HostPoint::default()
            }],
        }
    }

    fn words(parts: &[Phrase]) -> Vec<&str> {
        parts.iter().map(|part| part.text.as_str()).collect()
    }

    #[test]
    fn both_ends_have_their_busiest_threads_and_what_was_stolen_from_them() {
        let agent = host(
            EnvironmentRole::Agent,
            "a1",
            &[("pacing-0", 42), ("pacing-1", 77), ("replies", 99)],
        );
        let server = host(
            EnvironmentRole::Server,
            "server",
            &[("master", 99), ("worker-0", 22), ("worker-1", 8)],
        );
        let mut hosts = vec![agent, server];
        assert_eq!(words(&agents(&hosts)), ["a1 pacing 77 %", "steal 0.4 %"]);
        assert_eq!(
            words(&super::server(&hosts)),
            ["2 workers 22 8.0 %", "steal 0.4 %"]
        );
        let mut second = host(EnvironmentRole::Agent, "b", &[("pacing-0", 97)]);
        second.points[0].away_ns = 40_000_000;
        second.points[0].stolen_ns = Some(100_000_000);
        hosts.push(second);
        let shown = agents(&hosts);
        assert_eq!(
            words(&shown),
            [
                "2 agents, busiest",
                "b pacing 97 %",
                "steal 5.0 %",
                "away 40.0 ms"
            ]
        );
        assert!(shown[1..].iter().all(|part| part.tone == Tone::Warning));
    }

    #[test]
    fn what_is_not_known_of_a_host_is_a_dash() {
        assert_eq!(words(&agents(&[])), ["pacing –", "steal –"]);
        assert_eq!(words(&server(&[])), ["workers –", "steal –"]);
        let mut impossible = host(EnvironmentRole::Server, "server", &[("worker-0", -1)]);
        impossible.points[0].cores_ns = Some(0);
        assert_eq!(words(&server(&[impossible])), ["workers –", "steal –"]);
    }

    #[test]
    fn of_many_workers_the_busiest_is_shown() {
        let names: Vec<String> = (0..8).map(|index| format!("worker-{index}")).collect();
        let threads: Vec<_> = names.iter().map(|name| (name.as_str(), 45)).collect();
        let hosts = [host(EnvironmentRole::Server, "server", &threads)];
        assert_eq!(words(&server(&hosts))[0], "8 workers, busiest 45 %");
    }
}
