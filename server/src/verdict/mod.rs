//! The verdict, whether the figures of a run may be believed, and the outcome, whether it held: a
//! pure function of what both ends report. docs/verdict.md lists every law, reason, note and
//! objective for users.
//!
//! ```text
//! agents' records ─┐                           ┌─▶ laws ─▶ reasons ─▶ verdict ─▶ outcome
//! final counters ──┼─▶ rows (one per client) ──┼─▶ punctuality ───┘      (objectives) ┘
//! plan, times     ─┘                           └─▶ report, client reports
//! ```
//!
//! While a run goes on, `certainty` finds from the same sources whether a threshold cannot hold any
//! more, by which a plan may end the run.
//!
//! Codes decide, and sentences are written from the figures that stand beside them; none is read.
//! What is not known is unset. Agents are not trusted: every figure may be anything a u64 holds, so
//! sums are taken in u128 or saturate. Absent on purpose: clock, I/O, async.

mod bounds;
mod certainty;
mod client_failure;
mod elapsed;
mod evidence;
mod failed;
mod frozen;
mod groups;
mod hidden;
mod laws;
mod limit;
#[cfg(test)]
mod mixed;
mod notes;
mod objectives;
mod other_clocks;
mod paths;
#[cfg(test)]
mod presence;
mod punctuality;
mod reasons;
mod replies;
mod report;
mod rows;
#[cfg(test)]
mod samples;
mod sentence;
mod shared_clock;
mod tcp;

pub(crate) use certainty::{SoFar, missed};
pub(crate) use evidence::Evidence;
pub(crate) use failed::failure_of_run;
pub(crate) use notes::{failed_threshold, no_certificate, server_paused};
pub(crate) use report::RECEIVER;

use metronome_proto::v1;

use punctuality::Punctualities;

/// The report and its client rows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Conclusion {
    pub(crate) report: v1::Report,
    /// One per client of the plan, by rising index.
    pub(crate) clients: Vec<v1::ClientReport>,
}

/// Judges a run that is over and was RUNNING.
pub(crate) fn conclude(evidence: &Evidence<'_>) -> Conclusion {
    let mut rows = rows::pair(evidence);
    shared_clock::find_held_up(&mut rows);
    let rows = rows;
    let punctuality = Punctualities::of(evidence, &rows);
    let whole = punctuality.whole();
    let laws = laws::check(evidence, &rows);
    let reasons = reasons::find(evidence, &rows, &laws, &punctuality);
    let status = reasons
        .iter()
        .map(v1::Reason::status)
        .max_by_key(|status| status.severity())
        .unwrap_or(v1::VerdictStatus::Valid);
    let verdict = v1::Verdict {
        status: status.into(),
        notes: notes::find(evidence, &rows, &punctuality, &reasons),
        reasons,
        laws: laws.into_iter().map(laws::Checked::into_proto).collect(),
        valid_to_ppm: whole.and_then(|of| of.valid_to_ppm()),
        punctuality: punctuality.to_proto(),
    };
    let outcome = objectives::judge(evidence, &rows, &punctuality, status);
    let limit = limit::find(evidence, &rows, &verdict, &outcome);
    Conclusion {
        clients: rows.iter().map(report::client).collect(),
        report: v1::Report {
            limit: Some(limit),
            ..report::assemble(evidence, &rows, &punctuality, (verdict, outcome))
        },
    }
}

#[cfg(test)]
mod tests {
    use metronome_proto::v1::{Failure, FailureCode, Note, NoteCode, ReasonCode};

    use super::{
        samples::{Sample, blank_sentences},
        *,
    };
    use crate::model::Incident;

    const MANUAL: &str = include_str!("../../../docs/verdict.md");

    #[test]
    fn the_manual_lists_every_law_and_every_code() {
        let conclusion = Sample::of(1, 1).conclude();
        let laws = conclusion.report.verdict.expect("a verdict").laws;
        for law in &laws {
            let row = format!("| `{}` | `{}` |", law.law, law.code().name());
            assert!(MANUAL.contains(&row), "{row}");
        }
        let codes = (1..100).filter_map(|number| ReasonCode::try_from(number).ok());
        for code in codes {
            let is_law = laws.iter().any(|law| law.code() == code);
            assert!(
                is_law || MANUAL.contains(&format!("| `{}` |", code.name())),
                "{code:?}"
            );
        }
        let notes = (1..100).filter_map(|number| NoteCode::try_from(number).ok());
        for code in notes {
            assert!(
                MANUAL.contains(&format!("| `{}` |", code.name())),
                "{code:?}"
            );
        }
    }

    /// A run in which much goes wrong, with failures and incidents in the words of `sentence`.
    fn in_the_words_of(sentence: &str, remedy: &str) -> Conclusion {
        let failure = |code| Failure {
            remedy: remedy.into(),
            ..Failure::new(code, sentence).with("address", "192.0.2.7:8888")
        };
        let mut sample = Sample::of(3, 2);
        sample.break_connection(0, 40);
        sample.reported(0, |reported| {
            reported.failure = Some(failure(FailureCode::ConnectionBroken));
        });
        sample.forget_agent(1);
        sample.agents[1].fail(failure(FailureCode::AgentSilent));
        sample.agents[2].fail(failure(FailureCode::LeaseOver));
        sample.counters().incidents.push(Incident {
            at_ns: 1,
            what: "worker died".into(),
            text: sentence.into(),
        });
        sample.notes.push(Note {
            sentence: sentence.into(),
            ..notes::no_certificate()
        });
        sample.conclude()
    }

    #[test]
    fn a_change_of_every_sentence_changes_no_code_no_status_no_remedy_and_no_figure() {
        let mut one = in_the_words_of("the connection broke", "");
        let mut other = in_the_words_of("AGENT_LOST: 7 of 9, and VALID all the same", "trust me");
        assert_ne!(one, other);
        let failure = &one.clients[0].failure;
        assert_eq!(
            failure.as_ref().map(|failure| failure.remedy.as_str()),
            Some(FailureCode::ConnectionBroken.remedy())
        );
        blank_sentences(&mut one);
        blank_sentences(&mut other);
        assert_eq!(one, other);
    }
}
