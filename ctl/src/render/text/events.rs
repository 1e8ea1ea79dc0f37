//! The events of a server, a line each. Snapshots are none: they are for programs and for one run.

use metronome_proto::{
    json::values,
    v1::{self, watch_events_response::Event},
};

use super::{
    figures::{self, UNKNOWN, known},
    summary,
};

/// What has happened, in one line. `None` of what no line is for.
pub(crate) fn event(event: &v1::WatchEventsResponse) -> Option<String> {
    let what = match event.event.as_ref()? {
        Event::Present(state) => present(state),
        Event::RunChanged(run) => {
            let state = figures::word(values::state(run.state));
            let plan = known(run.plan.as_ref(), figures::plan);
            format!("{}  {state}  {plan}", of_run(&run.run_id))
        }
        Event::RunEnded(run) => format!("{}  {}", of_run(&run.run_id), summary::result(run)),
        Event::ThresholdFailed(failed) => {
            let sentence = failed.objective.as_ref().map(|of| of.sentence.as_str());
            let sentence = known(sentence, figures::text);
            format!("{}  not held: {sentence}", of_run(&failed.run_id))
        }
        Event::AgentChanged(changed) => {
            let name = changed.agent.as_ref().map(|agent| agent.name.as_str());
            let change = figures::word(values::agent_change(changed.change));
            format!("agent {}  {change}", known(name, figures::text))
        }
        Event::WorkerChanged(changed) => worker(changed),
        Event::Snapshot(_) => return None,
    };
    Some(format!("{}  {what}", figures::instant(event.at.as_ref())))
}

fn of_run(run_id: &str) -> String {
    format!("run {}", figures::text(run_id))
}

fn present(state: &v1::PresentState) -> String {
    let runs = figures::number_of(state.run_ids.len() as u64, "run");
    let agents = figures::number_of(state.agents.len() as u64, "agent");
    let missed = match state.missed {
        true => "some events were missed; ",
        false => "",
    };
    format!("{missed}now: {runs}, {agents}")
}

fn worker(changed: &v1::WorkerChanged) -> String {
    let change = figures::word(values::worker_change(changed.change));
    let Some(worker) = changed.worker else {
        return format!("worker {UNKNOWN}  {change}");
    };
    let has_died = changed.change() == v1::WorkerChange::Died;
    let process = match worker.pid {
        0 => String::new(),
        pid if has_died => format!(", its next process is {pid}"),
        pid => format!(", process {pid}"),
    };
    format!("worker {}  {change}{process}", worker.worker)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(of: Event) -> Option<String> {
        event(&v1::WatchEventsResponse {
            number: 1,
            at: Some(prost_types::Timestamp {
                seconds: 1_767_323_045,
                nanos: 0,
            }),
            event: Some(of),
        })
    }

    #[test]
    fn an_event_is_a_line_and_a_snapshot_is_none() {
        let run = v1::Run {
            run_id: "0199f0c2a1b2c3d4".into(),
            state: v1::RunState::Running.into(),
            ..v1::Run::default()
        };
        let died = v1::WorkerChanged {
            change: v1::WorkerChange::Died.into(),
            worker: Some(v1::Worker {
                worker: 1,
                ..v1::Worker::default()
            }),
        };
        let left = v1::AgentChanged {
            change: v1::AgentChange::Disconnected.into(),
            agent: Some(v1::Agent {
                name: "rack-7\u{1b}".into(),
                ..v1::Agent::default()
            }),
        };
        let state = v1::PresentState {
            missed: true,
            run_ids: vec![run.run_id.clone()],
            ..v1::PresentState::default()
        };
        for (of, expected) in [
            (Event::RunChanged(run), "run 0199f0c2a1b2c3d4  running  –"),
            (Event::WorkerChanged(died), "worker 1  died"),
            (Event::AgentChanged(left), "agent rack-7?  disconnected"),
            (
                Event::Present(state),
                "some events were missed; now: 1 run, 0 agents",
            ),
        ] {
            let expected = format!("2026-01-02T03:04:05Z  {expected}");
            assert_eq!(line(of), Some(expected));
        }
        assert_eq!(line(Event::Snapshot(v1::Snapshot::default())), None);
    }
}
