//! A predecessor's runs of which anything may be said: for `crate::fuzzing`.

use super::estate::{Estate, Legacy, Revived};
use crate::{
    model::run::Event,
    verdict::{Evidence, conclude},
};

/// Steps to the end of a run that is stopped: far more than it takes.
const STEPS_MAX: usize = 100;

/// Reads what a predecessor has said, takes up the runs that make sense, and ends each. What was
/// read says the same when it is handed on. Returns the master's part.
pub(crate) fn revive_and_end(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut estate = Estate::decode(bytes).ok()?;
    let again = estate.encode().expect("what was read can be written");
    let read_again = Estate::decode(&again).expect("what was written can be read");
    assert_eq!(read_again.encode().expect("as before"), again);
    let master = std::mem::take(&mut estate.master);
    std::mem::take(&mut estate.runs)
        .into_iter()
        .filter_map(|run| Legacy::revive(run).ok())
        .for_each(end);
    estate.unsaved().for_each(drop);
    Some(master)
}

fn end(run: Revived) {
    let Revived {
        plan,
        mut state_machine,
        accounts,
        ..
    } = run;
    let agents = (0..state_machine.agents().min(STEPS_MAX)).map(Event::AgentGone);
    for event in agents.chain([Event::StopRequested, Event::RunClosed]) {
        let now_ns = state_machine.wake_at_ns().unwrap_or(u64::MAX);
        state_machine = state_machine.step(event, now_ns).0;
    }
    let start_at_ns = state_machine.start_at_ns();
    let evidence = Evidence {
        plan: &plan,
        agents: &accounts,
        counters: None,
        start_at_ns,
        stopped: None,
        notes: &[],
    };
    let _ = conclude(&evidence);
}
