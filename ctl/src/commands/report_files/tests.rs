//! The files say what the exit code does, whatever the run was.

use std::{fs, path::Path};

use proptest::prelude::*;

use super::*;

fn flags(folder: &Path) -> ReportFlags {
    ReportFlags {
        junit: Some(folder.join("junit.xml")),
        markdown: Some(folder.join("summary.md")),
        pictures: PictureFlags::default(),
    }
}

fn run_with(
    state: i32,
    verdict: i32,
    outcome: i32,
    objectives: &[i32],
    has_failure: bool,
) -> v1::Run {
    let of = |status: &i32| v1::Objective {
        status: *status,
        ..v1::Objective::default()
    };
    v1::Run {
        run_id: "0199f0c2a1b2c3d4".into(),
        state,
        failure: has_failure.then(Failure::default),
        report: Some(v1::Report {
            verdict: Some(v1::Verdict {
                status: verdict,
                ..v1::Verdict::default()
            }),
            outcome: Some(v1::Outcome {
                status: outcome,
                objectives: objectives.iter().map(of).collect(),
            }),
            ..v1::Report::default()
        }),
        ..v1::Run::default()
    }
}

/// Both files after a command that has kept `run` and came to `result`.
fn files_of(run: Option<&v1::Run>, result: Result<Exit, Failure>) -> (String, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let flags = flags(folder.path());
    let mut files = ReportFiles::open(&flags).expect("a folder to write to");
    if let Some(run) = run {
        files.keep(run);
    }
    let expected = result.clone();
    assert_eq!(files.finish(result), expected);
    let read = |path: Option<PathBuf>| fs::read_to_string(path.expect("asked for"));
    (
        read(flags.junit).expect("JUnit"),
        read(flags.markdown).expect("Markdown"),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn every_case_passes_when_the_exit_is_0_and_one_does_not_when_it_is_another(
        state in prop_oneof![Just(60), (0..10).prop_map(|tens| tens * 10), any::<i32>()],
        verdict in prop_oneof![Just(1), 0..5_i32],
        outcome in 0..5_i32,
        objectives in prop::collection::vec(0..5_i32, 0..4),
        has_failure in prop_oneof![9 => Just(false), 1 => Just(true)],
    ) {
        let run = run_with(state, verdict, outcome, &objectives, has_failure);
        let exit = Exit::of_run(&run);
        let (junit, markdown) = files_of(Some(&run), exit.clone());
        let document = roxmltree::Document::parse(&junit).expect("XML");
        let mut nodes = document.descendants();
        let is_flawed = nodes.any(|it| it.has_tag_name("failure") || it.has_tag_name("error"));
        prop_assert_eq!(is_flawed, exit != Ok(Exit::Done), "{:?} {}", exit, junit);
        let first = markdown.lines().next().unwrap_or_default();
        let word = match exit {
            Ok(Exit::Done) if outcome == 1 => "## HELD · valid",
            Ok(Exit::Done) => "## VALID · not judged",
            Ok(Exit::NotHeld) => "## NOT HELD · valid",
            Ok(Exit::Partial) => "## PARTIAL",
            Ok(Exit::Invalid) => "## INVALID",
            _ => "## NO RESULT",
        };
        prop_assert!(first.starts_with(word), "{} {}", word, first);
    }
}

#[test]
fn a_failure_of_the_command_is_in_both_files() {
    let failure = Failure::new(FailureCode::NoAgent, "no agent is connected");
    let (junit, markdown) = files_of(None, Err(failure));
    assert!(junit.contains("NO_AGENT") && junit.contains(r#"errors="1""#));
    assert!(markdown.starts_with("## NO RESULT\n"), "{markdown}");
    // It stands where the runs with these labels stand.
    let asked = v1::Run {
        labels: [("suite".into(), "nightly".into())].into(),
        ..v1::Run::default()
    };
    let failure = Failure::new(FailureCode::NoAgent, "no agent is connected");
    let (junit, markdown) = files_of(Some(&asked), Err(failure));
    assert!(junit.contains(r#"classname="metronome.suite=nightly" name="verdict""#));
    assert!(
        !junit.contains("run_id") && !junit.contains("state"),
        "{junit}"
    );
    assert!(
        markdown.starts_with("## NO RESULT: suite=nightly\n\n- "),
        "{markdown}"
    );
    let running = run_with(40, 0, 0, &[], false);
    let (junit, _) = files_of(Some(&running), Ok(Exit::Other));
    assert!(junit.contains("RUN_NOT_ENDED") && junit.contains("has not ended"));
}

#[test]
fn a_file_of_an_earlier_run_does_not_pass_for_this_ones_and_summaries_add_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let flags = flags(folder.path());
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).expect("a file");
    let held = run_with(60, 1, 1, &[1], false);
    for _ in 0..2 {
        let mut files = ReportFiles::open(&flags).expect("a folder to write to");
        assert_eq!(read("junit.xml"), "");
        files.keep(&held);
        assert_eq!(files.finish(Ok(Exit::Done)), Ok(Exit::Done));
    }
    assert_eq!(read("junit.xml").matches("<testsuite ").count(), 1);
    assert_eq!(read("summary.md").matches("## HELD").count(), 2);
    // A command that dies leaves no earlier result behind.
    drop(ReportFiles::open(&flags));
    assert_eq!(read("junit.xml"), "");
    // Who left the run is no success.
    let mut files = ReportFiles::open(&flags).expect("a folder to write to");
    files.left("run x goes on");
    assert_eq!(files.finish(Ok(Exit::Interrupted)), Ok(Exit::Interrupted));
    assert!(read("junit.xml").contains("run x goes on"));
}

#[test]
fn a_file_that_cannot_be_opened_is_refused_with_its_flag_and_the_way_out() {
    let flags = |path: &str| ReportFlags {
        junit: Some(path.into()),
        markdown: None,
        ..ReportFlags::default()
    };
    for path in ["/nowhere/at/all.xml", "/", "-", ""] {
        let refused = ReportFiles::open(&flags(path)).expect_err(path);
        assert_eq!(Exit::of_failure(&refused), Exit::Usage);
        let sentence = &refused.sentence;
        assert!(sentence.starts_with("--junit: "), "{sentence}");
        assert!(sentence.contains("give"), "{sentence}");
    }
}

#[test]
fn two_forms_do_not_share_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("both");
    let flags = ReportFlags {
        junit: Some(path.clone()),
        markdown: Some(path.clone()),
        ..ReportFlags::default()
    };
    let refused = ReportFiles::open(&flags).expect_err("one file");
    assert!(refused.sentence.starts_with("--markdown: "), "{refused:?}");
    assert!(!path.exists());
    let flags = ReportFlags {
        junit: Some(path.clone()),
        pictures: PictureFlags {
            report: Some(path),
            ..PictureFlags::default()
        },
        ..ReportFlags::default()
    };
    let refused = ReportFiles::open(&flags).expect_err("one file");
    assert!(refused.sentence.starts_with("--report: "), "{refused:?}");
}

#[test]
fn a_file_that_takes_no_more_is_exit_1_but_for_ctrl_c_and_failures() {
    let flags = ReportFlags {
        junit: Some("/dev/full".into()),
        markdown: None,
        ..ReportFlags::default()
    };
    let invalid = run_with(60, 3, 3, &[], false);
    let failure = bad_flag("--rate", "too high");
    for (result, exit) in [
        (Ok(Exit::Invalid), Ok(Exit::Other)),
        (Ok(Exit::Interrupted), Ok(Exit::Interrupted)),
        (Err(failure.clone()), Err(failure)),
    ] {
        let mut files = ReportFiles::open(&flags).expect("it opens");
        files.keep(&invalid);
        assert_eq!(files.finish(result), exit);
    }
}
