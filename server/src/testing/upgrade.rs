//! The state that an old server process sends to a new one: read, restored and ended, or refused.

use std::os::fd::OwnedFd;

use crate::{
    master::testing::restore_master,
    model::run::Event,
    upgrade::{ControlState, MasterState, RestoredRun, SavedRun, State},
    verdict::{Evidence, conclude, failure_of_run},
};

/// Steps to the end of a run that is stopped: far more than it takes.
const STEPS_MAX: usize = 100;

/// Any bytes in place of the state that an old process sends: what makes sense is restored, and its
/// runs are ended. `socket` makes connections to go with it.
///
/// Read as the whole state and as each part of it alone, so that a fuzzer need not get the other
/// parts right to reach into one of them.
pub fn restore_state(bytes: &[u8], mut socket: impl FnMut() -> OwnedFd) {
    let mut states = vec![State::decode(bytes).ok()];
    states.push(
        postcard::from_bytes(bytes)
            .ok()
            .map(|master: MasterState| State {
                master,
                ..State::default()
            }),
    );
    states.push(
        postcard::from_bytes(bytes)
            .ok()
            .map(|control: ControlState| State {
                control,
                ..State::default()
            }),
    );
    states.push(postcard::from_bytes(bytes).ok().map(|run: SavedRun| State {
        runs: vec![run],
        ..State::default()
    }));
    for state in states.into_iter().flatten() {
        restore(&state, &mut socket);
    }
}

fn restore(state: &State, socket: &mut impl FnMut() -> OwnedFd) {
    let bytes = state.encode().expect("what was read can be written");
    let Ok(state) = State::decode(&bytes) else {
        return;
    };
    assert_eq!(state.encode().expect("as before"), bytes);
    restore_master(state.master, socket);
    state
        .runs
        .into_iter()
        .filter_map(|run| run.restore().ok())
        .for_each(end);
    for report in state.control.unstored {
        drop(report.into_parts());
    }
}

fn end(run: RestoredRun) {
    let RestoredRun {
        plan,
        mut state_machine,
        agents,
        ..
    } = run;
    let gone = (0..state_machine.agents().min(STEPS_MAX)).map(Event::AgentGone);
    for event in gone.chain([Event::StopRequested, Event::RunClosed]) {
        let now_ns = state_machine.wake_at_ns().unwrap_or(u64::MAX);
        state_machine = state_machine.step(event, now_ns).0;
    }
    let start_at_ns = state_machine.start_at_ns();
    let evidence = Evidence {
        hosts: &[],
        plan: &plan,
        agents: &agents,
        counters: None,
        data_address: "",
        start_at_ns,
        stopped: None,
        finished_early: state_machine.finished_early(),
        notes: &[],
    };
    let _ = (conclude(&evidence), failure_of_run(&agents, None, None));
}
