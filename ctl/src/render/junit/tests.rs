//! What is written is well-formed, keeps the rules of Jenkins' schema, and reads back as it was.

use metronome_proto::v1::FailureCode;
use proptest::prelude::*;
use roxmltree::{Document, Node};

use super::*;
use crate::render::front_page::run_of_the_front_page;

fn written(ending: Ending<'_>) -> String {
    file(ending).expect("memory takes all")
}

fn elements<'a>(node: Node<'a, 'a>, name: &str) -> Vec<Node<'a, 'a>> {
    let children = node.children().filter(Node::is_element);
    children.filter(|it| it.has_tag_name(name)).collect()
}

/// An element, the attributes that it must and may have, and its children.
type Rule = (
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
    &'static [&'static str],
);

/// What is allowed, with the attributes that an element must have before those that it may: the
/// rules of junit-10.xsd of Jenkins' plugin xUnit, as far as what is written here needs them.
const RULES: [Rule; 9] = [
    (
        "testsuites",
        &[],
        &["name", "time", "tests", "failures", "errors"],
        &["testsuite"],
    ),
    (
        "testsuite",
        &["name", "tests", "failures", "errors"],
        &["group", "time", "skipped", "timestamp", "hostname", "id"],
        &["properties", "testcase", "system-out", "system-err"],
    ),
    ("properties", &[], &[], &["property"]),
    ("property", &["name", "value"], &[], &[]),
    (
        "testcase",
        &["name"],
        &["time", "classname", "group"],
        &["skipped", "error", "failure", "system-out", "system-err"],
    ),
    ("skipped", &[], &["type", "message"], &[]),
    ("error", &[], &["type", "message"], &[]),
    ("failure", &[], &["type", "message"], &[]),
    ("system-out", &[], &[], &[]),
];

/// Text outside of elements that may have some is blank, and times are digits with a point.
#[track_caller]
fn assert_keeps_the_rules(text: &str) {
    let document = Document::parse(text).expect("well-formed XML");
    assert!(document.root_element().has_tag_name("testsuites"), "{text}");
    for node in document.descendants().filter(Node::is_element) {
        let name = node.tag_name().name();
        let rule = RULES.iter().find(|(of, ..)| *of == name);
        let (_, required, allowed, children) = rule.unwrap_or_else(|| panic!("{name} in {text}"));
        for attribute in *required {
            assert!(node.has_attribute(*attribute), "no {attribute} in {name}");
        }
        for attribute in node.attributes() {
            let is_known = required.iter().chain(*allowed);
            assert!(
                is_known.clone().any(|it| *it == attribute.name()),
                "{} in {name}",
                attribute.name()
            );
            assert!(!attribute.value().contains('\n'), "{attribute:?}");
        }
        for child in node.children() {
            if child.is_element() {
                assert!(
                    children.contains(&child.tag_name().name()),
                    "{child:?} in {name}"
                );
            } else if !children.is_empty() {
                let is_blank = child.text().is_none_or(|text| text.trim().is_empty());
                assert!(is_blank, "{child:?} in {name}");
            }
        }
        let is_time = |time: &str| {
            let parts = time.split_once('.');
            let is_number = |it: &str| it.bytes().all(|byte| byte.is_ascii_digit());
            parts.is_some_and(|(whole, part)| is_number(whole) && is_number(part))
        };
        assert!(node.attribute("time").is_none_or(is_time), "{text}");
        if matches!(name, "testsuites" | "testsuite") {
            assert_counted(node);
        }
    }
}

#[track_caller]
fn assert_counted(node: Node<'_, '_>) {
    let with = |names: &[&str]| {
        let mut inside = node.descendants().filter(Node::is_element);
        let number = inside
            .by_ref()
            .filter(|it| names.contains(&it.tag_name().name()))
            .count();
        number.to_string()
    };
    for (attribute, element) in [
        ("tests", "testcase"),
        ("failures", "failure"),
        ("errors", "error"),
        ("skipped", "skipped"),
    ] {
        let stated = node.attribute(attribute);
        let is_right = stated.is_none_or(|stated| stated == with(&[element]));
        assert!(is_right, "{attribute}: {stated:?}");
    }
}

fn report(run: &mut v1::Run) -> &mut v1::Report {
    run.report.as_mut().expect("a report")
}

fn objectives_of(run: &mut v1::Run) -> &mut Vec<v1::Objective> {
    &mut report(run).outcome.as_mut().expect("an outcome").objectives
}

