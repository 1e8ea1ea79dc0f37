//! `benchctl rerun`: the plan of a run again.

use std::{collections::BTreeMap, path::Path};

use metronome_proto::{
    packet_size::PacketSize,
    payload::Payload,
    plan::{FieldError, Plan},
    v1::{self, payload::Source},
};

use super::{
    context::Context,
    history::{History, Name},
    payload_file,
    plan::plan_of,
    report_files::ReportFiles,
    start::{self, RunFlags},
};
use crate::{
    exit::{Exit, Failure, bad_flag},
    flags::Origin,
    plans::payload::{ReadFile, records},
};

/// The label that has the id of the run whose plan it is.
const LABEL: &str = "rerun_of";
const PAYLOAD: &str = "--payload";

/// Start a run with the plan and the seed of another one.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Id of the run, a prefix of it that no other has, or `last`.
    #[arg(value_name = "RUN", default_value = "last")]
    run: Name,

    /// The file of records that the run had for its payload, since no run keeps them: the same
    /// bytes, by their SHA-256. GROUP=FILE where several groups had one; repeat for each.
    #[arg(
        help_heading = "Load",
        long = "payload",
        value_name = "[GROUP=]FILE",
        allow_hyphen_values = true
    )]
    payloads: Vec<String>,

    #[command(flatten)]
    flags: RunFlags,
}

/// Starts a run like another one.
pub(crate) async fn run(context: &Context, args: Args) -> Result<Exit, Failure> {
    let mut files = ReportFiles::open(&args.flags.files)?;
    let result = rerun(context, args, &mut files).await;
    files.finish(result)
}

async fn rerun(context: &Context, args: Args, files: &mut ReportFiles) -> Result<Exit, Failure> {
    let history = History::open(context).await?;
    let run = history.run(&args.run).await?;
    let labels = BTreeMap::from([(LABEL.to_owned(), run.run_id.clone())]);
    let origin = Origin::Argument("RUN");
    let mut read = |path: &str| payload_file::read(Path::new(""), path);
    let plan = with_records(plan_of(&run)?, &args.payloads, &mut read)
        .map_err(|problem| bad_flag(PAYLOAD, problem))?;
    start::start(context, &plan, origin, labels, args.flags, files).await
}

/// The plan with the records of these files, GROUP=FILE or FILE, in the place of those that it only
/// describes.
///
/// # Errors
/// A file is missing, is one too many, or is not the one that the run had: a phrase.
fn with_records(plan: Plan, given: &[String], read: &mut ReadFile<'_>) -> Result<Plan, String> {
    let mut described = plan.to_proto();
    let mut files = files_of_groups(&plan, given)?;
    for (group, of) in plan.groups.iter().zip(&mut described.groups) {
        let Some(Source::Records(had)) = of.payload.as_mut().and_then(|of| of.source.as_mut())
        else {
            continue;
        };
        let Some(path) = files.remove(group.name.as_str()) else {
            return Err(missing(&plan, had));
        };
        fill(had, path, group.packet_size, read)?;
    }
    Plan::try_from(&described).map_err(|bad: FieldError| bad.to_string())
}

/// Puts the records of a file in the place of those that a run had.
fn fill(
    had: &mut v1::Records,
    path: &str,
    size: PacketSize,
    read: &mut ReadFile<'_>,
) -> Result<(), String> {
    let data = records(path, size, read)?;
    if metronome_proto::payload::sha256(&data)[..] != had.sha256[..] {
        return Err(format!(
            "{path} is not the file that the run had, {:?} of {} bytes: its SHA-256 is another \
             one; give that file, or start a new run by `benchctl plan show` and `benchctl start \
             --plan`",
            had.name, had.size
        ));
    }
    had.data = data;
    Ok(())
}

/// The file for each group that had one.
fn files_of_groups<'a>(
    plan: &'a Plan,
    given: &'a [String],
) -> Result<BTreeMap<&'a str, &'a str>, String> {
    let names = names_with_records(plan);
    let mut files = BTreeMap::new();
    for text in given {
        let named = text
            .split_once('=')
            .filter(|(name, _)| plan.groups.iter().any(|group| group.name == *name));
        let (name, path) = match (named, &names[..]) {
            (Some((name, path)), _) if names.contains(&name) => (name, path),
            (Some((name, _)), _) => {
                return Err(format!("group {name} of the run had no file; leave it out"));
            }
            (None, [name]) => (*name, text.as_str()),
            (None, []) => return Err("the run had no file for a payload; leave it out".into()),
            (None, names) => {
                return Err(format!(
                    "{text:?} is for none of the groups {}; write GROUP=FILE",
                    names.join(", ")
                ));
            }
        };
        if files.insert(name, path).is_some() {
            return Err(format!(
                "two files are given for group {name}; leave one out"
            ));
        }
    }
    Ok(files)
}

