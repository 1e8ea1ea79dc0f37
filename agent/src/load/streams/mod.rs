//! The order in which the clients of a pacing thread write. Pure: no clock, no socket; times are ns
//! of CLOCK_MONOTONIC.
//!
//! A *stream* is one schedule that several clients follow, each a fixed offset later, or that one
//! client has alone. Its work is a sequence of *ticks*, one for all packets that
//! are due together: in a tick each client has its *turns*, one for each write, in the order of the
//! offsets. No offset within a stream reaches the next tick, so nothing has to be sorted or
//! searched, and there is no timer per client.
//!
//! ```text
//!  tick 0          tick 1          tick 2
//!  |c0|c1|c2|......|c0|c1|c2|......|c0|c1|c2|......   staggered: one sleep a tick
//!  |c0...|c1...|c2.|c0...|c1...|c2.|c0...|c1...|c2.   spread: a sleep per packet
//! ```
//!
//! Most loads are one stream. Where there are several, because clients draw their gaps, a rate gets
//! so high that a tick begins before the last client had its turn, or a thread has clients of
//! several groups, the stream whose turn is due first is next. That is a step in a heap for each
//! turn: so clients that draw no gaps are in as few streams as their offsets allow.
//!
//! A thread that was held up goes on with the newest tick of the stream that is due
//! ([`Streams::next`]). In it each client also writes the packets of the ticks that were left out.
//! No packet is ever written early.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, binary_heap::PeekMut},
    sync::Arc,
};

use metronome_proto::{
    load::Load,
    schedule::{Cursor, Schedule},
};

/// A client of a thread.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    /// Its index among the clients of the thread, from 0.
    pub index_in_thread: usize,
    /// When it is due if its offset is 0: of all members the same but for what is drawn.
    pub schedule: Arc<Schedule>,
    /// How much later than its schedule it is due, ns.
    pub offset_ns: u64,
}

/// One write of one client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Turn {
    /// Its index among the clients of the thread, from 0.
    pub index_in_thread: usize,
    /// When it is due, ns.
    pub due_ns: u64,
    /// How many packets of the client are due once its turn has come.
    pub packets: u64,
}

/// The schedule of each client in a run that starts at `start_ns`, without its offset: one for all
/// where it is a formula, for random arrivals each client's own. `None` in a flood.
pub(crate) fn schedules(load: &Load, start_ns: u64) -> impl Fn(u32) -> Option<Arc<Schedule>> {
    let load = *load;
    let first = load.schedule(start_ns, 0);
    let shared = first
        .filter(|schedule| schedule.packets().is_some())
        .map(Arc::new);
    move |client| {
        let own = || load.schedule(start_ns, client).map(Arc::new);
        shared.clone().or_else(own)
    }
}

/// All streams of a pacing thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct Streams {
    streams: Vec<Stream>,
    /// Those that are not over, by when they are due. Empty where there is but one.
    queue: BinaryHeap<Reverse<(u64, usize)>>,
}

impl Streams {
    /// Adds streams for `members`, which have the same load. `gap_ns` is the shortest time from one
    /// due time of a client to its next; 0 where each has a schedule of its own.
    pub(crate) fn add(&mut self, gap_ns: u64, mut members: Vec<Member>) {
        members.sort_unstable_by_key(|member| (member.offset_ns, member.index_in_thread));
        let mut left = members.as_slice();
        while let [first, ..] = left {
            let end_ns = first.offset_ns.saturating_add(gap_ns);
            let of_stream = left.partition_point(|member| member.offset_ns < end_ns);
            let (members, next) = left.split_at(of_stream.max(1));
            left = next;
            self.streams
                .push(Stream::new(Arc::clone(&first.schedule), gap_ns, members));
        }
        if self.streams.len() > 1 {
            let due = self.streams.iter().map(Stream::due_ns).enumerate();
            self.queue = due
                .filter_map(|(index, due_ns)| Some(Reverse((due_ns?, index))))
                .collect();
        }
    }

    /// The turn to serve at `now_ns`, when all before it are served. `None` after the last.
    #[inline]
    pub(crate) fn next(&mut self, now_ns: u64) -> Option<Turn> {
        match self.streams.as_mut_slice() {
            [one] => one.next(now_ns),
            _ => self.next_of_several(now_ns),
        }
    }

    fn next_of_several(&mut self, now_ns: u64) -> Option<Turn> {
        loop {
            let mut first = self.queue.peek_mut()?;
            let Reverse((_, index)) = *first;
            let stream = &mut self.streams[index];
            let turn = stream.next(now_ns);
            match stream.due_ns() {
                Some(due_ns) => *first = Reverse((due_ns, index)),
                None => {
                    PeekMut::pop(first);
                }
            }
            if turn.is_some() {
                return turn;
            }
        }
    }
}

