//! The reasons of a verdict: what follows from a code alone.

use crate::v1::{
    AgentLoss, AgentState, LawStatus, LimitKind, NoteCode, OutcomeStatus, ReasonCode, RunState,
    StopCause, VerdictStatus,
};

/// The prefix of the codes' names in the API.
const PREFIX: &str = "REASON_CODE_";

/// What to do about late packets of bursts that take more writes than their limit has time for.
pub const LATE_BURST_REMEDY: &str =
    "give --batch so that a burst takes fewer writes, or send smaller bursts";

impl ReasonCode {
    /// The name without its prefix: `LATENESS`.
    #[must_use]
    pub fn name(self) -> &'static str {
        short(self.as_str_name(), PREFIX)
    }

    /// What to do about it: a sentence without its full stop. Where a failure is the cause, that
    /// one's remedy is the better one, and of bursts of many writes [`LATE_BURST_REMEDY`].
    #[must_use]
    pub fn remedy(self) -> &'static str {
        match self {
            Self::NothingSent => "see the other reasons",
            Self::FloodEndedEarly => "see the agent's log",
            Self::ClientSentNothing => {
                "use a longer --duration, or fewer clients per pacing thread"
            }
            Self::Lateness | Self::ClientLateness => {
                "give the agent's host more idle CPU, use fewer clients per agent, or more agents"
            }
            Self::Saturated => {
                "the agent's process or host did not run for seconds: check that host"
            }
            Self::AgentLost => "see the agent's log",
            Self::ClientLost => "`benchctl show RUN --clients-table` gives each client's failure",
            Self::WorkerRecordMissing => "see the server's log",
            Self::Corrupt => {
                "something changed bytes on their way: check the path (a middlebox, a network card \
                 and its offloads) and the memory of both hosts"
            }
            Self::Stopped => "start the run again without stopping it",
            Self::Throttled => {
                "raise the CPU quota of the agent's control group, or use fewer clients per agent; \
                 `--allow THROTTLED` leaves such a run valid"
            }
            Self::Stolen => {
                "use a host or an instance type whose cores are its own, or run at another time; \
                 `--allow STOLEN` leaves such a run valid"
            }
            Self::Frozen => {
                "find out what stopped every process of the host at once (a snapshot or a live \
                 migration of the machine, a freezer); `--allow FROZEN` leaves such a run valid"
            }
            Self::Suspended => {
                "keep the host awake while it measures; `--allow SUSPENDED` leaves such a run valid"
            }
            Self::Unspecified
            | Self::ScheduleMiscounted
            | Self::PlanNotScheduled
            | Self::LossNotPlaced
            | Self::UnreadBeyondBuffers
            | Self::BytesDiffer
            | Self::EndMiscounted
            | Self::LossOnCleanEnd
            | Self::SequenceBroken
            | Self::HistogramMiscounted
            | Self::SumsDiffer
            | Self::EndDiffers
            | Self::EndAckDiffers
            | Self::DigestsDiffer
            | Self::RecordsContradict
            | Self::ReadBeforeStart
            | Self::ReadBeforeWritten
            | Self::ReadBeforeDue
            | Self::ScheduleNotFollowed
            | Self::StartedElsewhen
            | Self::RepliesMissing
            | Self::RepliesUnexpected => {
                "repeat the run; when it happens twice, file an issue with \
                 `benchctl show RUN -o json` and the server's log"
            }
        }
    }
}

impl NoteCode {
    /// The name without its prefix: `OVERSLEPT`.
    #[must_use]
    pub fn name(self) -> &'static str {
        short(self.as_str_name(), "NOTE_CODE_")
    }
}

impl VerdictStatus {
    /// How bad it is, so that the worst of several can be found: the numbers of the API have no
    /// order.
    #[must_use]
    pub fn severity(self) -> u8 {
        match self {
            Self::Unspecified | Self::Valid => 0,
            Self::Partial => 1,
            Self::Invalid => 2,
        }
    }

    /// The name without its prefix: `VALID`.
    #[must_use]
    pub fn name(self) -> &'static str {
        short(self.as_str_name(), "VERDICT_STATUS_")
    }

    /// The name in lower case, without its prefix: `valid`. `None` when it is unspecified.
    #[must_use]
    pub fn word(self) -> Option<&'static str> {
        match self {
            Self::Unspecified => None,
            Self::Valid => Some("valid"),
            Self::Partial => Some("partial"),
            Self::Invalid => Some("invalid"),
        }
    }
}

impl OutcomeStatus {
    /// The name without its prefix: `NOT_HELD`.
    #[must_use]
    pub fn name(self) -> &'static str {
        short(self.as_str_name(), "OUTCOME_STATUS_")
    }

    /// The name in lower case, without its prefix. `None` when it is unspecified.
    #[must_use]
    pub fn word(self) -> Option<&'static str> {
        match self {
            Self::Unspecified => None,
            Self::Held => Some("held"),
            Self::NotHeld => Some("not_held"),
            Self::NotJudged => Some("not_judged"),
        }
    }
}