fn names_with_records(plan: &Plan) -> Vec<&str> {
    let groups = plan.groups.iter();
    let with_records = groups.filter(|group| matches!(group.payload, Payload::Records(_)));
    with_records.map(|group| group.name.as_str()).collect()
}

fn missing(plan: &Plan, had: &v1::Records) -> String {
    let names = names_with_records(plan);
    let way_out = match names.len() {
        1 => "--payload FILE".to_owned(),
        _ => format!("--payload GROUP=FILE for each of {}", names.join(", ")),
    };
    format!(
        "the run had records of {:?}, {} bytes, which no run keeps; give {way_out}",
        had.name, had.size
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use metronome_proto::{
        payload::Records,
        plan::{GROUP_DEFAULT, Group},
    };

    use super::*;

    /// A plan of groups with records of these names, only described, and one with zeros.
    fn plan(groups: &[&str]) -> Plan {
        let records = |name: &str| v1::Group {
            name: name.into(),
            clients: 1,
            packet_bytes: 42,
            profile: Some(metronome_proto::profile::Profile::constant(1_000_000).to_proto()),
            payload: Some(v1::Payload {
                source: Some(Source::Records(v1::Records {
                    name: format!("{name}.bin"),
                    data: bytes_of(name),
                    ..v1::Records::default()
                })),
            }),
            ..v1::Group::default()
        };
        let mut groups: Vec<_> = groups.iter().map(|name| records(name)).collect();
        groups.push(v1::Group {
            payload: None,
            ..records("zeros")
        });
        let plan = v1::Plan {
            groups,
            duration: Some(prost_types::Duration {
                seconds: 1,
                nanos: 0,
            }),
            threads: 1,
            ..v1::Plan::default()
        };
        Plan::try_from(&plan).expect("a plan").described()
    }

    /// Ten bytes that belong to a name.
    fn bytes_of(name: &str) -> Vec<u8> {
        name.bytes().cycle().take(10).collect()
    }

    fn again(plan: &Plan, given: &[&str]) -> Result<Plan, String> {
        let given: Vec<String> = given.iter().map(ToString::to_string).collect();
        let mut read = |path: &str| match path.strip_suffix(".bin") {
            Some(name) => Ok(bytes_of(name)),
            None => Err("it cannot be read".into()),
        };
        with_records(plan.clone(), &given, &mut read)
    }

    #[track_caller]
    fn refused(plan: &Plan, given: &[&str], words: &[&str]) {
        let problem = again(plan, given).expect_err("refused");
        for word in words {
            assert!(problem.contains(word), "no {word:?} in {problem}");
        }
    }

    fn data(group: &Group) -> Arc<[u8]> {
        match &group.payload {
            Payload::Records(Records { data, .. }) => data.clone(),
            _ => Arc::default(),
        }
    }

    #[test]
    fn a_run_is_repeated_with_the_records_that_it_had() {
        let one = plan(&[GROUP_DEFAULT]);
        for given in ["default.bin", "default=default.bin"] {
            let again = again(&one, &[given]).expect("the same records");
            assert_eq!(data(&again.groups[0])[..], bytes_of("default")[..]);
            assert_eq!(again.described(), one);
        }
        let two = plan(&["a", "b"]);
        let again = again(&two, &["b=b.bin", "a=a.bin"]).expect("the same records");
        assert_eq!(again.group_without_records(), None);
        assert_eq!(again.described(), two);
        let none = plan(&[]);
        assert_eq!(
            super::with_records(none.clone(), &[], &mut |_| panic!()),
            Ok(none)
        );
    }

    #[test]
    fn a_run_is_not_repeated_without_its_records_or_with_others() {
        let one = plan(&["a"]);
        refused(&one, &[], &["\"a.bin\", 10 bytes", "give --payload FILE"]);
        refused(&one, &["b.bin"], &["b.bin is not the file", "SHA-256"]);
        refused(&one, &["other"], &["other: it cannot be read"]);
        refused(&one, &["a=a.bin", "a.bin"], &["two files", "group a"]);
        refused(&one, &["zeros=a.bin"], &["group zeros", "leave it out"]);
        // A name with an equals sign is a file all the same.
        refused(&one, &["c=d.bin"], &["c=d.bin is not the file"]);
        refused(&plan(&[]), &["a.bin"], &["had no file", "leave it out"]);
        let two = plan(&["a", "b"]);
        refused(
            &two,
            &["a=a.bin"],
            &["\"b.bin\"", "GROUP=FILE for each of a, b"],
        );
        refused(&two, &["a.bin"], &["none of the groups a, b", "GROUP=FILE"]);
        refused(&two, &["a=b.bin", "b=a.bin"], &["is not the file"]);
    }
}
