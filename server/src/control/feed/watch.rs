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
