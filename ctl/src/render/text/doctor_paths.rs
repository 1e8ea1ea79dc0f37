//! What `benchctl doctor --agents` has found: of each agent what can be promised, and the figures
//! that say so; then the findings.

use metronome_proto::{
    json::times::quantile_ns,
    v1::{self, clock_relation::Relation},
};

use super::{
    doctor::findings,
    figures::{self, known},
    screen::Screen,
    tables,
};
use crate::doctor::{
    finding::Finding,
    judge::path::promise,
    path::{AgentPath, Paths},
};

/// Before all but the name of an agent.
const INDENT: &str = "  ";
/// Columns of the names of figures, with the blanks behind them.
const NAME_WIDTH: usize = 12;

/// A paragraph for each agent, then the findings, the worst first.
pub(crate) fn paths(paths: &Paths, found: &[Finding], screen: Screen) -> String {
    let Screen { width, colour } = screen;
    let has_several = paths.agents.len() > 1;
    let agents = paths.agents.iter();
    let mut text: String = agents
        .map(|path| agent(path, has_several, width) + "\n")
        .collect();
    text.push_str(&findings(found, width, colour));
    text
}

fn agent(path: &AgentPath, has_several: bool, width: usize) -> String {
    let room = width - INDENT.len();
    let promised = figures::wrapped(&figures::clean(&(promise(path) + ".")), room);
    let mut lines = vec![figures::text(&path.agent)];
    lines.extend(promised.into_iter().map(|line| INDENT.to_owned() + &line));
    // What was not measured has no figures, not ones that are not known.
    let rows = match path.refused {
        Some(_) => Vec::new(),
        None => rows(path, has_several),
    };
    for (name, parts) in rows {
        let mark = format!("{INDENT}{name:<NAME_WIDTH$}");
        let flowed = figures::flowed(parts, room - NAME_WIDTH);
        lines.extend(figures::marked(&mark, flowed));
    }
    lines.join("\n") + "\n"
}

fn rows(path: &AgentPath, has_several: bool) -> Vec<(&'static str, Vec<String>)> {
    let mut rows = vec![
        ("probe rtt", probe_rtt(path)),
        ("clock", clock(path)),
        (
            "path mtu",
            vec![known(path.path_mtu, |bytes| {
                format!("{} bytes", figures::count(bytes.into()))
            })],
        ),
        (
            "sent again",
            vec![
                format!(
                    "{} by the agent's host",
                    known(path.retransmitted_by_agent, figures::count)
                ),
                format!(
                    "{} by the server's",
                    known(path.retransmitted_by_server, figures::count)
                ),
            ],
        ),
        ("probes lost", vec![probes_lost(path)]),
    ];
    if has_several {
        rows.push(("start", vec![start(path)]));
    }
    rows
}

fn probe_rtt(path: &AgentPath) -> Vec<String> {
    let Some(rtt) = path.probes.as_ref().and_then(|of| of.probe_rtt.as_ref()) else {
        return vec![figures::UNKNOWN.into()];
    };
    let quantile = |name: &str, ppm| {
        let time = known(quantile_ns(rtt, ppm), figures::time);
        format!("{name} {time}")
    };
    vec![
        format!("min {}", figures::time(rtt.min_ns)),
        quantile("p50", 500_000),
        quantile("p99", 990_000),
        format!("max {}", figures::time(rtt.max_ns)),
    ]
}

/// The relation, and the drift where there is one.
fn clock(path: &AgentPath) -> Vec<String> {
    match path.relation() {
        None => vec![figures::UNKNOWN.into()],
        Some(Relation::Same(same)) => {
            let bound = known(same.bound_ns, figures::time);
            vec![format!("same ± {bound}")]
        }
        Some(Relation::Offset(offset)) => {
            vec![tables::clock(Relation::Offset(offset)), drift(&offset)]
        }
        Some(relation @ Relation::Unknown(_)) => vec![tables::clock(relation)],
    }
}

