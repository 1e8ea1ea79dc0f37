//! Which thresholds go with a load, and with each other.

use super::{changed, refused};
use crate::{plan::Plan, profile::Profile, threshold::Threshold, v1};

/// The plan is allowed by itself, and this is what is wrong with its thresholds.
#[track_caller]
fn wrong_threshold(plan: &v1::Plan) -> (String, String) {
    let plan = Plan::try_from(plan).expect("a plan");
    let error = plan.check_thresholds().expect_err("a wrong threshold");
    (error.field, error.problem)
}

fn thresholds(texts: &[&str]) -> Vec<v1::Threshold> {
    let parsed = texts.iter().map(|text| text.parse::<Threshold>());
    parsed
        .map(|of| of.expect("a threshold").to_proto())
        .collect()
}

/// A plan with a group at a rate, named paced, and a flood.
fn with_a_flood(of_run: &[&str], of_paced: &[&str], of_flood: &[&str]) -> v1::Plan {
    changed(|plan| {
        plan.thresholds = thresholds(of_run);
        plan.groups[0].name = "paced".into();
        plan.groups[0].thresholds = thresholds(of_paced);
        let flood = v1::Group {
            clients: 1,
            profile: Some(Profile::Flood.to_proto()),
            thresholds: thresholds(of_flood),
            ..v1::Group::default()
        };
        plan.groups.push(flood);
    })
}

#[test]
fn a_threshold_is_on_what_the_load_measures() {
    for text in [
        "skipped==0",
        "kept_up>=99%",
        "lateness.p99<1ms",
        "spread.max<1s",
    ] {
        let (field, problem) = wrong_threshold(&with_a_flood(&[], &[], &["lost==0", text]));
        assert_eq!(field, "groups[1].thresholds[1]", "{problem}");
        assert!(problem.contains("not measured in a flood"), "{problem}");
        let mixed = Plan::try_from(&with_a_flood(&[text], &[text], &[])).expect("a plan");
        assert_eq!(mixed.check_thresholds(), Ok(()), "of those with a schedule");
    }
    for text in ["rtt.p99<1ms", "rtt_from_write.max<1ms"] {
        for (plan, expected) in [
            (with_a_flood(&[text], &[], &[]), "thresholds[0]"),
            (with_a_flood(&[], &[text], &[]), "groups[0].thresholds[0]"),
        ] {
            let (field, problem) = wrong_threshold(&plan);
            assert_eq!(field, expected, "{problem}");
            assert!(problem.contains("echo_every"), "{problem}");
        }
    }
    let (field, problem) = wrong_threshold(&with_a_flood(&[], &["probe_rtt.p99<1ms"], &[]));
    assert_eq!(field, "groups[0].thresholds[0]");
    assert!(problem.contains("for the whole run"), "{problem}");
}

#[test]
fn a_figure_is_limited_once_in_each_direction() {
    for (texts, part) in [
        (["lost==0", "lost==0"], "stands there twice"),
        (["lost==0", "lost<5"], "limits what lost==0 limits already"),
        (
            ["latency.p99<1ms", "latency.p99<=2ms"],
            "leave out one of the two",
        ),
    ] {
        let (field, problem) = wrong_threshold(&changed(|plan| {
            plan.thresholds = thresholds(&texts);
        }));
        assert_eq!(field, "thresholds[1]");
        assert!(problem.contains(part), "{problem}");
    }
    let fine = changed(|plan| {
        plan.thresholds = thresholds(&[
            "latency.p99<1ms",
            "latency.p99.9<1ms",
            "latency.p99>1us",
            "transit.p99<1ms",
            "lost<5",
        ]);
        plan.groups[0].thresholds = thresholds(&["lost==0", "latency.p99<2ms"]);
    });
    assert_eq!(
        Plan::try_from(&fine).expect("a plan").check_thresholds(),
        Ok(())
    );
}

#[test]
fn what_ends_a_run_can_be_certain_before_its_end() {
    let aborting = |plan: &v1::Plan| v1::Plan {
        abort_on_fail: true,
        ..plan.clone()
    };
    let (field, problem) = wrong_threshold(&aborting(&changed(|_| ())));
    assert_eq!(field, "abort_on_fail");
    assert!(problem.contains("--threshold"), "{problem}");
    for (plan, is_fine) in [
        (with_a_flood(&["transit.p99<1ms"], &[], &[]), false),
        (
            with_a_flood(&["transit.max<1ms", "lost==0", "corrupt==0"], &[], &[]),
            true,
        ),
        (
            with_a_flood(&["latency.p99<1ms", "kept_up>=99%"], &["skipped==0"], &[]),
            true,
        ),
        (with_a_flood(&[], &[], &["latency.p99<1ms"]), false),
        (with_a_flood(&[], &[], &["corrupt==0"]), false),
        (
            with_a_flood(&[], &[], &["latency.max<1ms", "lost==0"]),
            true,
        ),
    ] {
        assert_eq!(
            Plan::try_from(&plan).expect("a plan").check_thresholds(),
            Ok(())
        );
        let plan = aborting(&plan);
        if is_fine {
            assert_eq!(
                Plan::try_from(&plan).expect("a plan").check_thresholds(),
                Ok(())
            );
        } else {
            let (_, problem) = wrong_threshold(&plan);
            assert!(problem.contains("cannot end a flood"), "{problem}");
        }
    }
}

#[test]
fn thresholds_of_run_and_groups_are_64_together() {
    use crate::limits::THRESHOLDS_MAX;
    let many = |of_run: usize, of_group: usize| {
        changed(|plan| {
            plan.thresholds = vec![thresholds(&["lost==0"])[0]; of_run];
            plan.groups[0].thresholds = vec![thresholds(&["lost==0"])[0]; of_group];
        })
    };
    assert!(Plan::try_from(&many(THRESHOLDS_MAX - 1, 1)).is_ok());
    refused(&many(THRESHOLDS_MAX, 1), "thresholds");
    refused(&many(THRESHOLDS_MAX + 1, 0), "thresholds");
    refused(&many(0, THRESHOLDS_MAX + 1), "groups[0].thresholds");
}
