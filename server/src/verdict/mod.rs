//! The verdict: whether the figures of a run may be trusted, as a pure function of what both ends
//! report. docs/verdict.md lists every law, reason and note for users.
//!
//! ```text
//! agents' records ─┐
//! final counters ──┼─▶ rows (one per client) ─▶ laws ─▶ reasons ─▶ verdict
//! plan, times     ─┘            └──────────────▶ report, client reports
//! ```
//!
//! Agents are not trusted: every figure may be anything a u64 holds, so sums are taken in u128 and
//! reported saturated. Absent on purpose: clock, I/O, async.

mod evidence;
mod laws;
mod notes;
mod reasons;
mod report;
mod rows;
#[cfg(test)]
mod samples;

pub(crate) use evidence::{Evidence, StopCause};

use metronome_proto::v1;

/// The report and its client rows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Conclusion {
    pub(crate) report: v1::Report,
    /// One per client of the plan, by rising index.
    pub(crate) clients: Vec<v1::ClientReport>,
}

/// Judges a run that is over.
pub(crate) fn conclude(evidence: &Evidence<'_>) -> Conclusion {
    let rows = rows::pair(evidence);
    let laws = laws::check(evidence, &rows);
    let reasons = reasons::find(evidence, &rows, &laws);
    let status = reasons
        .iter()
        .map(|reason| reason.status())
        .max()
        .unwrap_or(v1::VerdictStatus::Valid);
    let verdict = v1::Verdict {
        status: status.into(),
        reasons,
        notes: notes::find(evidence, &rows),
    };
    let laws = laws.into_iter().map(laws::Checked::into_proto).collect();
    let report = report::assemble(evidence, &rows, verdict, laws);
    Conclusion {
        report,
        clients: rows.iter().map(|row| row.report()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::samples::Sample;

    const MANUAL: &str = include_str!("../../../docs/verdict.md");

    #[test]
    fn the_manual_lists_every_law_and_every_code() {
        let sample = Sample::of(1, 1);
        let evidence = sample.evidence();
        for law in super::laws::check(&evidence, &super::rows::pair(&evidence)) {
            assert!(
                MANUAL.contains(&format!("| `{}` | `{}` |", law.law, law.code)),
                "{law:?}"
            );
        }
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/verdict/reasons");
        let files = fs::read_dir(folder).unwrap();
        let texts: Vec<_> = files
            .map(|file| fs::read_to_string(file.unwrap().path()).unwrap())
            .collect();
        // Tests have the codes of laws too.
        let sources = texts
            .iter()
            .map(|text| text.split("#[cfg(test)]").next().unwrap());
        let is_code = |word: &&str| {
            word.len() > 3
                && word
                    .chars()
                    .all(|letter| letter.is_ascii_uppercase() || letter == '_')
        };
        let codes: Vec<_> = sources
            .flat_map(|source| source.split('"'))
            .filter(is_code)
            .collect();
        assert_eq!(codes.len(), 12, "{codes:?}");
        for code in codes {
            assert!(MANUAL.contains(&format!("| `{code}` |")), "{code}");
        }
    }
}
