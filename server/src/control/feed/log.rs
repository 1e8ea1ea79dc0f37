//! The events of a feed in their order: their numbers, which of them are kept, and the present
//! state that they add up to. Pure.
//!
//! Three kinds are kept in three ways. The newest *value* of each subject (a run, its snapshot, an
//! agent, a worker) is its present state, until it is gone. Of *changes* the last ones are kept, in
//! a ring that is bounded in count and in bytes. A snapshot is no change: only the newest one of a
//! run is there. So a watcher that comes back finds every change since its number, or
//! learns that some are not kept any more; and what it finds has no more bytes than these bounds,
//! however long it was away.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use metronome_proto::run_id::RunId;

/// Changes that are kept, at most.
pub(super) const CHANGES_MAX: usize = 4_096;

/// Their bytes, at most; the newest one is kept however long it is.
pub(super) const BYTES_MAX: usize = 8 << 20;

/// What a change takes beside the bytes of its message.
const BYTES_OF_EACH: usize = 256;

/// What an event is about, in the order of a present state.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Subject {
    Run(RunId),
    /// How a run stands.
    Snapshot(RunId),
    Agent(String),
    Worker(u32),
}

/// What an event does to the present state.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Effect {
    /// It replaces the value of its subject, and is not kept itself.
    Passes,
    /// It is a change, and the new value of its subject.
    Sets,
    /// It is a change, and no value.
    Happens,
    /// It is a change, and its subject is gone; with a run its snapshot.
    Ends,
}

/// An event with its number.
#[derive(Debug)]
pub(super) struct Numbered<T> {
    pub(super) number: u64,
    pub(super) event: Arc<T>,
}

impl<T> Clone for Numbered<T> {
    fn clone(&self) -> Self {
        Self {
            number: self.number,
            event: Arc::clone(&self.event),
        }
    }
}

/// What comes after a number.
#[derive(Debug)]
pub(super) enum After<T> {
    Event(Numbered<T>),
    /// Nothing yet.
    Nothing,
    /// Changes after it are not kept any more, or it is none of this feed.
    Missed,
}

/// The log of a feed.
#[derive(Debug)]
pub(super) struct Log<T> {
    /// Number of the newest event, or where the numbers begin.
    newest: u64,
    /// Number of the newest change that is not kept.
    dropped: u64,
    changes: VecDeque<(Numbered<T>, usize)>,
    /// The bytes of all changes that are kept.
    bytes: usize,
    present: BTreeMap<Subject, Numbered<T>>,
}

impl<T> Log<T> {
    /// A log whose numbers are above `start`.
    pub(super) fn new(start: u64) -> Self {
        Self {
            newest: start,
            dropped: start,
            changes: VecDeque::new(),
            bytes: 0,
            present: BTreeMap::new(),
        }
    }

    /// Goes on above `number`, where that is higher. A watcher with a lower one has missed
    /// something.
    pub(super) fn skip_to(&mut self, number: u64) {
        self.newest = self.newest.max(number);
        self.dropped = self.newest;
        self.changes.clear();
        self.bytes = 0;
    }

    /// Adds an event, which gets the next number.
    pub(super) fn publish(&mut self, subject: Subject, effect: Effect, bytes: usize, event: T) {
        self.newest = self.newest.saturating_add(1);
        let numbered = Numbered {
            number: self.newest,
            event: Arc::new(event),
        };
        match effect {
            Effect::Passes | Effect::Sets => {
                self.present.insert(subject, numbered.clone());
            }
            Effect::Happens => {}
            Effect::Ends => {
                self.present.remove(&subject);
                if let Subject::Run(id) = subject {
                    self.present.remove(&Subject::Snapshot(id));
                }
            }
        }
        if effect != Effect::Passes {
            self.keep(numbered, bytes.saturating_add(BYTES_OF_EACH));
        }
    }

    fn keep(&mut self, change: Numbered<T>, bytes: usize) {
        self.changes.push_back((change, bytes));
        self.bytes = self.bytes.saturating_add(bytes);
        while self.changes.len() > 1
            && (self.changes.len() > CHANGES_MAX || self.bytes > BYTES_MAX)
            && let Some((oldest, bytes)) = self.changes.pop_front()
        {
            self.dropped = oldest.number;
            self.bytes = self.bytes.saturating_sub(bytes);
        }
    }

    /// Number of the newest event.
    pub(super) fn newest(&self) -> u64 {
        self.newest
    }

    /// Whether every change after `number` is kept.
    pub(super) fn is_whole_after(&self, number: u64) -> bool {
        (self.dropped..=self.newest).contains(&number)
    }