#[test]
fn a_run_that_held_is_a_suite_in_which_all_pass() {
    let mut run = run_of_the_front_page();
    run.labels = [("suite".into(), "nightly.1".into())].into();
    let text = written(Ending::Judged(&run));
    assert_keeps_the_rules(&text);
    let (head, _) = text
        .split_once("    <system-out>")
        .expect("it has the summary");
    let expected = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="metronome" tests="5" failures="0" errors="0">
  <testsuite name="suite=nightly.1" tests="5" failures="0" errors="0" skipped="0" SPAN>
    <properties>
      <property name="version.benchctl" value="0.1.0"/>
      <property name="run_id" value="0199f0c2a1b2c3d4"/>
      <property name="label.suite" value="nightly.1"/>
      <property name="plan" value="10 × 10 kHz × 10 s"/>
      <property name="state" value="ended"/>
      <property name="verdict" value="valid"/>
      <property name="outcome" value="held"/>
      <property name="version.server" value="0.1.0"/>
      <property name="version.agent.vm1-5678" value="0.1.0"/>
    </properties>
    <testcase classname="metronome.suite=nightly_1" name="verdict" time="10.000"/>
    <testcase classname="metronome.suite=nightly_1" name="lost==0"/>
    <testcase classname="metronome.suite=nightly_1" name="skipped==0"/>
    <testcase classname="metronome.suite=nightly_1" name="kept_up>=99.9%"/>
    <testcase classname="metronome.suite=nightly_1" name="latency.p99.9<=100ms"/>
"#;
    let span = r#"time="10.000" timestamp="2026-01-02T03:04:06.000Z""#;
    let expected = expected
        .replace("SPAN", span)
        .replace("up>=", "up&gt;=")
        .replace("9<=", "9&lt;=");
    assert_eq!(head, expected);
}

#[test]
fn an_objective_fails_with_its_figures_and_is_skipped_where_it_was_not_judged() {
    let mut run = run_of_the_front_page();
    let objectives = objectives_of(&mut run);
    objectives[3].status = v1::OutcomeStatus::NotHeld.into();
    objectives[3].sentence = "latency p99.9 was 140 ms".into();
    objectives[3].observed = Some(v1::objective::Observed::ObservedNs(140_000_000));
    objectives[2].status = v1::OutcomeStatus::NotJudged.into();
    objectives[2].sentence = "the generator was late".into();
    objectives[2].observed = None;
    objectives[1].status = 99;
    objectives[1].threshold = None;
    let text = written(Ending::Judged(&run));
    assert_keeps_the_rules(&text);
    let document = Document::parse(&text).expect("XML");
    let suite = document.root_element().first_element_child().expect("one");
    let cases = elements(suite, "testcase");
    let flaw = |index: usize| cases[index].first_element_child();
    assert!(flaw(0).is_none() && flaw(1).is_none());
    let later = flaw(2).expect("it was not judged");
    assert_eq!(cases[2].attribute("name"), Some("objective 2"));
    assert_eq!(later.tag_name().name(), "skipped");
    assert_eq!(later.attribute("type"), Some("99"));
    let skipped = flaw(3).expect("it was not judged");
    assert_eq!(skipped.tag_name().name(), "skipped");
    assert_eq!(skipped.attribute("message"), Some("the generator was late"));
    assert_eq!(skipped.text(), Some("asked for: kept up ≥ 99.9 %"));
    let missed = flaw(4).expect("it was missed");
    assert_eq!(missed.tag_name().name(), "failure");
    assert_eq!(missed.attribute("type"), Some("not_held"));
    assert_eq!(
        missed.text(),
        Some("observed: 140 ms\nasked for: latency p99.9 ≤ 100 ms")
    );
}

