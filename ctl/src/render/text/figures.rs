//! How numbers and foreign text look to people.
//!
//! A comma parts thousands, a point the decimals, whatever the locale: results are compared across
//! machines. What is measured has three digits and a unit of its own, so that no value but 0 is
//! shown as 0; what was asked for is shown as it was asked for.

use std::fmt::Display;

use prost_types::Timestamp;

use metronome_proto::{
    json::values::{self, Word},
    names::is_harmful,
    packet::FRAME_BYTES,
    profile::hz,
    v1::{self, profile::Shape},
};

pub(crate) use metronome_proto::quantity::{count, time};
pub(crate) use metronome_proto::quantity::{fixed, rate};
pub(super) use metronome_proto::{
    layout::{flowed, marked, shortened, unbroken, wrapped},
    profile::Profile,
    quantity::{decimal, few_digits, hertz, three_digits, time_exact, time_mean},
};

/// What stands where a figure is not known.
pub(crate) const UNKNOWN: &str = "–";

/// A figure that may not be known.
pub(crate) fn known<T, D: Display>(figure: Option<T>, text: impl FnOnce(T) -> D) -> String {
    figure.map_or_else(|| UNKNOWN.into(), |figure| text(figure).to_string())
}

/// A word that may not be known, as people write it: `not held`.
pub(crate) fn word(word: Option<Word>) -> String {
    known(word, |word| word.replace('_', " ").to_lowercase())
}

/// A counter by its name in JSON, as people write it: `left out`, `warm-up left out`.
pub(crate) fn counter_name(name: &str) -> String {
    name.replace("warm_up", "warm-up").replace('_', " ")
}

/// So many things: `1 client`, `2 clients`.
pub(crate) fn number_of(number: u64, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", count(number))
}

/// A share in millionths, to the last one: `99.9999 %`.
pub(super) fn share(ppm: u32) -> String {
    format!("{} %", decimal(f64::from(ppm) / 1e4, 4))
}

/// Foreign text for a terminal: characters that could rewrite the screen, or hide, become `?`.
pub(crate) fn clean(text: &str) -> String {
    text.replace(is_harmful, "?")
}

/// Foreign text that is empty where it is not known.
pub(super) fn text(text: &str) -> String {
    known((!text.is_empty()).then_some(text), clean)
}

/// The labels of a run: `host=a rack=7`.
pub(crate) fn labels(run: &v1::Run) -> String {
    let labels = run.labels.iter();
    let labels = labels.map(|(key, value)| format!("{key}={value}"));
    clean(&labels.collect::<Vec<_>>().join(" "))
}

/// The plan in a few words: `10 × 10 kHz × 10 s`, `10 × 50 every 5 ms, × 10 s`, or `2 groups, 30
/// clients × 10 s`.
pub(crate) fn plan(plan: &v1::Plan) -> String {
    let what = match &plan.groups[..] {
        [] => UNKNOWN.into(),
        // A comma, so that it is not the time of the shape that seems to be multiplied.
        [group] if ends_with_a_time(group) && packet_bytes(group) == 32 => {
            clients_and_rate(group) + ","
        }
        _ => load(plan),
    };
    format!("{what} × {}", duration(plan))
}

/// The load of a plan in a few words, without how long it lasts.
pub(crate) fn load(plan: &v1::Plan) -> String {
    match &plan.groups[..] {
        [] => String::new(),
        [group] => clients_and_rate(group),
        groups => {
            let clients = groups.iter().map(|group| u64::from(group.clients)).sum();
            format!("{} groups, {}", groups.len(), number_of(clients, "client"))
        }
    }
}

/// One group of a plan in a few words: `10 × 10 kHz`, `10 × 50 every 5 ms`, with the size of
/// packets of more than 32 bytes: `10 × 10 kHz × 200 B`.
pub(super) fn clients_and_rate(group: &v1::Group) -> String {
    let shape = known(profile(group), shape);
    let load = format!("{} × {shape}", count(group.clients.into()));
    match packet_bytes(group) {
        32 => load,
        bytes if ends_with_a_time(group) => format!("{load}, × {} B", count(bytes.into())),
        bytes => format!("{load} × {} B", count(bytes.into())),
    }
}

/// Bytes of each packet of a group. A plan of an earlier version has none.
pub(super) fn packet_bytes(group: &v1::Group) -> u32 {
    match group.packet_bytes {
        0 => FRAME_BYTES as u32,
        bytes => bytes,
    }
}

/// Bytes per second, in the unit that shows three digits: `20.0 MB/s`.
pub(super) fn bytes_per_second(bytes: f64) -> String {
    let units = [(1.0, "B"), (1e3, "kB"), (1e6, "MB"), (1e9, "GB")];
    // 999.5 of a unit are shown as 1.00 of the next one.
    let mut fitting = units
        .into_iter()
        .filter(|(factor, _)| bytes < 999.5 * factor);
    let (factor, unit) = fitting.next().unwrap_or((1e9, "GB"));
    format!("{} {unit}/s", three_digits(bytes / factor))
}

