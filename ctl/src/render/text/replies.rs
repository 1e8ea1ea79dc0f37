//! The replies that packets of a run have asked for.

use metronome_proto::{json::counts::Counter, v1};

use super::{
    explain::Label,
    figures::{self, known},
    packets,
    rows::Rows,
};

/// The counters of replies that a summary shows. None where no packet was to ask for one.
pub(super) fn shown(run: &v1::Run) -> Vec<Counter> {
    let counts = run.report.as_ref().and_then(|report| report.counts);
    let counts = counts.unwrap_or_default();
    let generator = counts.generator.unwrap_or_default();
    let receiver = counts.receiver.unwrap_or_default();
    let requested = generator.replies_requested;
    let asked = receiver.replies_wanted;
    let mut groups = run.plan.iter().flat_map(|plan| &plan.groups);
    let is_asked = groups.any(|group| group.echo_every > 0);
    let is_counted = |count: Option<u64>| count.is_some_and(|count| count > 0);
    if !is_asked && !is_counted(requested) && !is_counted(asked) {
        return Vec::new();
    }
    let always = [
        ("replies_requested", requested),
        ("replies_read", generator.replies_read),
        ("replies_dropped", receiver.replies_dropped),
    ];
    // The packets that asked are others than those that were received where some were lost.
    let received = (asked != requested).then_some(("replies_wanted", asked));
    let unless_zero = [
        ("replies_unanswered", counts.replies_unanswered),
        ("replies_unexpected", generator.replies_unexpected),
    ];
    let unless_zero = unless_zero.into_iter().filter(|(_, of)| *of != Some(0));
    always
        .into_iter()
        .chain(received)
        .chain(unless_zero)
        .collect()
}

/// One equation where all that were asked for were read and no law is broken; else each counter for
/// itself.
pub(super) fn replies(rows: &mut Rows, run: &v1::Run) {
    let shown = shown(run);
    if shown.is_empty() {
        return;
    }
    let part = |(name, value): &Counter| {
        let word = match *name {
            "replies_requested" => "asked for".into(),
            name => figures::counter_name(name.trim_start_matches("replies_")),
        };
        format!("{word} {}", known(*value, figures::count))
    };
    let of = |name: &str| {
        let counter = shown.iter().find(|(counter, _)| *counter == name);
        counter.and_then(|(_, value)| *value)
    };
    let requested =
        of("replies_requested").filter(|requested| of("replies_read") == Some(*requested));
    let Some(replies) = requested.filter(|_| packets::laws_hold(run)) else {
        rows.labelled(Label::Replies, shown.iter().map(part));
        return;
    };
    let equation = format!("{} asked for = read", figures::count(replies));
    let others = shown[2..].iter().map(part);
    rows.labelled(Label::Replies, std::iter::once(equation).chain(others));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::front_page::run_of_the_front_page;

    /// A run of which every 1000th packet asked for a reply.
    fn run_with_replies(requested: u64, read: u64, dropped: u64) -> v1::Run {
        let mut run = run_of_the_front_page();
        run.plan.as_mut().expect("a plan").groups[0].echo_every = 1_000;
        let report = run.report.as_mut().expect("a report");
        let counts = report.counts.as_mut().expect("counts");
        let generator = counts.generator.as_mut().expect("a generator");
        generator.replies_requested = Some(requested);
        generator.replies_read = Some(read);
        generator.replies_unexpected = Some(0);
        let receiver = counts.receiver.as_mut().expect("a receiver");
        receiver.replies_wanted = Some(requested);
        receiver.replies_dropped = Some(dropped);
        counts.replies_unanswered = requested.checked_sub(read + dropped);
        run
    }

    fn text(run: &v1::Run, width: usize) -> String {
        let mut rows = Rows::new(width);
        replies(&mut rows, run);
        rows.text
    }

    #[test]
    fn replies_are_a_line_where_some_were_asked_for_and_none_elsewhere() {
        assert_eq!(text(&run_of_the_front_page(), 80), "");
        let all = run_with_replies(1_000, 1_000, 0);
        let expected = "replies    1,000 asked for = read  dropped 0\n";
        assert_eq!(text(&all, 80), expected);
        let expected = "replies    1,000 asked for = read\n           dropped 0\n";
        assert_eq!(text(&all, 40), expected);
        let some = run_with_replies(1_000, 880, 100);
        let expected = "replies    asked for 1,000  read 880  dropped 100  unanswered 20\n";
        assert_eq!(text(&some, 80), expected);
    }

    #[test]
    fn an_equation_is_shown_of_a_run_alone_whose_laws_hold() {
        let mut run = run_with_replies(1_000, 1_000, 0);
        let report = run.report.as_mut().expect("a report");
        let verdict = report.verdict.as_mut().expect("a verdict");
        verdict.laws[0].status = v1::LawStatus::Broken.into();
        let expected = "replies    asked for 1,000  read 1,000  dropped 0\n";
        assert_eq!(text(&run, 80), expected);
    }

    #[test]
    fn what_is_not_known_of_replies_is_a_dash_and_never_0() {
        let mut run = run_with_replies(1_000, 1_000, 0);
        let report = run.report.as_mut().expect("a report");
        let of = report.counts.as_mut().expect("counts");
        of.replies_unanswered = None;
        of.generator = None;
        let expected = "\
replies    asked for –  read –  dropped 0  wanted 1,000  unanswered –
           unexpected –
";
        assert_eq!(text(&run, 80), expected);
        run.report.as_mut().expect("a report").counts = None;
        let expected = "\
replies    asked for –  read –  dropped –  unanswered –  unexpected –
";
        assert_eq!(text(&run, 80), expected);
    }

    #[test]
    fn a_reply_that_nothing_asked_for_is_shown() {
        let mut run = run_with_replies(1_000, 1_000, 0);
        let report = run.report.as_mut().expect("a report");
        let counts = report.counts.as_mut().expect("counts");
        let generator = counts.generator.as_mut().expect("a generator");
        generator.replies_unexpected = Some(3);
        let expected = "replies    1,000 asked for = read  dropped 0  unexpected 3\n";
        assert_eq!(text(&run, 80), expected);
    }
}
