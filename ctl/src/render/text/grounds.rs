//! Why: reasons and failures, each with its remedy below it, and notes.

use metronome_proto::{json::values, v1};

use super::figures;

/// Lines of one sentence and of one remedy; longer ones are cut.
const SENTENCE_LINES_MAX: usize = 3;
const REMEDY_LINES_MAX: usize = 2;

/// Reasons, then notes, in at most `lines_max` lines of `width` characters.
pub(super) fn verdict(verdict: &v1::Verdict, width: usize, lines_max: usize) -> Vec<String> {
    let reasons = verdict.reasons.iter().map(|reason| {
        let code = figures::known(values::reason_code(reason.code), |code| code);
        ground(
            &format!("{code}: {}", reason.sentence),
            &reason.remedy,
            width,
        )
    });
    let notes = verdict.notes.iter();
    let notes = notes.map(|note| ground(&format!("note: {}", note.sentence), "", width));
    let mut lines: Vec<String> = Vec::new();
    let mut left_out = 0;
    for ground in reasons.chain(notes) {
        // One line is kept for the number of those left out.
        if left_out > 0 || lines.len() + ground.len() >= lines_max {
            left_out += 1;
        } else {
            lines.extend(ground);
        }
    }
    if left_out > 0 {
        lines.push(format!("  … and {left_out} more: see -o json"));
    }
    lines
}

/// A failure.
pub(super) fn failure(failure: &v1::Failure, width: usize) -> Vec<String> {
    let code = figures::known(values::failure_code(failure.code), |code| code);
    let sentence = format!("{code}: {}", failure.sentence);
    ground(&sentence, &failure.remedy, width)
}

/// A failure that several clients have in common; the sentence is the first one's.
pub(super) fn failure_of_clients(
    failure: &v1::Failure,
    clients: usize,
    width: usize,
) -> Vec<String> {
    let code = figures::known(values::failure_code(failure.code), |code| code);
    let clients = figures::number_of(clients as u64, "client");
    let sentence = format!("{code}, {clients}: {}", failure.sentence);
    ground(&sentence, &failure.remedy, width)
}

/// A sentence with a dash, and its remedy below it with an arrow.
fn ground(sentence: &str, remedy: &str, width: usize) -> Vec<String> {
    let mut lines = marked("  - ", sentence, width, SENTENCE_LINES_MAX);
    if !remedy.is_empty() {
        lines.extend(marked("    → ", remedy, width, REMEDY_LINES_MAX));
    }
    lines
}

fn marked(mark: &str, text: &str, width: usize, lines_max: usize) -> Vec<String> {
    let indent = mark.chars().count();
    // One character is kept for the sign that the text was cut.
    let mut lines = figures::wrapped(&figures::clean(text), width - indent - 1);
    if lines.len() > lines_max {
        lines.truncate(lines_max);
        lines
            .iter_mut()
            .last()
            .into_iter()
            .for_each(|line| line.push('…'));
    }
    let marks = std::iter::once(mark.to_owned()).chain(std::iter::repeat(" ".repeat(indent)));
    marks.zip(lines).map(|(mark, line)| mark + &line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_remedy_below_it() {
        let verdict = v1::Verdict {
            reasons: vec![v1::Reason {
                code: v1::ReasonCode::AgentLost.into(),
                sentence: "agent a\x1b[2J went away".into(),
                remedy: "see the agent's log".into(),
                ..v1::Reason::default()
            }],
            notes: vec![v1::Note {
                code: v1::NoteCode::Overslept.into(),
                sentence: "a pacing thread overslept".into(),
                ..v1::Note::default()
            }],
            ..v1::Verdict::default()
        };
        let lines = super::verdict(&verdict, 100, 8);
        assert_eq!(
            lines,
            [
                "  - AGENT_LOST: agent a?[2J went away",
                "    → see the agent's log",
                "  - note: a pacing thread overslept",
            ]
        );
    }

    #[test]
    fn a_code_of_a_later_version_is_shown_as_its_number() {
        let failure = v1::Failure {
            code: 999,
            sentence: "something new".into(),
            remedy: "upgrade".into(),
            ..v1::Failure::default()
        };
        let expected = ["  - 999, 2 clients: something new", "    → upgrade"];
        assert_eq!(failure_of_clients(&failure, 2, 100), expected);
        assert_eq!(
            super::failure(&v1::Failure { code: 0, ..failure }, 100)[0],
            "  - –: something new"
        );
    }

    #[test]
    fn a_text_that_is_cut_ends_with_an_ellipsis() {
        let lines = ground(&"word ".repeat(100), &"cure ".repeat(100), 40);
        assert_eq!(lines.len(), SENTENCE_LINES_MAX + REMEDY_LINES_MAX);
        assert!(
            lines.iter().all(|line| line.chars().count() <= 40),
            "{lines:?}"
        );
        assert!(
            lines[2].ends_with("word…") && lines[4].ends_with("cure…"),
            "{lines:?}"
        );
    }
}