/// One schedule and the clients that follow it.
#[derive(Clone, Debug)]
struct Stream {
    schedule: Arc<Schedule>,
    /// At the first packet of the next tick.
    cursor: Cursor,
    /// The shortest time between two ticks.
    gap_ns: u64,
    /// Indices of its clients in the thread, and how much later than the schedule each is due, ns.
    members: Vec<(usize, u64)>,
    tick: Tick,
    /// Whose turn it was last, and how many of its packets were due then.
    member: usize,
    packets: u64,
}

/// The packets that are due together, of every client at its offset after `due_ns`.
#[derive(Clone, Copy, Debug)]
struct Tick {
    due_ns: u64,
    /// Packets of a client before this tick, and with it.
    begin: u64,
    end: u64,
}

impl Stream {
    fn new(schedule: Arc<Schedule>, gap_ns: u64, members: &[Member]) -> Self {
        let members = members.iter().map(|of| (of.index_in_thread, of.offset_ns));
        let members: Vec<_> = members.collect();
        Self {
            cursor: schedule.first(),
            schedule,
            gap_ns,
            // Behind the last turn of a tick without packets.
            tick: Tick {
                due_ns: 0,
                begin: 0,
                end: 0,
            },
            member: members.len() - 1,
            packets: 0,
            members,
        }
    }

    /// When its next turn is due, if the thread is not held up. `None` after the last one.
    #[inline]
    fn due_ns(&self) -> Option<u64> {
        let is_next_client = self.packets == self.tick.end;
        match self.members.get(self.member + usize::from(is_next_client)) {
            Some((_, offset_ns)) => Some(self.tick.due_ns.saturating_add(*offset_ns)),
            None if self.cursor.is_over(&self.schedule) => None,
            None => Some(self.cursor.due_ns().saturating_add(self.first_offset_ns())),
        }
    }

    /// The turn to serve at `now_ns`: of the tick that was begun, else of the newest tick that is
    /// due, or of the next one when that is not due yet. `None` after the last.
    #[inline]
    fn next(&mut self, now_ns: u64) -> Option<Turn> {
        if self.packets == self.tick.end {
            self.member += 1;
            if self.member == self.members.len() {
                self.member -= 1;
                self.tick = self.next_tick(now_ns)?;
                self.member = 0;
            }
            self.packets = self.tick.begin;
        }
        let packets = self.packets + u64::from(self.schedule.batch());
        self.packets = packets.min(self.tick.end);
        let (index_in_thread, offset_ns) = self.members[self.member];
        Some(Turn {
            index_in_thread,
            due_ns: self.tick.due_ns.saturating_add(offset_ns),
            packets: self.packets,
        })
    }

    #[inline]
    fn first_offset_ns(&self) -> u64 {
        self.members.first().map_or(0, |(_, offset_ns)| *offset_ns)
    }

    #[inline]
    fn next_tick(&mut self, now_ns: u64) -> Option<Tick> {
        // By the clock of the schedule.
        let now_ns = now_ns.saturating_sub(self.first_offset_ns());
        if now_ns >= self.cursor.due_ns().saturating_add(self.gap_ns) {
            self.leave_out(now_ns);
        }
        if self.cursor.is_over(&self.schedule) {
            return None;
        }
        let (begin, due_ns) = (self.cursor.place(), self.cursor.due_ns());
        let together = self.schedule.due_together();
        if together > self.schedule.batch() {
            // A burst of several writes.
            self.cursor = self.schedule.resume(begin + u64::from(together), 0);
        } else {
            self.cursor.advance_write(&self.schedule);
        }
        let packets = self.schedule.packets().unwrap_or(u64::MAX);
        let end = self.cursor.place().min(packets);
        Some(Tick { due_ns, begin, end })
    }

    /// Goes on to the newest tick that is due at `now_ns`.
    #[cold]
    fn leave_out(&mut self, now_ns: u64) {
        let Some(due) = self.schedule.due_by(now_ns) else {
            return self.walk(now_ns);
        };
        let last_due = due.saturating_sub(1);
        let first_of_tick = last_due - last_due % u64::from(self.schedule.due_together());
        if first_of_tick > self.cursor.place() {
            self.cursor = self.schedule.resume(first_of_tick, 0);
        }
    }

    /// The same where no formula leads to a tick.
    fn walk(&mut self, now_ns: u64) {
        let mut next = self.cursor;
        while next.due_ns() <= now_ns && !next.is_over(&self.schedule) {
            self.cursor = next;
            next.advance(&self.schedule);
        }
    }
}

#[cfg(test)]
mod tests;
