//! What the text of a flag means, and which flag a field of the API came from. Pure.
//!
//! Limits of the plan live in [`metronome_proto::plan`] and are checked there; here is only what a
//! text can get wrong. Errors complete clap's "invalid value 'X' for '--flag <V>': …".

use std::{collections::BTreeMap, str::FromStr, time::Duration};

use metronome_proto::{
    limits::{BATCH_MAX, CLIENTS_MAX, DURATION_MAX, DURATION_MIN, REQUEST_ID_BYTES_MAX},
    names::check_labels,
    profile::Profile,
};
use metronome_telemetry::whole_number;

/// The most workers that `metronome-server` takes.
pub(crate) const WORKERS_MAX: u32 = 256;
/// Writes per 1000 s and client of the seed's own client, which batches rate / 200 packets.
const SEED_WRITES_MILLIHERTZ: u64 = 200_000;

/// Packets per write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Batch {
    /// 1 to [`BATCH_MAX`].
    Packets(u32),
    /// The rule of the seed's client: rate / 200, at least 1.
    Seed,
}

/// The problem of `--batch seed` with `--rate max`.
pub(crate) const SEED_BATCH_NEEDS_A_RATE: &str = "seed is the rate / 200, and --rate max has no \
     rate: give 1 to 1024, or leave --batch out for 1024";

impl Batch {
    /// Packets per write of a client of this load. `None` for the rule of the seed in a load
    /// without a rate.
    pub(crate) fn packets(self, profile: Profile) -> Option<u32> {
        match self {
            Self::Packets(packets) => Some(packets),
            Self::Seed => {
                let packets = profile.rate_millihertz()? / SEED_WRITES_MILLIHERTZ;
                // More than a plan may have is the plan's to refuse.
                Some(u32::try_from(packets).unwrap_or(u32::MAX).max(1))
            }
        }
    }
}

impl FromStr for Batch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "seed" {
            return Ok(Self::Seed);
        }
        whole_number(1..=BATCH_MAX)(text)
            .map(Self::Packets)
            .map_err(|problem| format!("{problem}, or the word seed for rate / 200"))
    }
}

/// Clients: a whole number; its range is the plan's to judge.
pub(crate) fn clients(text: &str) -> Result<u32, String> {
    text.parse()
        .map_err(|_| format!("a whole number from 1 to {CLIENTS_MAX} is allowed"))
}

/// A load that has a rate: packets per second as a number, with k or M for thousands or millions.
pub(crate) fn paced(text: &str) -> Result<Profile, String> {
    match text.parse()? {
        Profile::Flood => {
            Err("packets per second are a number here, such as 10000, 10k or 0.5".into())
        }
        profile => Ok(profile),
    }
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

/// Where each field of a request comes from. A field stands for those within it.
const FIELDS: &[(&str, &str)] = &[
    ("plan.groups.clients", "--clients"),
    ("plan.groups.profile", "--rate"),
    ("plan.groups.batch", "--batch"),
    ("plan.groups.phase", "--phase"),
    ("plan.groups.agents", "--agent"),
    ("plan.groups.target", "--target"),
    ("plan.duration", "--duration"),
    ("plan.on_agent_loss", "--on-agent-loss"),
    ("plan.threads", "--threads"),
    ("plan.thresholds", "--threshold"),
    ("plan.no_default_objectives", "--no-default-objectives"),
    ("labels", "--label"),
    ("request_id", "--request-id"),
    ("filter", "--filter"),
    ("order_by", "--order"),
    ("page_size", "--limit"),
    ("run_id", "RUN"),
];

/// The flag that a field of a request comes from, by its path: `plan.groups[0].batch`. A field
/// without one stays as it is.
pub(crate) fn of_field(path: &str) -> &str {
    let names = || path.split('.').map(without_index);
    let is_within = |field: &str| {
        let mut names = names();
        field.split('.').all(|name| names.next() == Some(name))
    };
    let found = FIELDS.iter().find(|(field, _)| is_within(field));
    found.map_or(path, |(_, flag)| flag)
}

/// The path of the field that a flag or an argument sets: `plan.groups[0].batch`. One that sets
/// none stays as it is.
pub(crate) fn field_of(flag: &str) -> String {
    let found = FIELDS.iter().find(|(_, of)| *of == flag);
    // Every start has one group.
    found
        .map_or(flag, |(field, _)| field)
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
    fn a_load_with_a_rate_is_no_flood() {
        assert_eq!(paced("10k"), Ok(Profile::constant(10_000_000)));
        for text in ["", "ten", "max"] {
            assert!(paced(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_seeds_batch_follows_the_rate() {
        let packets = |text: &str, millihertz| {
            let batch = Batch::from_str(text).expect("a batch");
            batch.packets(Profile::constant(millihertz))
        };
        assert_eq!(packets("seed", 10_000_000), Some(50));
        assert_eq!(packets("seed", 1_000), Some(1));
        assert_eq!(packets("7", 1_000), Some(7));
        assert_eq!(Batch::Seed.packets(Profile::Flood), None);
        assert_eq!(Batch::Packets(7).packets(Profile::Flood), Some(7));
        for text in ["0", "1025", "-1", "sea"] {
            assert!(Batch::from_str(text).is_err(), "{text}");
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
    fn a_flag_has_the_path_of_its_field_and_the_path_leads_back() {
        for (_, flag) in FIELDS {
            assert_eq!(of_field(&field_of(flag)), *flag);
        }
        assert_eq!(field_of("--rate"), "plan.groups[0].profile");
        assert_eq!(field_of("--workers"), "--workers");
    }

    /// Fields of StartRun that no flag sets: there is one group, and the server names it.
    const WITHOUT_FLAG: &[&str] = &["plan.groups[0].name", "plan.requires"];

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
            let _ = (paced(&text), duration(&text), clients(&text), of_field(&text));
            let _ = (Batch::from_str(&text), label(&text));
            if let Ok(id) = request_id(&text) {
                prop_assert!(id.len() <= REQUEST_ID_BYTES_MAX);
            }
        }

        #[test]
        fn any_rate_makes_a_batch(millihertz: u64) {
            prop_assert!(Batch::Seed.packets(Profile::constant(millihertz)) >= Some(1));
        }
    }
}
