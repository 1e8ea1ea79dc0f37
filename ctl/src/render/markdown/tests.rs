//! Exact texts, and that foreign text builds nothing.

use metronome_proto::v1::FailureCode;
use proptest::prelude::*;

use super::*;
use crate::render::front_page::run_of_the_front_page;

fn report(run: &mut v1::Run) -> &mut v1::Report {
    run.report.as_mut().expect("a report")
}

#[test]
fn a_run_that_held_has_its_words_and_its_tables() {
    let expected = "\
## HELD · valid: page=front

10 × 10 kHz × 10 s · run 0199f0c2a1b2c3d4 · 2026-01-02T03:04:06Z

| objective | observed | result | source |
| --- | ---: | --- | --- |
| lost = 0 | 0 | ✓ held | default |
| skipped = 0 | 0 | ✓ held | default |
| kept up ≥ 99.9 % | 100 % | ✓ held | default |
| latency p99.9 ≤ 100 ms | 101 µs | ✓ held | default |

| time |  | p50 | p90 | p99 | p99.9 | p99.99 | max |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |
| lateness | due → written | 4.10 µs | 9.80 µs | 38.2 µs | 101 µs | 402 µs | 1.20 ms |
| transit | written → read | 4.10 µs | 9.80 µs | 38.2 µs | 101 µs | 402 µs | 1.20 ms |
| latency | due → read | 4.10 µs | 9.80 µs | 38.2 µs | 101 µs | 402 µs | 1.20 ms |

Packets: 1,000,000 scheduled · 1,000,000 sent · 0 skipped · 1,000,000 received · 0 lost

";
    assert_eq!(section(Ending::Judged(&run_of_the_front_page())), expected);
}

#[test]
fn what_stands_against_a_run_stands_above_its_figures() {
    let mut run = run_of_the_front_page();
    let verdict = report(&mut run).verdict.as_mut().expect("a verdict");
    verdict.status = v1::VerdictStatus::Invalid.into();
    verdict.reasons = vec![v1::Reason {
        code: v1::ReasonCode::Lateness.into(),
        sentence: "packets were late".into(),
        remedy: "raise `nice`".into(),
        ..v1::Reason::default()
    }];
    let outcome = report(&mut run).outcome.as_mut().expect("an outcome");
    outcome.status = v1::OutcomeStatus::NotJudged.into();
    outcome.objectives.clear();
    let text = section(Ending::Judged(&run));
    let expected = "\
## INVALID: page=front

10 × 10 kHz × 10 s · run 0199f0c2a1b2c3d4 · 2026-01-02T03:04:06Z

**Do not use these figures.**

- **LATENESS**: packets were late  \n  next: raise &#96;nice&#96;

| time |";
    assert!(text.starts_with(expected), "{text}");
}

#[test]
fn what_was_missed_or_asked_for_and_not_judged_has_its_sentence() {
    let mut run = run_of_the_front_page();
    let outcome = report(&mut run).outcome.as_mut().expect("an outcome");
    outcome.status = v1::OutcomeStatus::NotHeld.into();
    let objectives = &mut outcome.objectives;
    objectives[0].status = v1::OutcomeStatus::NotHeld.into();
    objectives[0].sentence = "3 packets were lost".into();
    objectives[3].status = v1::OutcomeStatus::NotJudged.into();
    objectives[3].source = v1::ObjectiveSource::User.into();
    objectives[3].sentence = "it takes 10,000 packets".into();
    objectives[3].figures = [("scheduled_min".to_owned(), 10_000_u32.into())].into();
    objectives[3].observed = None;
    let text = section(Ending::Judged(&run));
    for line in [
        "## NOT HELD · valid: page=front",
        "- 3 packets were lost",
        "- it takes 10,000 packets",
        "| lost = 0 | 0 | ✗ **not held** | default |",
        "| latency p99.9 ≤ 100 ms | – | – not judged: too few packets | user |",
    ] {
        assert!(text.lines().any(|it| it == line), "no {line:?} in {text}");
    }
}

#[test]
fn without_a_result_there_is_no_figure() {
    let failure = v1::Failure::new(FailureCode::NoAgent, "no agent is connected");
    let expected = "\
## NO RESULT

- **NO\\_AGENT**: no agent is connected  \n  \
  next: start one with &#96;metronome-agent --server HOST:PORT&#96;

";
    assert_eq!(section(Ending::Unjudged(None, &failure)), expected);
    let text = section(Ending::Unjudged(Some(&run_of_the_front_page()), &failure));
    assert!(text.starts_with("## NO RESULT: page=front\n"), "{text}");
    assert!(!text.contains('|') && !text.contains("Packets"), "{text}");
}

#[test]
fn a_figure_that_is_not_known_is_left_out_or_a_dash() {
    let mut run = run_of_the_front_page();
    let of = report(&mut run);
    of.counts.as_mut().expect("counts").lost = None;
    let times = of.times.as_mut().expect("times");
    times.transit = None;
    times.lateness.as_mut().expect("a time").quantiles.pop();
    let text = section(Ending::Judged(&run));
    assert!(
        !text.contains("transit") && !text.contains(" lost\n"),
        "{text}"
    );
    assert!(text.contains("| 101 µs | – | 1.20 ms |"), "{text}");
    of_nothing(&mut run);
    let text = section(Ending::Judged(&run));
    assert!(
        !text.contains("| time |") && !text.contains("Packets"),
        "{text}"
    );
}

fn of_nothing(run: &mut v1::Run) {
    (report(run).times, report(run).counts) = (None, None);
}

proptest! {
    #[test]
    fn foreign_text_makes_no_table_no_html_and_no_line(
        text in prop_oneof![
            any::<String>(),
            Just("a | b\n\n# <b>`x`</b> $x$ ![i](j) \\| &lt;".to_owned()),
        ],
    ) {
        let mut run = run_of_the_front_page();
        let plain = section(Ending::Judged(&run)).lines().count();
        run.labels = [("key".into(), text.clone())].into();
        let section = section(Ending::Judged(&run));
        prop_assert_eq!(section.lines().count(), plain);
        let escaped = escaped(&text);
        let can_build = |character: char| "|<>`$\n\r\u{1b}".contains(character);
        prop_assert_eq!(escaped.find(can_build), None, "{}", escaped);
        let mut rest = escaped.chars();
        while let Some(character) = rest.next() {
            let next = (character == '\\').then(|| rest.next());
            let is_bare = next.is_none() && "*_[]~!".contains(character);
            prop_assert!(!is_bare && next != Some(None), "{}", escaped);
        }
    }
}
