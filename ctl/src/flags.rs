//! What the text of a flag means, and which flag a field of the API came from. Pure.
//!
//! Limits of the plan live in [`metronome_proto::plan`] and are checked there; here is only what a
//! text can get wrong. Errors complete clap's `invalid value 'X' for '--flag <V>': …`.

use std::{collections::BTreeMap, str::FromStr, time::Duration};

use metronome_proto::{
    limits::{
        BURST_PACKETS_MAX, CLIENTS_MAX, DURATION_MAX, DURATION_MIN, ECHO_EVERY_MAX,
        REQUEST_ID_BYTES_MAX, SEED_MAX,
    },
    names::{check_labels, is_name},
    packet_size::PacketSize,
    plan::CLOCK_BOUND_NS_MAX,
    profile::Profile,
};

/// The most workers that `metronome-server` takes.
pub(crate) const WORKERS_MAX: u32 = 256;

/// A whole number of which at most `max` are allowed; its range is the plan's to judge.
pub(crate) fn whole<T: FromStr>(text: &str, max: u64) -> Result<T, String> {
    text.parse()
        .map_err(|_| format!("a whole number from 1 to {max} is allowed"))
}

/// Clients of a group.
pub(crate) fn clients(text: &str) -> Result<u32, String> {
    whole(text, CLIENTS_MAX.into())
}

/// Packets of a burst.
pub(crate) fn burst(text: &str) -> Result<u32, String> {
    whole(text, BURST_PACKETS_MAX.into())
}

/// Bytes of a packet.
pub(crate) fn packet_size(text: &str) -> Result<PacketSize, String> {
    let size = text.parse().ok().and_then(PacketSize::new);
    size.ok_or_else(|| {
        let [min, max] = [PacketSize::MIN, PacketSize::MAX].map(PacketSize::bytes);
        format!("a whole number of bytes from {min} to {max} is allowed")
    })
}

/// Packets from one that asks for a reply to the next. 0 is none: that stands for no reply at all.
pub(crate) fn echo_every(text: &str) -> Result<u32, String> {
    let problem = format!(
        "a whole number from 1 to {ECHO_EVERY_MAX} is allowed; leave it out where no packet is to \
         ask for a reply"
    );
    let packets = text.parse().ok();
    let is_allowed = |packets: &u32| (1..=ECHO_EVERY_MAX).contains(packets);
    packets.filter(is_allowed).ok_or(problem)
}

/// What random arrivals are drawn from. 0 is none: that stands for a seed that is still to be
/// drawn.
pub(crate) fn seed(text: &str) -> Result<u64, String> {
    let seed = whole(text, SEED_MAX)?;
    match (1..=SEED_MAX).contains(&seed) {
        true => Ok(seed),
        false => Err(format!("a whole number from 1 to {SEED_MAX} is allowed")),
    }
}

/// A load of one steady rate: packets per second as a number, with k or M for thousands or
/// millions.
pub(crate) fn steady(text: &str) -> Result<Profile, String> {
    let is_steady = |profile: &Profile| profile.steady_millihertz().is_some();
    let problem = "packets per second are a number here, such as 10000, 10k or 0.5";
    Some(text.parse()?)
        .filter(is_steady)
        .ok_or_else(|| problem.into())
}

/// A span of time whose range is the plan's to judge, since it depends on other fields.
pub(crate) fn span(text: &str) -> Result<Duration, String> {
    metronome_proto::duration::parse(text).map_err(|error| error.to_string())
}

/// A time: [`DURATION_MIN`] to [`DURATION_MAX`].
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let duration = metronome_proto::duration::parse(text)
        .map_err(|error| format!("{error}; 1 ms to 24 h are allowed"))?;
    match (DURATION_MIN..=DURATION_MAX).contains(&duration) {
        true => Ok(duration),
        false => Err("1 ms to 24 h are allowed".into()),
    }
}

/// How far apart wall clocks are said to be at most, ns: 1 to [`CLOCK_BOUND_NS_MAX`].
pub(crate) fn clock_bound(text: &str) -> Result<u64, String> {
    let bound = metronome_proto::duration::parse(text)
        .map_err(|error| format!("{error}; 1 ns to 1 s are allowed"))?;
    let ns = u64::try_from(bound.as_nanos()).ok();
    ns.filter(|ns| (1..=CLOCK_BOUND_NS_MAX).contains(ns))
        .ok_or_else(|| "1 ns to 1 s are allowed".into())
}