fn drift(offset: &v1::OffsetClock) -> String {
    let ppm = |ppb: u64| figures::decimal(ppb as f64 / 1e3, 3);
    let sign = if offset.drift_ppb < 0 { "-" } else { "+" };
    format!(
        "drift {sign}{} ± {} ppm",
        ppm(offset.drift_ppb.unsigned_abs()),
        ppm(offset.drift_bound_ppb.unsigned_abs())
    )
}

fn probes_lost(path: &AgentPath) -> String {
    match (path.probes_lost(), &path.probes) {
        (Some(lost), Some(probes)) => format!(
            "{} of {}",
            figures::count(lost),
            figures::count(probes.probes_sent)
        ),
        _ => figures::UNKNOWN.into(),
    }
}

fn start(path: &AgentPath) -> String {
    known(path.start_skew_ns, |ns| {
        let bound = known(path.start_skew_bound_ns, figures::time);
        format!("{} ± {bound} after the first", figures::time(ns))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::{
        judge,
        path::tests::{far, near},
    };

    fn shown(agents: Vec<AgentPath>, width: usize) -> String {
        let findings = judge::path::paths(&agents);
        let seconds = 22.0;
        paths(&Paths { seconds, agents }, &findings, Screen::of(width))
    }

    #[test]
    fn the_promise_comes_before_the_figures_and_the_findings_last() {
        let expected = "\
far
  one-way times to ± 53.0 µs (proved), queueing to ± 8.00 µs (estimated).
  probe rtt   min 69.1 µs  p50 90.1 µs  p99 120 µs  max 1.05 ms
  clock       offset -3,600 s ± 25.5 µs  drift -1.32 ± 4.857 ppm
  path mtu    1,420 bytes
  sent again  0 by the agent's host  0 by the server's
  probes lost 0 of 1,094
  start       0 ns ± 50.3 µs after the first

near
  same clock: transit and latency are exact, to ± 12.1 µs by the exchanges
  alone.
  probe rtt   –
  clock       same ± 12.1 µs
  path mtu    1,500 bytes
  sent again  0 by the agent's host  0 by the server's
  probes lost –
  start       0 ns ± 50.3 µs after the first

ok       clock         ";
        let text = shown(vec![far(), near()], 80);
        assert!(text.starts_with(expected), "{text}");
    }

    #[test]
    fn an_agent_alone_has_no_start_and_what_is_not_known_is_a_dash() {
        let text = shown(vec![far()], 80);
        assert!(!text.contains("start "), "{text}");
        let text = shown(vec![AgentPath::default()], 80);
        for line in [
            "probe rtt   –",
            "clock       –",
            "path mtu    –",
            "sent again  – by the agent's host  – by the server's",
            "probes lost –",
        ] {
            assert!(text.contains(&format!("  {line}\n")), "{text}");
        }
        let figures = text.split("probe rtt").nth(1).unwrap_or_default();
        let figures = figures.split("\n\n").next().unwrap_or_default();
        assert!(!figures.contains('0'), "{text}");
    }

    #[test]
    fn no_line_is_wider_than_the_screen() {
        let refused = v1::Failure::new(
            v1::FailureCode::ConnectionRefused,
            "agent b: connection refused at 10.77.0.1:8888",
        );
        let agent = crate::doctor::path::tests::agent("b");
        let refused = AgentPath::refused(&agent, &refused);
        let lossy = AgentPath {
            retransmitted_by_agent: Some(1_114),
            path_mtu: None,
            one_way: None,
            ..far()
        };
        for width in [40, 80, 200] {
            let text = shown(vec![refused.clone(), lossy.clone(), near()], width);
            for line in text.lines() {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
            assert!(text.contains("CONNECTION_REFUSED"), "{text}");
        }
    }

    #[test]
    fn foreign_text_cannot_write_on_the_screen() {
        let hostile = AgentPath {
            agent: "a\x1b[2J".into(),
            version: "\x1b[2J".into(),
            ..AgentPath::default()
        };
        let text = shown(vec![hostile], 80);
        assert!(!text.contains('\x1b'), "{text}");
    }
}
