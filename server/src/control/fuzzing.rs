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
        mut life,
        accounts,
        ..
    } = run;
    let agents = (0..life.agents().min(STEPS_MAX)).map(Event::AgentGone);
    for event in agents.chain([Event::StopRequested, Event::RecordClosed]) {
        let now_ns = life.wake_at_ns().unwrap_or(u64::MAX);
        life = life.step(event, now_ns).0;
    }
    let start_at_ns = life.start_at_ns();
    let evidence = Evidence {
        plan: &plan,
        agents: &accounts,
        record: None,
        start_at_ns,
        stopped: None,
        notes: &[],
    };
    let _ = conclude(&evidence);
}