/// `None` for a shape that this version does not have.
fn profile(group: &v1::Group) -> Option<Profile> {
    Profile::try_from(group.profile.as_ref()?).ok()
}

/// Whether a span of time is the last of the words of its shape.
fn ends_with_a_time(group: &v1::Group) -> bool {
    matches!(
        profile(group),
        Some(Profile::Burst { .. } | Profile::OnOff { .. })
    )
}

/// When a client sends, in the words and the order of the profile's own text, with units: of
/// several steps the highest.
fn shape(profile: Profile) -> String {
    match profile {
        Profile::Constant { rate_millihertz } => frequency(rate_millihertz),
        Profile::Poisson { rate_millihertz } => format!("{} poisson", frequency(rate_millihertz)),
        Profile::Burst { packets, every_ns } => {
            format!("{} every {}", count(packets.into()), span(every_ns))
        }
        Profile::Ramp {
            from_millihertz,
            to_millihertz,
        } => {
            let (from, to) = (frequency(from_millihertz), frequency(to_millihertz));
            match (from.split_once(' '), to.split_once(' ')) {
                _ if from_millihertz == 0 => format!("0..{to}"),
                (Some((number, unit)), _) if to_millihertz == 0 => format!("{number}..0 {unit}"),
                (Some((number, unit)), Some((_, other))) if unit == other => {
                    format!("{number}..{to}")
                }
                _ => format!("{from}..{to}"),
            }
        }
        Profile::Steps(steps) => {
            let highest = known(profile.highest_millihertz(), frequency);
            let number = steps.as_slice().len() as u64;
            format!("{} up to {highest}", number_of(number, "step"))
        }
        Profile::OnOff {
            rate_millihertz,
            on_ns,
            off_ns,
        } => {
            let rate = frequency(rate_millihertz);
            format!("{rate}, on {}, off {}", span(on_ns), span(off_ns))
        }
        Profile::Flood => "max".into(),
    }
}

/// Packets per second as they were asked for, in the unit in which they have one decimal at most:
/// `10 kHz`, `1,234 Hz`.
fn frequency(millihertz: u64) -> String {
    match millihertz {
        1_000_000_000.. if millihertz.is_multiple_of(100_000_000) => {
            format!("{} MHz", hertz(hz(millihertz) / 1e6))
        }
        1_000_000.. if millihertz.is_multiple_of(100_000) => {
            format!("{} kHz", hertz(hz(millihertz) / 1e3))
        }
        _ => format!("{} Hz", hertz(hz(millihertz))),
    }
}

/// A span of time as it was asked for, exactly, in the largest unit that it has one of: `1.5 s`.
fn span(ns: u64) -> String {
    let units = [
        (1_000_000_000, "s", 9),
        (1_000_000, "ms", 6),
        (1_000, "µs", 3),
    ];
    let (unit, name, decimals) = units
        .into_iter()
        .find(|(unit, ..)| ns >= *unit)
        .unwrap_or((1, "ns", 0));
    format!("{} {name}", decimal(ns as f64 / unit as f64, decimals))
}

/// What random arrivals of a plan were drawn from: `seed 42`. `None` where nothing is drawn.
pub(crate) fn seed(plan: &v1::Plan) -> Option<String> {
    let shapes = plan
        .groups
        .iter()
        .filter_map(|group| group.profile.as_ref());
    let mut shapes = shapes.filter_map(|profile| profile.shape.as_ref());
    let is_drawn = shapes.any(|shape| matches!(shape, Shape::Poisson(_)));
    let seed = (plan.seed > 0).then_some(plan.seed);
    // As it is given again: without commas.
    is_drawn.then(|| format!("seed {}", known(seed, |seed| seed)))
}

/// The beginning that no time has: `warm-up 2 s`. `None` without one.
pub(crate) fn warm_up(plan: &v1::Plan) -> Option<String> {
    let seconds = values::seconds(plan.warm_up.as_ref());
    let seconds = seconds.filter(|seconds| *seconds > 0.0);
    seconds.map(|seconds| format!("warm-up {} s", decimal(seconds, 3)))
}

/// An instant to its second: `2026-01-02T03:04:05Z`.
pub(crate) fn instant(timestamp: Option<&Timestamp>) -> String {
    known(values::instant(timestamp), |instant| {
        let second = instant.split('.').next().unwrap_or_default();
        format!("{second}Z")
    })
}

