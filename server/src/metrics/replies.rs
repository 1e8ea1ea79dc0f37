//! The metrics of replies and round trips. What agents report of them counts once a run has ended;
//! round trips of probes are those of an agent's last run.

use super::{
    exemplar::Exemplars,
    family::{
        Family, Kind,
        Unit::{Count, Seconds},
        counter, distribution, labelled,
    },
    figures::Figures,
};

/// Their families.
pub(super) fn families(figures: &Figures) -> Vec<Family> {
    let (totals, control) = (&figures.totals, &figures.control);
    let round_trips = &control.round_trips;
    let none = Exemplars::default();
    vec![
        counter(
            "metronome_replies_wanted",
            Count("{packet}"),
            "Packets of verified clients that ask for a reply",
            totals.counts.replies_wanted.unwrap_or(0),
        ),
        counter(
            "metronome_replies_dropped",
            Count("{packet}"),
            "Packets of these without a reply, since 254 of their connection were unsent",
            totals.counts.replies_dropped.unwrap_or(0),
        ),
        counter(
            "metronome_replies_unexpected",
            Count("{frame}"),
            "Frames in the place of a reply that are none, as reported by agents",
            control.replies_unexpected,
        ),
        distribution(
            "metronome_rtt_from_due",
            "From due to the arrival of the reply, of runs that have ended and are not invalid",
            &round_trips.from_due,
            &none,
        ),
        distribution(
            "metronome_rtt_from_write",
            "From written to the arrival of the reply, of runs that have ended and are not invalid",
            &round_trips.from_write,
            &none,
        ),
        probes(figures),
    ]
}

fn probes(figures: &Figures) -> Family {
    let values = figures.control.probes.iter().flat_map(|(agent, times)| {
        times.quantiles.iter().map(move |of| {
            let quantile = f64::from(of.ppm) / 1e6;
            let labels = vec![("agent", agent.clone()), ("quantile", quantile.to_string())];
            (labels, of.ns as f64 / 1e9)
        })
    });
    let help = "Round trips of an agent's probes in its last run that has ended and is not invalid";
    labelled(
        Kind::Gauge,
        "metronome_agent_probe_rtt",
        Seconds,
        help,
        values,
    )
}
