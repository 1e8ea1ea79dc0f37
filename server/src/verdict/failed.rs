//! What a run failed with that was over before its first packet was due: it has no verdict.

use metronome_proto::v1::{Failure, FailureCode, StopCause};

use crate::model::AgentRecords;

/// The failure of a run that is FAILED: that it was stopped, or else the failure of the first agent
/// that has one, with its code. When the loss of an agent has stopped it, the failure of that
/// agent, by its index: others fail only because of the stop.
pub(crate) fn failure_of_run(
    agents: &[AgentRecords],
    stopped: Option<StopCause>,
    lost: Option<usize>,
) -> Failure {
    let lost = lost.and_then(|agent| agents.get(agent));
    if let Some(failure) = lost.and_then(of_agent) {
        let sentence = format!("{}; the plan stops the run then", failure.sentence);
        return Failure {
            sentence,
            ..failure
        };
    }
    if let Some(cause) = stopped {
        let by = stopped_by(cause);
        let sentence = format!("the run was stopped before its first packet was due, {by}");
        let failure = Failure::new(FailureCode::Stopped, sentence);
        return match cause.word() {
            Some(word) => failure.with("cause", word),
            None => failure,
        };
    }
    agents.iter().find_map(of_agent).unwrap_or_else(|| {
        let sentence = "the run was over before its first packet was due, and no agent has failed";
        Failure::new(FailureCode::Internal, sentence)
    })
}

/// The failure of an agent that has one, with its name in the sentence.
fn of_agent(agent: &AgentRecords) -> Option<Failure> {
    let failure = agent.failure()?.clone();
    Some(Failure {
        sentence: format!("agent {}: {}", agent.name, failure.sentence),
        ..failure
    })
}

/// Why a run was stopped, as a part of a sentence.
pub(super) fn stopped_by(cause: StopCause) -> &'static str {
    match cause {
        StopCause::Shutdown => "because the server was shut down",
        StopCause::AgentLost => "because an agent was lost",
        StopCause::Threshold => "since a threshold could not hold any more",
        StopCause::Operator | StopCause::Unspecified => "on request",
    }
}

#[cfg(test)]
mod tests {
    use metronome_proto::failure::is_phrase;

    use super::*;
    use crate::model::{AgentShare, ClockRelation};

    fn agents() -> Vec<AgentRecords> {
        let agent = |index: u32| {
            let share = AgentShare::of(index..index + 1, ClockRelation::Same);
            AgentRecords::new(format!("agent-{index}"), share)
        };
        (0..3).map(agent).collect()
    }

    #[test]
    fn a_run_that_no_agent_could_prepare_fails_with_the_first_agents_failure() {
        let mut agents = agents();
        let refused = Failure::new(FailureCode::ConnectionRefused, "nothing listens there")
            .with("address", "192.0.2.7:8888");
        agents[2].fail(Failure::new(FailureCode::NoRoute, "there is no route"));
        agents[1].fail(refused);
        let failure = failure_of_run(&agents, None, None);
        assert_eq!(failure.code(), FailureCode::ConnectionRefused);
        assert_eq!(failure.sentence, "agent agent-1: nothing listens there");
        assert_eq!(failure.remedy, FailureCode::ConnectionRefused.remedy());
        assert_eq!(failure.figures["agent"], "agent-1".into());
        assert_eq!(failure.figures["address"], "192.0.2.7:8888".into());
    }

    #[test]
    fn a_run_that_was_stopped_fails_with_that_whatever_its_agents_report() {
        let mut agents = agents();
        agents[0].fail(Failure::new(FailureCode::RefusedEnded, "the run is over"));
        for cause in [StopCause::Operator, StopCause::Shutdown] {
            let failure = failure_of_run(&agents, Some(cause), None);
            assert_eq!(failure.code(), FailureCode::Stopped);
            assert!(is_phrase(&failure.sentence), "{failure:?}");
            assert_eq!(failure.figures.len(), 1);
        }
    }

    #[test]
    fn a_run_that_a_loss_has_stopped_fails_with_the_failure_of_the_agent_that_was_lost() {
        let mut agents = agents();
        agents[0].fail(Failure::new(FailureCode::Stopped, "the run was stopped"));
        agents[2].fail(Failure::new(FailureCode::NoRoute, "there is no route"));
        let failure = failure_of_run(&agents, Some(StopCause::AgentLost), Some(2));
        assert_eq!(failure.code(), FailureCode::NoRoute);
        assert_eq!(
            failure.sentence,
            "agent agent-2: there is no route; the plan stops the run then"
        );
        assert!(is_phrase(&failure.sentence));
        assert_eq!(failure.figures["agent"], "agent-2".into());
    }

    #[test]
    fn a_run_that_failed_without_a_cause_is_a_fault_of_ours() {
        let failure = failure_of_run(&agents(), None, None);
        assert_eq!(failure.code(), FailureCode::Internal);
        assert!(is_phrase(&failure.sentence), "{failure:?}");
    }

    #[test]
    fn a_stop_is_put_down_to_its_cause() {
        let shutdown = stopped_by(StopCause::Shutdown);
        assert_eq!(shutdown, "because the server was shut down");
        assert_eq!(stopped_by(StopCause::Operator), "on request");
        assert_eq!(stopped_by(StopCause::Unspecified), "on request");
    }
}