fn duration(plan: &v1::Plan) -> String {
    let seconds = values::seconds(plan.duration.as_ref());
    known(seconds, |seconds| format!("{} s", decimal(seconds, 3)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_rate_that_was_asked_for_is_in_the_unit_in_which_it_is_short() {
        for (millihertz, text) in [
            (1, "0.001 Hz"),
            (999_000, "999 Hz"),
            (1_000_000, "1 kHz"),
            (1_234_000, "1,234 Hz"),
            (10_000_000, "10 kHz"),
            (10_000_001, "10,000.001 Hz"),
            (12_500_000, "12.5 kHz"),
            (1_000_000_000, "1 MHz"),
            (1_050_000_000, "1,050 kHz"),
        ] {
            assert_eq!(frequency(millihertz), text);
        }
    }

    #[test]
    fn each_shape_is_a_few_words() {
        for (rate, text) in [
            ("10k", "10 kHz"),
            ("1k..20k", "1..20 kHz"),
            ("500..20k", "500 Hz..20 kHz"),
            ("0..2k", "0..2 kHz"),
            ("2k..0", "2..0 kHz"),
            ("1k:5s,5k:5s,10k", "3 steps up to 10 kHz"),
            ("max", "max"),
        ] {
            assert_eq!(shape(rate.parse().unwrap()), text);
        }
        let (rate_millihertz, on_ns, off_ns) = (10_000_000, 2_000_000_000, 1_500_000);
        let poisson = Profile::Poisson { rate_millihertz };
        assert_eq!(shape(poisson), "10 kHz poisson");
        let on_off = Profile::OnOff {
            rate_millihertz,
            on_ns,
            off_ns,
        };
        assert_eq!(shape(on_off), "10 kHz, on 2 s, off 1.5 ms");
        let (packets, every_ns) = (50, 5_000_000);
        let burst = Profile::Burst { packets, every_ns };
        assert_eq!(shape(burst), "50 every 5 ms");
        for (profile, text) in [
            (poisson, "4 × 10 kHz poisson × 2 s"),
            (on_off, "4 × 10 kHz, on 2 s, off 1.5 ms, × 2 s"),
            (burst, "4 × 50 every 5 ms, × 2 s"),
        ] {
            let group = v1::Group {
                clients: 4,
                profile: Some(profile.to_proto()),
                ..v1::Group::default()
            };
            let duration = prost_types::Duration {
                seconds: 2,
                nanos: 0,
            };
            let of = v1::Plan {
                groups: vec![group],
                duration: Some(duration),
                ..v1::Plan::default()
            };
            assert_eq!(plan(&of), text);
        }
    }

    #[test]
    fn a_size_of_more_than_32_bytes_stands_behind_the_rate() {
        for (packet_bytes, rate, text) in [
            (0, Profile::constant(10_000_000), "4 × 10 kHz"),
            (32, Profile::constant(10_000_000), "4 × 10 kHz"),
            (200, Profile::constant(10_000_000), "4 × 10 kHz × 200 B"),
            (1_472, Profile::Flood, "4 × max × 1,472 B"),
            (
                64,
                Profile::Burst {
                    packets: 50,
                    every_ns: 5_000_000,
                },
                "4 × 50 every 5 ms, × 64 B",
            ),
        ] {
            let group = v1::Group {
                clients: 4,
                profile: Some(rate.to_proto()),
                packet_bytes,
                ..v1::Group::default()
            };
            assert_eq!(clients_and_rate(&group), text);
            let of = v1::Plan {
                groups: vec![group],
                ..v1::Plan::default()
            };
            assert_eq!(plan(&of), format!("{text} × –"));
        }
    }

    #[test]
    fn bytes_have_the_unit_that_shows_three_digits() {
        for (bytes, text) in [
            (0.0, "0 B/s"),
            (0.5, "0.500 B/s"),
            (999.4, "999 B/s"),
            (999.5, "1.00 kB/s"),
            (20e6, "20.0 MB/s"),
            (14.72e9, "14.7 GB/s"),
        ] {
            assert_eq!(bytes_per_second(bytes), text);
        }
    }

    #[test]
    fn figures_show_what_they_know() {
        assert_eq!(hertz(10_000.0), "10,000");
        assert_eq!(hertz(10_000.001), "10,000.001");
        assert_eq!(hertz(0.5), "0.5");
    }

    #[test]
    fn shares_and_rates_are_never_more_than_they_are_and_never_nothing() {
        assert_eq!(share(999_999), "99.9999 %");
        assert_eq!(share(1_000_000), "100 %");
        for (hz, text) in [(0.001, "0.001"), (99.999, "99.999"), (99_999.9, "99,999")] {
            assert_eq!(rate(hz), text);
        }
    }

    #[test]
    fn foreign_text_cannot_write_on_the_screen() {
        assert_eq!(clean("a\x1b[31m\r\nb\u{9b}ü"), "a?[31m??b?ü");
    }

    proptest! {
        #[test]
        fn no_figure_panics(number: f64) {
            let _ = (time_mean(number), hertz(number), rate(number), few_digits(number));
            let _ = bytes_per_second(number);
        }
    }
}