impl LimitKind {
    /// The name in lower case, without its prefix. `None` when it is unspecified.
    #[must_use]
    pub fn word(self) -> Option<&'static str> {
        match self {
            Self::Unspecified => None,
            Self::None => Some("none"),
            Self::Generator => Some("generator"),
            Self::Receiver => Some("receiver"),
            Self::Network => Some("network"),
        }
    }
}

impl LawStatus {
    /// The name in lower case, without its prefix. `None` when it is unspecified.
    #[must_use]
    pub fn word(self) -> Option<&'static str> {
        match self {
            Self::Unspecified => None,
            Self::Holds => Some("holds"),
            Self::Broken => Some("broken"),
            Self::NotCheckable => Some("not_checkable"),
        }
    }
}

impl RunState {
    /// The name without its prefix: `RUNNING`.
    #[must_use]
    pub fn name(self) -> &'static str {
        short(self.as_str_name(), "RUN_STATE_")
    }

    /// The name in lower case, without its prefix: `running`. `None` when it is unspecified.
    #[must_use]
    pub fn word(self) -> Option<&'static str> {
        match self {
            Self::Unspecified => None,
            Self::Preparing => Some("preparing"),
            Self::Starting => Some("starting"),
            Self::Running => Some("running"),
            Self::Draining => Some("draining"),
            Self::Ended => Some("ended"),
            Self::Failed => Some("failed"),
            Self::Aborted => Some("aborted"),
        }
    }

    /// Whether the run is over for good.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Ended | Self::Failed | Self::Aborted)
    }
}

impl StopCause {
    /// The name in lower case, without its prefix. `None` when it is unspecified.
    #[must_use]
    pub fn word(self) -> Option<&'static str> {
        match self {
            Self::Unspecified => None,
            Self::Operator => Some("operator"),
            Self::Shutdown => Some("shutdown"),
            Self::AgentLost => Some("agent_lost"),
        }
    }
}

impl AgentState {
    /// The name in lower case, without its prefix. Unspecified is available.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Unspecified | Self::Available => "available",
            Self::Unresponsive => "unresponsive",
        }
    }
}

impl AgentLoss {
    /// The name in lower case, without its prefix. Unspecified is continue.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Unspecified | Self::Continue => "continue",
            Self::Stop => "stop",
        }
    }
}

fn short(name: &'static str, prefix: &str) -> &'static str {
    name.strip_prefix(prefix).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::is_phrase;

    #[test]
    fn every_code_has_a_name_and_a_way_out() {
        let codes: Vec<_> = (0..100)
            .filter_map(|number| ReasonCode::try_from(number).ok())
            .collect();
        assert!(codes.len() > 30);
        assert!(is_phrase(LATE_BURST_REMEDY));
        for code in codes {
            assert!(!code.name().starts_with(PREFIX));
            let remedy = code.remedy();
            assert!(remedy.len() > 15 && is_phrase(remedy), "{code:?}: {remedy}");
        }
    }

    #[test]
    fn states_have_names_and_three_are_final() {
        let states: Vec<_> = (0..100)
            .filter_map(|number| RunState::try_from(number).ok())
            .collect();
        assert_eq!(states.iter().filter(|state| state.is_final()).count(), 3);
        for state in states {
            let named = RunState::from_str_name(&format!("RUN_STATE_{}", state.name()));
            assert_eq!(named, Some(state));
        }
    }

    #[test]
    fn a_word_is_the_name_in_the_api_in_lower_case_and_the_unspecified_has_none() {
        macro_rules! check {
            ($($of:ident: $prefix:literal,)*) => {$(
                let all: Vec<_> = (0..100).filter_map(|of| $of::try_from(of).ok()).collect();
                assert!(all.len() > 2);
                for of in all {
                    let name = short(of.as_str_name(), $prefix);
                    let is_known = of != $of::Unspecified;
                    assert_eq!(of.word().map(str::to_uppercase), is_known.then(|| name.into()));
                }
            )*};
        }
        check! {
            VerdictStatus: "VERDICT_STATUS_",
            OutcomeStatus: "OUTCOME_STATUS_",
            LawStatus: "LAW_STATUS_",
            RunState: "RUN_STATE_",
            StopCause: "STOP_CAUSE_",
        }
    }

    #[test]
    fn an_invalid_part_is_worse_than_a_partial_one_and_that_worse_than_a_valid_one() {
        let severity = VerdictStatus::severity;
        assert_eq!(
            severity(VerdictStatus::Unspecified),
            severity(VerdictStatus::Valid)
        );
        assert!(severity(VerdictStatus::Valid) < severity(VerdictStatus::Partial));
        assert!(severity(VerdictStatus::Partial) < severity(VerdictStatus::Invalid));
    }
}