    /// The first event after `number` that is wanted and still there.
    pub(super) fn after(&self, number: u64, is_wanted: impl Fn(&T) -> bool) -> After<T> {
        if !self.is_whole_after(number) {
            return After::Missed;
        }
        let begin = self
            .changes
            .partition_point(|(change, _)| change.number <= number);
        let mut changes = self.changes.range(begin..).map(|(change, _)| change);
        let change = changes.find(|change| is_wanted(&change.event));
        let snapshots = self.present.iter().filter(|(subject, value)| {
            matches!(subject, Subject::Snapshot(_)) && value.number > number
        });
        let snapshot = snapshots
            .map(|(_, value)| value)
            .filter(|value| is_wanted(&value.event))
            .min_by_key(|value| value.number);
        let first = change.into_iter().chain(snapshot);
        match first.min_by_key(|event| event.number) {
            Some(event) => After::Event(event.clone()),
            None => After::Nothing,
        }
    }

    /// The changes up to `number` that are kept, the oldest first.
    pub(super) fn until(&self, number: u64) -> impl Iterator<Item = &T> {
        let changes = self.changes.iter().map(|(change, _)| change);
        let until = changes.take_while(move |change| change.number <= number);
        until.map(|change| &*change.event)
    }

    /// The present value of a subject.
    pub(super) fn value(&self, subject: &Subject) -> Option<&Numbered<T>> {
        self.present.get(subject)
    }

