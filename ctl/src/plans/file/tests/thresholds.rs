//! Thresholds in a plan file: of the run and of a group, and where one that is none is refused.

use super::{plan, refused};

#[test]
fn a_threshold_that_is_none_is_refused_at_its_line_and_byte() {
    for (text, place, mark) in [
        (
            "groups: [{}]\nthresholds: [lost==0, latncy.p99<1s]\n",
            (2, 23),
            0,
        ),
        (
            "groups:\n- thresholds:\n  - lost==0\n  - lost.p99==0\n",
            (4, 5),
            4,
        ),
        (
            "groups: [{}]\nthresholds: ['default:lost==1s']\n",
            (2, 14),
            14,
        ),
    ] {
        let bad = plan(text).expect_err(text);
        assert_eq!((bad.place.line, bad.place.column), place, "{bad:?}");
        assert_eq!(bad.mark.map(|of| of.1), Some(mark), "{text}");
    }
}

#[test]
fn a_threshold_may_name_its_group_and_what_is_wrong_with_it_stands_where_it_was_given() {
    let groups = "groups:\n- {name: a}\n- {name: b, thresholds: [lost==0]}\n";
    let of = |thresholds: &str| plan(&format!("{groups}thresholds: {thresholds}\n"));
    let good = of("['a:lost<=1', corrupt==0, 'b:skipped==0']").expect("a plan");
    let texts = |group: usize| {
        good.groups[group]
            .thresholds
            .iter()
            .map(ToString::to_string)
    };
    assert!(texts(0).eq(["lost<=1"]));
    assert!(texts(1).eq(["lost==0", "skipped==0"]));
    assert_eq!(good.thresholds, ["corrupt==0".parse().unwrap()]);
    for (thresholds, column, words) in [
        (
            "['c:lost==0']",
            14,
            "no group is called \"c\"; the groups are a, b",
        ),
        (
            "['a:lost==0', 'b:lost<2']",
            27,
            "limits what lost==0 limits already",
        ),
        ("[lost==0, 'a:rtt.p99<1s']", 23, "asks for no replies"),
    ] {
        let bad = of(thresholds).expect_err(thresholds);
        assert_eq!((bad.place.line, bad.place.column), (4, column), "{bad:?}");
        assert!(bad.sentence.contains(words), "{bad:?}");
    }
    refused(
        "groups: [{}]\nabort_on_fail: true\n",
        (2, 16),
        &["abort_on_fail", "no threshold"],
        false,
    );
}