#[test]
fn a_run_that_is_not_valid_is_an_error_with_every_reason_and_what_to_do() {
    let mut run = run_of_the_front_page();
    let verdict = report(&mut run).verdict.as_mut().expect("a verdict");
    verdict.status = v1::VerdictStatus::Partial.into();
    let reason = |code: v1::ReasonCode, sentence: &str, remedy: &str| v1::Reason {
        code: code.into(),
        sentence: sentence.into(),
        remedy: remedy.into(),
        ..v1::Reason::default()
    };
    verdict.reasons = vec![
        reason(
            v1::ReasonCode::AgentLost,
            "agent a went away",
            "see its log",
        ),
        reason(v1::ReasonCode::Stopped, "it was stopped", ""),
    ];
    let text = written(Ending::Judged(&run));
    assert_keeps_the_rules(&text);
    let document = Document::parse(&text).expect("XML");
    let error = document.descendants().find(|it| it.has_tag_name("error"));
    let error = error.expect("it is partial");
    assert_eq!(error.attribute("type"), Some("partial"));
    assert_eq!(error.attribute("message"), Some("agent a went away"));
    assert_eq!(
        error.text(),
        Some("AGENT_LOST: agent a went away\nnext: see its log\nSTOPPED: it was stopped")
    );
}

#[test]
fn without_a_run_there_is_one_error_and_no_figure() {
    let failure = v1::Failure::new(FailureCode::NoAgent, "no agent is connected");
    let text = written(Ending::Unjudged(None, &failure));
    assert_keeps_the_rules(&text);
    assert!(text.contains(r#"<error type="NO_AGENT" message="no agent is connected">"#));
    assert!(text.contains(r#"<testsuite name="no run" tests="1" failures="0" errors="1""#));
    assert!(
        !text.contains("time") && !text.contains("system-out"),
        "{text}"
    );
    // What contradicts itself shows nothing of what it holds.
    let run = run_of_the_front_page();
    let text = written(Ending::Unjudged(Some(&run), &failure));
    assert_keeps_the_rules(&text);
    assert!(
        text.contains(r#"tests="1" failures="0" errors="1""#),
        "{text}"
    );
    for figure in ["lost", "valid", "10.000", "version.server"] {
        assert!(!text.contains(figure), "{figure} in {text}");
    }
}

#[test]
fn a_figure_that_is_not_known_is_absent() {
    let mut run = run_of_the_front_page();
    (run.started_at, run.created_at, run.plan) = (None, None, None);
    report(&mut run).elapsed = None;
    report(&mut run).environments[0].version.clear();
    let text = written(Ending::Judged(&run));
    assert_keeps_the_rules(&text);
    for name in [" time=", "timestamp", "\"plan\"", "version.server"] {
        assert!(!text.contains(name), "{name} in {text}");
    }
    let elapsed = prost_types::Duration {
        seconds: -5,
        nanos: 0,
    };
    report(&mut run).elapsed = Some(elapsed);
    assert_keeps_the_rules(&written(Ending::Judged(&run)));
}

/// Text that tries to get out of where it stands.
fn foreign() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        Just("]]>&<x a='\"'/>\u{0}\u{1b}[2J\r\n\u{fffe}\u{ffff}\u{202e}".to_owned()),
        Just("<![CDATA[ </failure></testcase><testcase name=\"passed\"/>".to_owned()),
    ]
}

proptest! {
    #[test]
    fn foreign_text_stays_where_it_stands_and_reads_back(
        words in prop::collection::vec(foreign(), 5),
        status in 0..5_i32,
    ) {
        let mut run = run_of_the_front_page();
        run.labels = [("key".into(), words[0].clone())].into();
        run.run_id = format!("r{}", words[1]);
        let objective = &mut objectives_of(&mut run)[0];
        objective.status = status;
        objective.sentence.clone_from(&words[2]);
        let report = report(&mut run);
        report.environments[1].name.clone_from(&words[3]);
        let verdict = report.verdict.as_mut().expect("a verdict");
        verdict.status = status;
        verdict.reasons = vec![v1::Reason {
            sentence: words[4].clone(),
            remedy: words[0].clone(),
            ..v1::Reason::default()
        }];
        let text = written(Ending::Judged(&run));
        assert_keeps_the_rules(&text);
        let document = Document::parse(&text).expect("XML");
        let property = |name: &str| {
            let mut all = document.descendants();
            let found = all.find(|it| it.attribute("name") == Some(name));
            found.and_then(|it| it.attribute("value").map(ToOwned::to_owned))
        };
        prop_assert_eq!(property("label.key"), Some(one_line(&words[0])));
        prop_assert_eq!(property("run_id"), Some(one_line(&run.run_id)));
        let failure = v1::Failure {
            code: status,
            sentence: words[2].clone(),
            remedy: words[3].clone(),
            ..v1::Failure::default()
        };
        assert_keeps_the_rules(&written(Ending::Unjudged(Some(&run), &failure)));
    }
}