    /// The present values, by subject.
    pub(super) fn present(&self) -> impl Iterator<Item = (&Subject, &Numbered<T>)> {
        self.present.iter()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// What happens to a log and one who watches.
    #[derive(Clone, Debug)]
    enum Step {
        Publish(u8, u8, usize),
        /// One reads so many events.
        Read(u8),
        /// One breaks off, and comes back with the last number that it has.
        Resume,
        /// Another process takes over.
        Skip(u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        let bytes = prop_oneof![4 => 0..100_usize, 1 => 0..BYTES_MAX];
        prop_oneof![
            6 => (0..16_u8, 0..4_u8, bytes)
                .prop_map(|(of, what, bytes)| Step::Publish(of, what, bytes)),
            3 => (0..9_u8).prop_map(Step::Read),
            1 => Just(Step::Resume),
            1 => any::<u8>().prop_map(Step::Skip),
        ]
    }

    fn subject(of: u8, what: u8) -> (Subject, Effect) {
        let id = RunId::from_bits(u64::from(of % 4));
        match (of / 4, what) {
            (0 | 1, 0) => (Subject::Snapshot(id), Effect::Passes),
            (0 | 1, 1) => (Subject::Run(id), Effect::Sets),
            (0 | 1, 2) => (Subject::Run(id), Effect::Happens),
            (0 | 1, _) => (Subject::Run(id), Effect::Ends),
            (2, 0 | 1) => (Subject::Worker(u32::from(of)), Effect::Sets),
            (2, _) => (Subject::Worker(u32::from(of)), Effect::Ends),
            (_, 0 | 1) => (Subject::Agent(of.to_string()), Effect::Sets),
            (_, _) => (Subject::Agent(of.to_string()), Effect::Ends),
        }
    }

    /// An event of the test: what it does, under a name of its own.
    type Happened = (Subject, Effect, usize);

    /// One who watches: it adds up what it reads.
    #[derive(Default)]
    struct Reader {
        number: u64,
        /// Names of the changes that it has read.
        changes: Vec<usize>,
        state: BTreeMap<Subject, usize>,
    }

    impl Reader {
        fn take(&mut self, event: &Happened) {
            let (subject, effect, name) = event.clone();
            match effect {
                Effect::Passes | Effect::Sets => drop(self.state.insert(subject, name)),
                Effect::Happens => {}
                Effect::Ends => {
                    self.state.remove(&subject);
                    if let Subject::Run(id) = subject {
                        self.state.remove(&Subject::Snapshot(id));
                    }
                }
            }
            if effect != Effect::Passes {
                self.changes.push(name);
            }
        }

        fn begin_anew(&mut self, log: &Log<Happened>) {
            self.number = log.newest();
            let present = log.present();
            self.state = present
                .map(|(subject, value)| (subject.clone(), value.event.2))
                .collect();
        }

        /// Reads one. False when there is none.
        fn read(&mut self, log: &Log<Happened>, missed: &mut bool) -> bool {
            match log.after(self.number, |_| true) {
                After::Event(event) => {
                    assert!(event.number > self.number, "numbers rise");
                    self.number = event.number;
                    self.take(&event.event);
                    true
                }
                After::Nothing => false,
                After::Missed => {
                    *missed = true;
                    self.begin_anew(log);
                    false
                }
            }
        }
    }

    proptest! {
        #[test]
        fn in_whatever_order_one_reads_no_change_is_lost_or_doubled_and_the_state_is_right(
            steps in proptest::collection::vec(step(), 0..120),
        ) {
            let (mut log, mut reader) = (Log::new(7), Reader::default());
            reader.begin_anew(&log);
            // Names of all changes since the reader last began anew.
            let (mut expected, mut name, mut newest) = (Vec::new(), 0, log.newest());
            let mut missed = false;
            for step in steps {
                match step {
                    Step::Publish(of, what, bytes) => {
                        let (subject, effect) = subject(of, what);
                        name += 1;
                        log.publish(subject.clone(), effect, bytes, (subject, effect, name));
                        if effect != Effect::Passes {
                            expected.push(name);
                        }
                    }
                    Step::Read(events) => {
                        for _ in 0..events {
                            if !reader.read(&log, &mut missed) {
                                break;
                            }
                        }
                    }
                    Step::Resume => {
                        let mut again = Reader { number: reader.number, ..Reader::default() };
                        std::mem::swap(&mut again.changes, &mut reader.changes);
                        std::mem::swap(&mut again.state, &mut reader.state);
                        reader = again;
                    }
                    Step::Skip(by) => log.skip_to(log.newest() + u64::from(by)),
                }
                if std::mem::take(&mut missed) {
                    expected.clear();
                    reader.changes.clear();
                }
                prop_assert!(log.newest() >= newest);
                newest = log.newest();
                prop_assert!(log.changes.len() <= CHANGES_MAX);
                prop_assert!(log.bytes <= BYTES_MAX.max(BYTES_OF_EACH) || log.changes.len() == 1);
                prop_assert!(expected.starts_with(&reader.changes));
            }
            while reader.read(&log, &mut missed) {}
            if missed {
                expected.clear();
                reader.changes.clear();
            }
            prop_assert_eq!(&reader.changes, &expected);
            let present = log.present().map(|(subject, value)| (subject.clone(), value.event.2));
            prop_assert_eq!(reader.state, present.collect::<BTreeMap<_, _>>());
        }
    }

    fn change(log: &mut Log<u32>, event: u32, bytes: usize) {
        log.publish(Subject::Worker(0), Effect::Sets, bytes, event);
    }

    #[test]
    fn a_ring_that_is_full_drops_the_oldest_changes_and_says_so_to_who_has_not_read_them() {
        let mut log = Log::new(0);
        (0..CHANGES_MAX as u32 + 3).for_each(|event| change(&mut log, event, 0));
        assert_eq!(log.changes.len(), CHANGES_MAX);
        assert!(matches!(log.after(2, |_| true), After::Missed));
        let After::Event(next) = log.after(3, |_| true) else {
            panic!("it has read those that are gone");
        };
        assert_eq!((next.number, *next.event), (4, 3));
    }

    #[test]
    fn one_change_that_is_larger_than_the_ring_is_kept_alone() {
        let mut log = Log::new(0);
        change(&mut log, 1, 10);
        change(&mut log, 2, BYTES_MAX * 2);
        assert_eq!(log.changes.len(), 1);
        assert!(log.is_whole_after(1) && !log.is_whole_after(0));
        change(&mut log, 3, 10);
        assert_eq!((log.changes.len(), log.bytes), (1, 10 + BYTES_OF_EACH));
    }

    #[test]
    fn of_the_snapshots_only_the_newest_of_each_run_is_there() {
        let mut log = Log::new(0);
        let [one, other] = [1, 2].map(|bits| Subject::Snapshot(RunId::from_bits(bits)));
        for (event, of) in [(1, &one), (2, &other), (3, &one), (4, &one)] {
            log.publish(of.clone(), Effect::Passes, 0, event);
        }
        let mut number = 0;
        let mut read = Vec::new();
        while let After::Event(next) = log.after(number, |_| true) {
            number = next.number;
            read.push(*next.event);
        }
        assert_eq!(read, [2, 4]);
        assert!(log.changes.is_empty());
    }

    #[test]
    fn a_number_of_another_feed_is_one_that_has_missed_something() {
        let log = Log::<u32>::new(10);
        let missed = [9, 10, 11].map(|number| !log.is_whole_after(number));
        assert_eq!(missed, [true, false, true]);
    }

    #[test]
    fn what_is_not_wanted_is_passed_over() {
        let mut log = Log::new(0);
        (1..9).for_each(|event| change(&mut log, event, 0));
        let After::Event(next) = log.after(0, |event| *event == 7) else {
            panic!("there is one");
        };
        assert_eq!(next.number, 7);
        assert!(matches!(log.after(7, |event| *event == 7), After::Nothing));
        let numbers: BTreeSet<_> = log.changes.iter().map(|(of, _)| of.number).collect();
        assert_eq!(numbers.len(), 8);
    }
}