/// A label of a run.
pub(crate) fn label(text: &str) -> Result<(String, String), String> {
    let Some((key, value)) = text.split_once('=') else {
        return Err(format!(
            "a label is KEY=VALUE; write name={text} for a name alone"
        ));
    };
    let label = (key.to_owned(), value.to_owned());
    check_labels(&BTreeMap::from([label.clone()]))?;
    Ok(label)
}

/// The name of an agent.
pub(crate) fn agent_name(text: &str) -> Result<String, String> {
    match is_name(text) {
        true => Ok(text.to_owned()),
        false => Err("names of 1 to 63 characters of a-z 0-9 - are allowed, with commas".into()),
    }
}

/// The name of a request.
pub(crate) fn request_id(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if (1..=REQUEST_ID_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "1 to {REQUEST_ID_BYTES_MAX} characters of A-Z a-z 0-9 _ . - are allowed"
    ))
}

/// Each field of a request with its flag, and in a plan with its key. A field stands for those
/// within it that have no line of their own, so those stand before it.
const FIELDS: &[(&str, &str, &str)] = &[
    ("plan.groups.name", "--group", "name"),
    ("plan.groups.clients", "--clients", "clients"),
    ("plan.groups.profile.burst.packets", "--burst", "burst"),
    ("plan.groups.profile.burst.every", "--every", "every"),
    ("plan.groups.profile.on_off.on", "--on", "on"),
    ("plan.groups.profile.on_off.off", "--off", "off"),
    ("plan.groups.profile", "--rate", "rate"),
    ("plan.groups.packet_bytes", "--packet-size", "packet_size"),
    ("plan.groups.payload", "--payload", "payload"),
    ("plan.groups.echo_every", "--echo-every", "echo_every"),
    ("plan.groups.batch", "--batch", "batch"),
    ("plan.groups.phase", "--phase", "phase"),
    ("plan.groups.agents", "--agent", "agents"),
    ("plan.groups.target", "--target", "target"),
    ("plan.duration", "--duration", "duration"),
    ("plan.warm_up", "--warm-up", "warm_up"),
    ("plan.seed", "--seed", "seed"),
    ("plan.on_agent_loss", "--on-agent-loss", "on_agent_loss"),
    ("plan.threads", "--threads", "threads"),
    ("plan.clock_trust.ntp", "--trust-ntp", "clock_trust.ntp"),
    (
        "plan.clock_trust.bound_ns",
        "--clock-bound",
        "clock_trust.bound",
    ),
    ("plan.allow", "--allow", "allow"),
    ("plan.thresholds", "--threshold", "thresholds"),
    (
        "plan.no_default_objectives",
        "--no-default-objectives",
        "default_objectives",
    ),
    ("labels", "--label", ""),
    ("request_id", "--request-id", ""),
    ("filter", "--filter", ""),
    ("order_by", "--order", ""),
    ("page_size", "--limit", ""),
    ("run_id", "RUN", ""),
];

/// Where the plan of a request was given, by which its fields are named.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) enum Origin {
    /// A flag for each field of its one group.
    #[default]
    Flags,
    /// `--group` for each of the groups of these names.
    Groups(Vec<String>),
    /// An argument that has all of it: `--plan`, or `RUN`.
    Argument(&'static str),
}

impl Origin {
    /// The flag by which a part of a group was given, that of one group being `flag`.
    pub(crate) fn flag_of(&self, flag: &'static str) -> &'static str {
        match self {
            Self::Flags => flag,
            Self::Groups(_) => "--group",
            Self::Argument(argument) => argument,
        }
    }

    /// The flag that a field of a request comes from, by its path, and the words with which a
    /// sentence about it begins: `--group name=sensors rate` of `plan.groups[0].profile`.
    pub(crate) fn name<'a>(&self, path: &'a str) -> (&'a str, String) {
        let flag = of_field(path);
        let Some(within) = path.strip_prefix("plan.") else {
            return (flag, flag.to_owned());
        };
        let key = line_of(path).map_or(within, |(_, _, key)| key);
        match (self, group_of(within)) {
            (Self::Groups(names), Some(group)) => {
                let name = names.get(group).map_or("", String::as_str);
                ("--group", group_flag(name, key))
            }
            (Self::Argument(argument), Some(group)) => {
                (argument, format!("{argument}: groups[{group}].{key}"))
            }
            (Self::Argument(argument), None) => (argument, format!("{argument}: {key}")),
            _ => (flag, flag.to_owned()),
        }
    }
}

/// A key of one `--group` of several, as a sentence about it begins.
pub(crate) fn group_flag(name: &str, key: &str) -> String {
    match key {
        "" | "name" => format!("--group name={name}"),
        key => format!("--group name={name} {}", key.replace('_', "-")),
    }
}

