//! What filters are read as, and for which runs they hold.

use proptest::prelude::*;

use super::{
    comparison::{Comparison, Equality, Relation},
    instant::Instant,
    *,
};
use crate::{
    limits::FILTER_BYTES_MAX,
    v1::{self, OutcomeStatus, RunState, VerdictStatus},
};

fn filter(text: &str) -> Filter {
    text.parse()
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn run(state: RunState, labels: &[(&str, &str)], created_s: i64) -> v1::Run {
    v1::Run {
        run_id: "0199f0c2a1b2c3d4".into(),
        state: state.into(),
        labels: labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        created_at: Some(prost_types::Timestamp {
            seconds: created_s,
            nanos: 0,
        }),
        ..v1::Run::default()
    }
}

fn judged(verdict: VerdictStatus, outcome: OutcomeStatus) -> v1::Run {
    let outcome = Some(v1::Outcome {
        status: outcome.into(),
        ..v1::Outcome::default()
    });
    let verdict = Some(v1::Verdict {
        status: verdict.into(),
        ..v1::Verdict::default()
    });
    v1::Run {
        report: Some(v1::Report {
            verdict,
            outcome,
            ..v1::Report::default()
        }),
        ..run(RunState::Ended, &[], 0)
    }
}

#[test]
fn the_examples_of_the_manual_hold_for_the_runs_that_they_describe() {
    let ended = run(RunState::Ended, &[("host", "rack 7")], 1_795_669_200);
    for (text, holds) in [
        ("", true),
        ("  ", true),
        ("state = ENDED", true),
        ("state != ENDED", false),
        ("state=FAILED", false),
        ("labels.host = \"rack 7\"", true),
        ("labels.host != rack", true),
        ("labels.other != \"rack 7\"", true),
        ("labels.other = \"\"", false),
        ("created_at >= \"2026-11-26T05:00:00Z\"", true),
        ("created_at >= 2026-11-26T05:00:00Z", true),
        ("created_at > 2026-11-26T05:00:00Z", false),
        ("created_at = 2026-11-26T06:00:00.000000001Z", false),
        ("state = ended AND state != Failed", true),
        ("verdict = VALID", false),
        ("outcome = HELD", false),
        ("outcome != HELD", false),
        ("verdict != VALID", false),
        ("state = ENDED AND labels.host = \"rack 7\"", true),
        ("state = ENDED AND labels.host = rack", false),
        ("run_id = 0199f0c2", true),
        ("run_id = 0199F0C2a1b2c3d4", true),
        ("run_id != 0199f0c2", false),
        ("run_id = 0199f0c3 AND state = ENDED", false),
    ] {
        assert_eq!(filter(text).matches(&ended), holds, "{text}");
    }
    let valid = judged(VerdictStatus::Valid, OutcomeStatus::NotHeld);
    assert!(filter("verdict = VALID").matches(&valid));
    assert!(filter("verdict != INVALID").matches(&valid));
    assert!(!filter("verdict != VALID").matches(&valid));
    assert!(filter("verdict = valid AND outcome = not_held").matches(&valid));
    assert!(filter("outcome != HELD").matches(&valid));
    assert!(!filter("outcome = NOT_JUDGED").matches(&valid));
}

#[test]
fn what_is_no_filter_is_refused_at_its_place_with_what_should_stand_there() {
    for (text, at, expected) in [
        ("status = ENDED", 0, "state, verdict"),
        ("state", 5, "= or !="),
        ("state >= ENDED", 6, "= or !="),
        ("state = ", 8, "PREPARING"),
        ("state = over", 8, "FAILED or ABORTED"),
        ("state = UNSPECIFIED", 8, "ENDED"),
        ("verdict = FINE", 10, "PARTIAL"),
        ("verdict = UNSPECIFIED", 10, "PARTIAL"),
        ("outcome = GOOD", 10, "HELD, NOT_HELD or NOT_JUDGED"),
        ("outcome = UNSPECIFIED", 10, "HELD"),
        ("labels. = 1", 7, "a key"),
        ("labels.Host = 1", 7, "a key"),
        ("labels.a = <", 11, "a value"),
        ("labels.a = ä", 11, "a value"),
        ("labels.a = \"x", 13, "a closing"),
        ("labels.a = \"\\n\"", 12, "\\\\"),
        ("created_at != 2026-11-26T05:00:00Z", 11, "<="),
        ("created_at > yesterday", 13, "RFC 3339"),
        ("run_id > 01", 7, "= or !="),
        ("run_id = last", 9, "1 to 16"),
        ("run_id = 0199f0c2a1b2c3d4e", 9, "hexadecimal"),
        ("state = ENDED, verdict = VALID", 13, "AND"),
        ("state = ENDED and verdict = VALID", 14, "AND"),
        ("state = ENDED AND", 17, "state, verdict"),
        ("AND", 0, "state, verdict"),
        ("state = ENDED OR state = FAILED", 14, "AND"),
    ] {
        let error = text.parse::<Filter>().expect_err(text);
        assert_eq!(error.at, at, "{text}: {error}");
        assert!(error.expected.contains(expected), "{text}: {error}");
    }
    let long = format!("labels.a = \"{}\"", "ä".repeat(FILTER_BYTES_MAX));
    assert!(long.parse::<Filter>().unwrap_err().at <= FILTER_BYTES_MAX);
}

fn states() -> impl Strategy<Value = RunState> {
    prop::sample::select(vec![
        RunState::Preparing,
        RunState::Starting,
        RunState::Running,
        RunState::Draining,
        RunState::Ended,
        RunState::Failed,
        RunState::Aborted,
    ])
}

fn verdicts() -> impl Strategy<Value = VerdictStatus> {
    prop::sample::select(vec![
        VerdictStatus::Valid,
        VerdictStatus::Partial,
        VerdictStatus::Invalid,
    ])
}

fn outcomes() -> impl Strategy<Value = OutcomeStatus> {
    prop::sample::select(vec![
        OutcomeStatus::Held,
        OutcomeStatus::NotHeld,
        OutcomeStatus::NotJudged,
    ])
}

fn equalities() -> impl Strategy<Value = Equality> {
    prop::sample::select(vec![Equality::Equal, Equality::NotEqual])
}

fn comparisons() -> impl Strategy<Value = Comparison> {
    let relations = prop::sample::select(vec![
        Relation::Before,
        Relation::NotAfter,
        Relation::At,
        Relation::NotBefore,
        Relation::After,
    ]);
    let instants = (0..4_000_000_000_i64, 0..1_000_000_000_i32)
        .prop_map(|(seconds, nanos)| Instant::from(&prost_types::Timestamp { seconds, nanos }));
    prop_oneof![
        (equalities(), states())
            .prop_map(|(equality, state)| Comparison::State { equality, state }),
        (equalities(), verdicts())
            .prop_map(|(equality, verdict)| Comparison::Verdict { equality, verdict }),
        (equalities(), outcomes())
            .prop_map(|(equality, outcome)| Comparison::Outcome { equality, outcome }),
        ("[a-z][a-z0-9_.-]{0,9}", equalities(), ".{0,20}").prop_map(|(key, equality, value)| {
            Comparison::Label {
                key,
                equality,
                value,
            }
        }),
        (relations, instants).prop_map(|(relation, at)| Comparison::CreatedAt { relation, at }),
        (equalities(), "[0-9a-f]{1,16}").prop_map(|(equality, digits)| Comparison::RunId {
            equality,
            prefix: digits.parse().expect("hexadecimal digits"),
        }),
    ]
}

fn filters() -> impl Strategy<Value = Filter> {
    prop::collection::vec(comparisons(), 0..5).prop_map(Filter)
}

fn runs() -> impl Strategy<Value = v1::Run> {
    let labels = prop::collection::btree_map("[ab]", "[xy]", 0..3);
    (
        states(),
        prop::option::of((verdicts(), outcomes())),
        labels,
        0..10_i64,
    )
        .prop_map(|(state, report, labels, seconds)| v1::Run {
            state: state.into(),
            labels,
            created_at: Some(prost_types::Timestamp { seconds, nanos: 0 }),
            ..report.map_or_else(v1::Run::default, |(verdict, outcome)| {
                judged(verdict, outcome)
            })
        })
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused_at_a_place_within_it(
        text in prop_oneof![
            ".{0,40}",
            "((state|verdict|outcome|labels[.]a|created_at|AND|=|!=|<|ENDED|\"|\\\\| |ä){1,2})\
             {0,12}",
        ],
    ) {
        match text.parse::<Filter>() {
            Ok(filter) => prop_assert_eq!(filter.to_string().parse(), Ok(filter)),
            Err(error) => {
                prop_assert!(text.is_char_boundary(error.at), "{error}");
                prop_assert!(!error.expected.is_empty());
            }
        }
    }

    #[test]
    fn a_filter_prints_as_a_text_that_is_read_as_the_same(filter in filters()) {
        prop_assert_eq!(filter.to_string().parse(), Ok(filter));
    }

    #[test]
    fn equal_and_not_equal_are_opposites_for_runs_that_have_the_field(
        run in runs(), state in states(), verdict in verdicts(), outcome in outcomes(),
        value in "[xy]",
    ) {
        let opposites = |field: &str, value: &str| {
            let holds = |operator| filter(&format!("{field} {operator} {value}")).matches(&run);
            holds("=") != holds("!=")
        };
        prop_assert!(opposites("state", state.name()));
        prop_assert!(opposites("labels.a", &value));
        prop_assert_eq!(opposites("verdict", verdict.name()), run.report.is_some());
        prop_assert_eq!(opposites("outcome", outcome.name()), run.report.is_some());
    }

    #[test]
    fn instants_are_totally_ordered(run in runs(), second in 0..10_u8) {
        let holds = |operator| {
            let text = format!("created_at {operator} 1970-01-01T00:00:0{second}Z");
            filter(&text).matches(&run)
        };
        prop_assert!(holds("<") != holds(">="));
        prop_assert!(holds("<=") != holds(">"));
        prop_assert_eq!(holds("="), holds("<=") && holds(">="));
    }

    #[test]
    fn a_filter_holds_when_all_of_its_comparisons_do(
        run in runs(), one in comparisons(), other in comparisons(),
    ) {
        let alone = [&one, &other].map(|it| Filter(vec![it.clone()]).matches(&run));
        let both = Filter(vec![one, other]);
        prop_assert_eq!(both.matches(&run), alone == [true, true]);
        prop_assert!(Filter::default().matches(&run));
    }
}
