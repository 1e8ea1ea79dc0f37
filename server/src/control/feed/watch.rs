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
            Some(after) => {
                watch.number = after;
                // What it had before it broke off, as far as that is kept.
                log.until(after)
                    .for_each(|event| watch.selection.pass(event));
            }
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
                self.selection.pass(&event);
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
        for (_, first) in &values {
            if let First::Value(event) = first {
                self.selection.pass(event);
            }
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
    use std::collections::{BTreeMap, BTreeSet};

    use metronome_proto::{run_id::RunId, v1};
    use proptest::prelude::*;
    use tokio::task::yield_now;

    use super::{
        super::{log::CHANGES_MAX, selection::Matching},
        *,
    };

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

    fn matching(filter: &str, followed: &[RunId]) -> Selection {
        let followed = followed.iter().copied().collect();
        Selection::Matching(Matching::new(filter.parse().unwrap(), followed))
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
        assert_eq!(begun(matching("state = running", &[])), of_runs);
        let ended = matching("state = ended", &[]);
        assert_eq!(begun(ended), [("present", newest)]);
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

    #[test]
    fn a_run_that_was_followed_in_a_process_before_is_followed_to_its_end_in_this_one() {
        let new = feed();
        for (filter, followed, kinds) in [
            ("state = starting", &[][..], &["present"][..]),
            (
                "state = starting",
                &[ID],
                &["present", "run_changed", "snapshot"],
            ),
        ] {
            let mut watch = Watch::begin(&new, matching(filter, followed), Some(1));
            let given = there(&mut watch);
            let given: Vec<_> = given.iter().map(|(kind, _)| *kind).collect();
            assert_eq!(given, kinds);
        }
        let mut watch = Watch::begin(&new, matching("state = starting", &[ID]), Some(1));
        there(&mut watch);
        new.run_ended(ID, run(v1::RunState::Ended));
        let end = there(&mut watch);
        assert!(matches!(end[..], [("run_ended", _)]), "{end:?}");
    }

    /// What happens to runs and to one who watches those of a filter.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Change(usize, v1::RunState),
        Snapshot(usize),
        End(usize),
        Read(usize),
        /// One breaks off and comes back after the last number that it has.
        Resume,
    }

    fn step() -> impl Strategy<Value = Step> {
        const STATES: &[v1::RunState] = &[
            v1::RunState::Preparing,
            v1::RunState::Running,
            v1::RunState::Draining,
        ];
        let changed = (0..3_usize, proptest::sample::select(STATES));
        prop_oneof![
            4 => changed.prop_map(|(of, state)| Step::Change(of, state)),
            2 => (0..3_usize).prop_map(Step::Snapshot),
            2 => (0..3_usize).prop_map(Step::End),
            3 => (0..4_usize).prop_map(Step::Read),
            1 => Just(Step::Resume),
        ]
    }

    /// Reads at most so many events: the number of the last one, and the names of the changes.
    fn read(watch: &mut Watch, events: usize, number: &mut u64, names: &mut Vec<String>) {
        for _ in 0..events {
            let Some(Next::Event(event)) = watch.step() else {
                return;
            };
            *number = event.number.max(*number);
            if let Some(Kind::RunChanged(run) | Kind::RunEnded(run)) = event.event {
                names.push(run.request_id);
            }
        }
    }

    proptest! {
        #[test]
        fn a_run_that_has_matched_once_is_followed_to_its_end_however_often_the_watch_breaks_off(
            steps in proptest::collection::vec(step(), 0..80),
        ) {
            let feed = Arc::<Feed>::default();
            let begin = |after| Watch::begin(&feed, matching("state = running", &[]), after);
            let (mut watch, mut number, mut names) = (begin(None), 0, Vec::new());
            read(&mut watch, 1, &mut number, &mut names);
            // The runs that go on, by their place, and those of them that have matched.
            let mut lives = BTreeMap::<usize, RunId>::new();
            let (mut matched, mut expected) = (BTreeSet::new(), Vec::new());
            for (name, step) in steps.into_iter().enumerate() {
                let published = |id: RunId, state| v1::Run {
                    run_id: id.to_string(),
                    request_id: name.to_string(),
                    ..run(state)
                };
                match step {
                    Step::Change(of, state) => {
                        let id = *lives.entry(of).or_insert(RunId::from_bits(name as u64));
                        if state == v1::RunState::Running {
                            matched.insert(id);
                        }
                        expected.extend(matched.contains(&id).then(|| name.to_string()));
                        feed.run_changed(id, &published(id, state));
                    }
                    Step::Snapshot(of) => {
                        if let Some(id) = lives.get(&of) {
                            feed.snapshot(*id, v1::Snapshot::default());
                        }
                    }
                    Step::End(of) => {
                        if let Some(id) = lives.remove(&of) {
                            expected.extend(matched.contains(&id).then(|| name.to_string()));
                            feed.run_ended(id, published(id, v1::RunState::Ended));
                        }
                    }
                    Step::Read(events) => read(&mut watch, events, &mut number, &mut names),
                    Step::Resume => watch = begin(Some(number)),
                }
                prop_assert!(expected.starts_with(&names), "{names:?} of {expected:?}");
            }
            read(&mut watch, usize::MAX, &mut number, &mut names);
            prop_assert_eq!(names, expected);
        }
    }
}