/// The group of a path below the plan: 1 of `groups[1].batch`.
fn group_of(within: &str) -> Option<usize> {
    let (index, _) = within.strip_prefix("groups[")?.split_once(']')?;
    index.parse().ok()
}

/// The flag that a field of a request comes from, by its path: `plan.groups[0].batch`. A field
/// without one stays as it is.
fn of_field(path: &str) -> &str {
    line_of(path).map_or(path, |(_, flag, _)| flag)
}

fn line_of(path: &str) -> Option<&'static (&'static str, &'static str, &'static str)> {
    let names = || path.split('.').map(without_index);
    let is_within = |field: &str| {
        let mut names = names();
        field.split('.').all(|name| names.next() == Some(name))
    };
    FIELDS.iter().find(|(field, ..)| is_within(field))
}

/// The path of the field that a flag or an argument sets: `plan.groups[0].batch`. One that sets
/// none stays as it is.
pub(crate) fn field_of(flag: &str) -> String {
    let found = FIELDS.iter().find(|(_, of, _)| *of == flag);
    found
        .map_or(flag, |(field, ..)| field)
        .replace("plan.groups.", "plan.groups[0].")
}

/// `groups` from `groups[0]`.
fn without_index(name: &str) -> &str {
    name.split_once('[').map_or(name, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use metronome_proto::DESCRIPTORS;
    use proptest::prelude::*;
    use prost::Message as _;
    use prost_types::{DescriptorProto, FileDescriptorSet, field_descriptor_proto::Type};

    use super::*;

    #[test]
    fn a_steady_rate_is_no_other_shape() {
        assert_eq!(steady("10k"), Ok(Profile::constant(10_000_000)));
        for text in ["", "ten", "max", "1k..2k", "1k:1s,2k"] {
            assert!(steady(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_seed_is_a_whole_number_that_json_holds() {
        assert_eq!(seed("9007199254740991"), Ok(SEED_MAX));
        for text in ["0", "9007199254740992", "-1", "1.5", ""] {
            assert!(seed(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_and_echoes_are_whole_numbers_of_their_ranges() {
        assert_eq!(packet_size("32"), Ok(PacketSize::MIN));
        assert_eq!(packet_size("1472"), Ok(PacketSize::MAX));
        for text in ["31", "1473", "0", "-1", "64.5", "64B", "", "4294967328"] {
            let problem = packet_size(text).expect_err(text);
            assert!(problem.contains("32 to 1472"), "{problem}");
        }
        assert_eq!(echo_every("1"), Ok(1));
        assert_eq!(echo_every("1000000"), Ok(1_000_000));
        for text in ["0", "1000001", "-1", "1.5", "100th", ""] {
            let problem = echo_every(text).expect_err(text);
            assert!(problem.contains("1 to 1000000"), "{problem}");
        }
    }

    #[test]
    fn a_bound_of_clocks_is_1_ns_to_1_s() {
        for (text, ns) in [
            ("1ns", 1),
            ("1us", 1000),
            ("1s", 1_000_000_000),
            ("0.5", 500_000_000),
        ] {
            assert_eq!(clock_bound(text), Ok(ns), "{text}");
        }
        for text in [
            "0", "0ns", "1001ms", "2", "-1", "-1us", "nan", "inf", "soon", "",
        ] {
            let problem = clock_bound(text).expect_err(text);
            assert!(problem.contains("1 ns to 1 s"), "{problem}");
        }
    }

    #[test]
    fn a_label_has_a_key_and_a_value() {
        let of = |key: &str, value: &str| Ok((key.to_owned(), value.to_owned()));
        assert_eq!(label("host=rack 7"), of("host", "rack 7"));
        assert_eq!(label("a="), of("a", ""));
        assert_eq!(label("a=b=c"), of("a", "b=c"));
        for text in ["=1", "Host=1", "a b=1", "a=\u{7}"] {
            assert!(label(text).is_err(), "{text:?}");
        }
        let problem = label("nightly").expect_err("it has no value");
        assert!(problem.contains("name=nightly"), "{problem}");
    }

    #[test]
    fn a_field_of_the_api_has_the_name_of_its_flag() {
        for (path, flag) in [
            ("plan.groups[0].profile.constant.rate_millihertz", "--rate"),
            ("plan.groups[0].profile.burst.every", "--every"),
            ("plan.groups[0].profile.on_off.rate_millihertz", "--rate"),
            ("plan.warm_up", "--warm-up"),
            ("plan.groups[0].agents.names", "--agent"),
            ("plan.groups[0].target.receivers.address", "--target"),
            ("plan.groups[0].clients", "--clients"),
            ("labels", "--label"),
            ("plan.thresholds[2].limit", "--threshold"),
            ("plan.groups", "plan.groups"),
            ("clients", "clients"),
            ("", ""),
        ] {
            assert_eq!(of_field(path), flag);
        }
    }

    #[test]
    fn a_field_is_named_by_what_has_given_the_plan() {
        let groups = Origin::Groups(vec!["sensors".into(), "feeds".into()]);
        let (plan, run) = (Origin::Argument("--plan"), Origin::Argument("RUN"));
        let rate = "plan.groups[1].profile.constant.rate_millihertz";
        for (origin, path, flag, words) in [
            (&Origin::Flags, rate, "--rate", "--rate"),
            (&groups, rate, "--group", "--group name=feeds rate"),
            (
                &groups,
                "plan.groups[0].agents.names",
                "--group",
                "--group name=sensors agents",
            ),
            (
                &groups,
                "plan.groups[1].packet_bytes",
                "--group",
                "--group name=feeds packet-size",
            ),
            (
                &run,
                "plan.groups[1].payload.records.sha256",
                "RUN",
                "RUN: groups[1].payload",
            ),
            (&groups, "plan.warm_up", "--warm-up", "--warm-up"),
            (&groups, "labels", "--label", "--label"),
            (&plan, rate, "--plan", "--plan: groups[1].rate"),
            (&plan, "plan.warm_up", "--plan", "--plan: warm_up"),
            (&plan, "plan.requires", "--plan", "--plan: requires"),
            (&run, "plan.threads", "RUN", "RUN: threads"),
            (&run, "labels", "--label", "--label"),
        ] {
            assert_eq!(origin.name(path), (flag, words.to_owned()), "{path}");
        }
    }

    #[test]
    fn a_flag_has_the_path_of_its_field_and_the_path_leads_back() {
        for (_, flag, _) in FIELDS {
            assert_eq!(of_field(&field_of(flag)), *flag);
        }
        assert_eq!(field_of("--rate"), "plan.groups[0].profile");
        assert_eq!(field_of("--workers"), "--workers");
    }

    /// Fields of StartRun that no flag sets.
    const WITHOUT_FLAG: &[&str] = &["plan.requires"];

    #[test]
    fn every_field_of_a_start_has_a_flag_or_is_known_to_have_none() {
        let descriptors = FileDescriptorSet::decode(DESCRIPTORS).expect("our own");
        let messages: Vec<_> = descriptors
            .file
            .into_iter()
            .filter(|file| file.package() == "metronome.v1")
            .flat_map(|file| file.message_type)
            .collect();
        let mut paths = Vec::new();
        add_leaves(&messages, ".metronome.v1.StartRunRequest", "", &mut paths);
        assert!(paths.len() > 10, "{paths:?}");
        for path in &paths {
            let has_flag = of_field(path) != path;
            let is_without = WITHOUT_FLAG.contains(&path.as_str());
            assert!(has_flag != is_without, "{path}");
        }
    }

    /// The paths of the fields that hold a value, through all messages of this API.
    fn add_leaves(messages: &[DescriptorProto], of: &str, path: &str, leaves: &mut Vec<String>) {
        let is_meant =
            |message: &&DescriptorProto| of == format!(".metronome.v1.{}", message.name());
        let Some(message) = messages.iter().find(is_meant) else {
            // A message of protobuf itself, or the entry of a map.
            leaves.push(path.trim_end_matches('.').to_owned());
            return;
        };
        if message.field.is_empty() {
            leaves.push(path.trim_end_matches('.').to_owned());
        }
        for field in &message.field {
            let is_list = field.label() == prost_types::field_descriptor_proto::Label::Repeated;
            let is_message = field.r#type() == Type::Message;
            let index = if is_list && is_message { "[0]" } else { "" };
            let of_entry = field.type_name().ends_with("Entry");
            let below = format!(
                "{path}{}{}",
                field.name(),
                if of_entry { "" } else { index }
            );
            if is_message {
                add_leaves(messages, field.type_name(), &format!("{below}."), leaves);
            } else {
                leaves.push(below);
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_has_a_meaning_or_is_refused(text: String) {
            let _ = (steady(&text), duration(&text), clients(&text), of_field(&text));
            let _ = (seed(&text), burst(&text), span(&text));
            let _ = (packet_size(&text), echo_every(&text));
            let _ = label(&text);
            if let Ok(id) = request_id(&text) {
                prop_assert!(id.len() <= REQUEST_ID_BYTES_MAX);
            }
        }
    }
}
