//! One watch: where it stands in the log, and what is next for it.

use std::{collections::VecDeque, sync::Arc};

use metronome_proto::v1::{
    PresentState, WatchEventsResponse, watch_events_response::Event as Kind,
};
use tokio::sync::watch::Receiver;

use super::{
    event::Event,
    log::{After, Log, Numbered, Subject},
    publish::Feed,
    selection::Selection,
};
use crate::wall_clock::{self, timestamp};

/// What is next for a watch.
#[derive(Debug)]
pub(crate) enum Next {
    Event(Box<WatchEventsResponse>),
    /// The run that is watched is not among those that have not ended: its end is in the history.
    /// The number is that of the newest event.
    Gone(u64),
    /// Changes that were not taken are not kept any more.
    Missed,
    /// The last event has been given.
    Over,
    /// This process publishes nothing any more.
    Closed,
}

/// A place in the feed. It holds nothing but its present state, until that was taken.
#[derive(Debug)]
pub(crate) struct Watch {
    feed: Arc<Feed>,
    selection: Selection,
    /// What is given first, with the number that it has there.
    state: VecDeque<(Option<u64>, First)>,
    /// Everything up to it was given.
    number: u64,
    newest: Receiver<(u64, bool)>,
    is_over: bool,
}

#[derive(Debug)]
enum First {
    State(PresentState),
    Value(Arc<Event>),
}

impl Watch {
    /// Watches what comes after a number, or from now on, with the present state first.
    pub(crate) fn begin(feed: &Arc<Feed>, selection: Selection, after: Option<u64>) -> Self {
        let log = feed.lock();
        let mut watch = Self {
            feed: Arc::clone(feed),
            selection,
            state: VecDeque::new(),
            number: log.newest(),
            newest: feed.subscribe(),
            is_over: false,
        };
        match after.filter(|after| log.is_whole_after(*after)) {
            Some(after) => watch.number = after,
            None => watch.begin_anew(&log, after.is_some()),
        }
        drop(log);
        watch
    }

    /// Whether there is more to come: of one run until its end.
    pub(crate) fn is_going_on(&self) -> bool {
        self.is_there(&self.feed.lock())
    }

    /// Whether the number that it began after is behind the end of the one run that is watched.
    pub(crate) fn has_been_given_whole(&self) -> bool {
        let log = self.feed.lock();
        let is_wanted = |event: &Event| self.selection.has(event);
        let has_nothing_left = matches!(log.after(self.number, is_wanted), After::Nothing);
        self.state.is_empty() && has_nothing_left && !self.is_there(&log)
    }

    /// What is next, once it is there.
    pub(crate) async fn next(&mut self) -> Next {
        loop {
            let is_closed = self.newest.borrow_and_update().1;
            match self.step() {
                Some(next) => return next,
                None if is_closed => return Next::Closed,
                // It cannot close while `self` has the feed.
                None => drop(self.newest.changed().await),
            }
        }
    }

    /// What is next, if it is there.
    fn step(&mut self) -> Option<Next> {
        if self.is_over {
            return Some(Next::Over);
        }
        if let Some((number, first)) = self.state.pop_front() {
            let event = match first {
                First::Value(event) => event.to_proto(number),
                First::State(state) => WatchEventsResponse {
                    number: number.unwrap_or_default(),
                    at: Some(timestamp(wall_clock::unix_ms())),
                    event: Some(Kind::Present(state)),
                },
            };
            return Some(Next::Event(Box::new(event)));
        }
        let feed = Arc::clone(&self.feed);
        let log = feed.lock();
        match log.after(self.number, |event| self.selection.has(event)) {
            After::Event(Numbered { number, event }) => {
                self.number = number;
                self.is_over = self.selection.ends_with(&event);
                drop(log);
                Some(Next::Event(Box::new(event.to_proto(Some(number)))))
            }
            After::Nothing => {
                self.number = log.newest();
                self.is_over = !self.is_there(&log);
                self.is_over.then_some(Next::Gone(self.number))
            }
            // A watch without changes has missed none.
            After::Missed if !self.selection.has_state() => {
                self.number = log.newest();
                self.begin_anew(&log, true);
                drop(log);
                self.step()
            }
            After::Missed => {
                self.is_over = true;
                Some(Next::Missed)
            }
        }
    }

    fn is_there(&self, log: &Log<Event>) -> bool {
        match self.selection {
            Selection::Run { id, .. } => log.value(&Subject::Run(id)).is_some(),
            Selection::All | Selection::Matching(_) => true,
        }
    }

    /// The present state is what is given next: only its last event has a number, so that a
    /// watcher that has not had all of it comes back for the whole.
    fn begin_anew(&mut self, log: &Log<Event>, missed: bool) {
        let selected = log
            .present()
            .filter(|(_, value)| self.selection.has(&value.event));
        let mut state = PresentState {
            missed,
            ..PresentState::default()
        };
        let mut values = VecDeque::new();
        for (subject, value) in selected {
            match subject {
                Subject::Run(id) => state.run_ids.push(id.to_string()),
                Subject::Agent(name) => state.agents.push(name.clone()),
                Subject::Worker(number) => state.workers.push(*number),
                Subject::Snapshot(_) => {}
            }
            values.push_back((None, First::Value(Arc::clone(&value.event))));
        }
        if self.selection.has_state() {
            values.push_front((None, First::State(state)));
        }
        // The end of a run that is gone follows, and has it.
        if let Some((number, _)) = values.back_mut().filter(|_| self.is_there(log)) {
            *number = Some(log.newest());
        }
        self.state = values;
    }
}

#[cfg(test)]
mod tests {
    use metronome_proto::{run_id::RunId, v1};
    use tokio::task::yield_now;

