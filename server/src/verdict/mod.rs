//! The verdict: whether the figures of a run may be trusted, as a pure function of what both ends
//! tell. docs/verdict.md lists every law, reason and note for users.
//!
//! ```text
//! agents' records ─┐
//! workers' record ─┼─▶ rows (one per client) ─▶ laws ─▶ reasons ─▶ verdict
//! plan, times     ─┘            └──────────────▶ report, client reports
//! ```
//!
//! Agents are not trusted: every figure may be anything a u64 holds, so sums are taken in u128 and
//! told saturated. Absent on purpose: clock, I/O, async.

mod account;
mod laws;
mod pace;
mod reasons;
mod report;
mod rows;
#[cfg(test)]
mod samples;

pub(crate) use account::AgentAccount;

use metronome_proto::{plan::Plan, v1};

use crate::model::FinalCounters;

/// All that is known of a run at its end.
#[derive(Debug)]
pub(crate) struct Evidence<'a> {
    pub(crate) plan: &'a Plan,
    /// By the agents' indices; their shares cover the plan's clients.
    pub(crate) agents: &'a [AgentAccount],
    /// `None` when the master did not give it.
    pub(crate) record: Option<&'a FinalCounters>,
    /// When the first packet was due, ns of this host's CLOCK_MONOTONIC. `None`: never started.
    pub(crate) start_at_ns: Option<u64>,
    /// A stop came before the schedule was over.
    pub(crate) stopped: Option<StopCause>,
    /// Remarks of the server about itself.
    pub(crate) notes: &'a [String],
}

/// Who ended a run early.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum StopCause {
    /// StopRun or StopAll: a user's Ctrl-C, for example.
    Operator,
    /// The server was told to end and the drain timeout was over.
    Shutdown,
}

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
        notes: reasons::notes(evidence, &rows),
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
        let source = include_str!("reasons.rs");
        let codes: Vec<_> = source
            .split("reason(\"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .collect();
        assert!(codes.len() >= 8, "{codes:?}");
        for code in codes {
            assert!(MANUAL.contains(&format!("| `{code}` |")), "{code}");
        }
    }
}