    use super::{super::log::CHANGES_MAX, *};

    const ID: RunId = RunId::from_bits(7);

    fn run(state: v1::RunState) -> v1::Run {
        v1::Run {
            run_id: ID.to_string(),
            state: state.into(),
            ..v1::Run::default()
        }
    }

    /// A feed with a run that goes on, an agent and a worker.
    fn feed() -> Arc<Feed> {
        let feed = Arc::<Feed>::default();
        feed.run_changed(ID, &run(v1::RunState::Running));
        feed.snapshot(ID, v1::Snapshot::default());
        feed.agent_changed(v1::AgentChanged {
            change: v1::AgentChange::Connected.into(),
            agent: Some(v1::Agent {
                name: "a".into(),
                ..v1::Agent::default()
            }),
        });
        worker_changes(&feed, 1);
        feed
    }

    fn worker_changes(feed: &Feed, changes: usize) {
        for _ in 0..changes {
            feed.worker_changed(v1::WorkerChanged {
                change: v1::WorkerChange::Started.into(),
                worker: Some(v1::Worker::default()),
            });
        }
    }

    fn of_run(changes: bool) -> Selection {
        Selection::Run { id: ID, changes }
    }

    /// What is there, by kind, with its number.
    fn there(watch: &mut Watch) -> Vec<(&'static str, u64)> {
        let mut kinds = Vec::new();
        while let Some(next) = watch.step() {
            let Next::Event(event) = next else {
                panic!("{next:?} after {kinds:?}")
            };
            let kind = metronome_proto::json::event::kind(&event);
            kinds.push((kind.unwrap(), event.number));
        }
        kinds
    }

    #[test]
    fn a_watch_begins_with_the_present_state_of_which_the_last_event_alone_has_a_number() {
        let feed = feed();
        let newest = feed.newest();
        let begun = |selection| there(&mut Watch::begin(&feed, selection, None));
        assert_eq!(
            begun(Selection::All),
            [
                ("present", 0),
                ("run_changed", 0),
                ("snapshot", 0),
                ("agent_changed", 0),
                ("worker_changed", newest)
            ]
        );
        let of_runs = [("present", 0), ("run_changed", 0), ("snapshot", newest)];
        assert_eq!(begun(of_run(true)), of_runs);
        let running: metronome_proto::filter::Filter = "state = running".parse().unwrap();
        assert_eq!(begun(Selection::Matching(running)), of_runs);
        let ended: metronome_proto::filter::Filter = "state = ended".parse().unwrap();
        assert_eq!(begun(Selection::Matching(ended)), [("present", newest)]);
        assert_eq!(begun(of_run(false)), [("snapshot", newest)]);
    }

    #[test]
    fn a_watch_of_one_run_is_over_with_its_end_and_needs_the_history_where_that_is_gone() {
        let feed = feed();
        let [mut one, mut slow] = [(); 2].map(|()| Watch::begin(&feed, of_run(false), None));
        there(&mut one);
        feed.run_ended(ID, run(v1::RunState::Ended));
        let Some(Next::Event(event)) = one.step() else {
            panic!("no end")
        };
        assert!(matches!(event.event, Some(Kind::RunEnded(_))));
        assert!(matches!(one.step(), Some(Next::Over)));
        // The end is not kept any more, and this one has not read it.
        worker_changes(&feed, CHANGES_MAX + 1);
        assert!(matches!(slow.step(), Some(Next::Event(_))), "its snapshot");
        let Some(Next::Gone(number)) = slow.step() else {
            panic!("an end")
        };
        assert_eq!(number, feed.newest());
        assert!(matches!(slow.step(), Some(Next::Over)));
        let after = Watch::begin(&feed, of_run(true), Some(feed.newest()));
        assert!(after.has_been_given_whole() && !after.is_going_on());
    }

    #[test]
    fn a_watch_that_is_too_slow_for_the_changes_is_ended_and_begins_anew_with_what_it_missed() {
        let feed = feed();
        let mut slow = Watch::begin(&feed, Selection::All, None);
        let last = there(&mut slow).pop().unwrap().1;
        worker_changes(&feed, CHANGES_MAX + 1);
        assert!(matches!(slow.step(), Some(Next::Missed)));
        let mut again = Watch::begin(&feed, Selection::All, Some(last));
        let Some(Next::Event(event)) = again.step() else {
            panic!("a state")
        };
        assert!(matches!(event.event, Some(Kind::Present(of)) if of.missed));
    }

    #[tokio::test]
    async fn a_feed_that_is_closed_gives_what_there_is_and_takes_nothing_more() {
        let feed = feed();
        let mut watch = Watch::begin(&feed, Selection::All, Some(feed.newest()));
        let waiting = tokio::spawn(async move {
            let events = [watch.next().await, watch.next().await];
            (events, watch.next().await)
        });
        yield_now().await;
        worker_changes(&feed, 1);
        feed.run_ended(ID, run(v1::RunState::Ended));
        feed.close();
        worker_changes(&feed, 1);
        let (events, last) = waiting.await.unwrap();
        assert!(events.iter().all(|event| matches!(event, Next::Event(_))));
        assert!(matches!(last, Next::Closed), "{last:?}");
    }

    #[test]
    fn a_process_that_takes_over_has_higher_numbers_and_what_came_before_was_missed() {
        let (old, new) = (feed(), Arc::<Feed>::default());
        new.go_on_above(old.newest());
        assert!(new.newest() > old.newest());
        for after in [old.newest(), 0, u64::MAX] {
            let mut watch = Watch::begin(&new, Selection::All, Some(after));
            assert_eq!(there(&mut watch), [("present", new.newest())], "{after}");
        }
    }
}
