//! The thread that reads the replies of a run: one for all clients whose packets ask for some,
//! beside the pacing threads, from before the first packet until every end was exchanged.
//!
//! It waits in epoll without a time limit, takes what has come of one connection with one receive,
//! then reads the clock: every reply of that receive was read at that time. So the wait for this
//! thread is part of a round trip; it has real-time priority where that leaves the pacing threads
//! theirs. While it reads a connection no other thread does: what else comes there, the last frame,
//! the end of the stream or an error, is handed on as a [`StreamEnd`], and nothing more is read. A
//! peer that sends what no packet asked for is left to fill its own buffers.
//!
//! Absent on purpose: a lock, a time limit, an order to stop that cuts replies off. The end of the
//! load is the end of the pacing threads; this one ends when the ends were exchanged.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{
        Arc,
        mpsc::{Receiver, Sender, TryIter, channel},
    },
    thread::{self, JoinHandle},
};

use metronome_os::{
    clock,
    realtime::{self, CpuBudget, Realtime},
    wake::Waker,
};
use metronome_proto::{handshake::Refused, packet::Frame};
use rustix::{buffer::spare_capacity, event::epoll, io::Errno};

use super::{
    live_replies::LiveReplies,
    outcome::ClientReplies,
    small_histogram::BlockPool,
    stream::{Asks, ReplyStream},
    times::ClientTimes,
};
use crate::net::connection::Incoming;

/// Most bytes that one receive takes: half of what the kernel holds.
const RECEIVE_BYTES: usize = 64 * 1024;
/// Most connections that are read between two waits.
const EVENTS_PER_WAIT: usize = 256;
/// What is ready is not a connection, but the order to end.
const END: u64 = u64::MAX;

/// A connection whose packets ask for replies.
#[derive(Debug)]
pub(crate) struct Source {
    /// Position of the client's group among those of the [`LiveReplies`].
    pub group: usize,
    pub incoming: Incoming,
    pub asks: Asks,
}

/// How the replies of a connection ended.
#[derive(Debug)]
pub(crate) enum StreamEnd {
    /// With a frame that is none: an end-ack, a refusal, or what has no meaning there.
    Frame(Frame),
    /// The peer has closed its side.
    Closed,
    /// The connection broke.
    Broken(io::Error),
}

/// The connections of a reader that has not begun.
pub(crate) struct ReplyLines {
    work: Work,
    end: Arc<Waker>,
    ends: Receiver<(u32, StreamEnd)>,
}

/// A reader at work.
#[derive(Debug)]
pub(crate) struct ReplyReader {
    /// `None` once it was waited for.
    thread: Option<JoinHandle<io::Result<ReaderOutcome>>>,
    end: Arc<Waker>,
    ends: Receiver<(u32, StreamEnd)>,
    has_ends: Arc<Waker>,
}

/// What the reader brings back.
#[derive(Debug)]
pub(crate) struct ReaderOutcome {
    /// The replies of each client, with its index.
    pub clients: Vec<(u32, ClientReplies)>,
    /// CPU time of its thread, ns.
    pub cpu_ns: u64,
}

impl ReplyLines {
    /// Gathers the connections: what takes time, so that the start of the run need not wait for it.
    ///
    /// # Errors
    /// Whatever the kernel reports when it has no descriptor or memory left.
    pub(crate) fn new(sources: Vec<Source>, live: Arc<LiveReplies>) -> io::Result<Self> {
        let [end, has_ends] = [Arc::new(Waker::new()?), Arc::new(Waker::new()?)];
        let (sender, ends) = channel();
        let readiness = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let data = epoll::EventData::new_u64(END);
        epoll::add(&readiness, &*end, data, epoll::EventFlags::IN)?;
        for (number, source) in sources.iter().enumerate() {
            let data = epoll::EventData::new_u64(number as u64);
            epoll::add(&readiness, &source.incoming, data, epoll::EventFlags::IN)?;
        }
        let work = Work {
            readiness,
            pool: BlockPool::new(sources.len()),
            lines: sources.into_iter().map(Line::new).collect(),
            buffer: vec![0; RECEIVE_BYTES].into_boxed_slice(),
            live,
            ends: sender,
            has_ends,
        };
        Ok(Self { work, end, ends })
    }

    /// Reads from now on the replies of a run that starts at `start_ns` and has its warm-up until
    /// `measured_from_ns`. `high_priority`: by a real-time thread, where one is granted.
    ///
    /// # Errors
    /// The kernel has no thread left.
    pub(crate) fn start(
        mut self,
        start_ns: u64,
        measured_from_ns: u64,
        high_priority: bool,
    ) -> io::Result<ReplyReader> {
        for line in &mut self.work.lines {
            line.stream.set_start(start_ns, measured_from_ns);
        }
        let (has_ends, work) = (self.work.has_ends.clone(), self.work);
        let cores = realtime::cores();
        let thread = thread::Builder::new()
            .name("replies".into())
            .spawn(move || work.run(high_priority.then(|| CpuBudget::replies(cores))))?;
        Ok(ReplyReader {
            thread: Some(thread),
            end: self.end,
            ends: self.ends,
            has_ends,
        })
    }
}

impl ReplyReader {
    /// Readable when a connection has ended since [`ReplyReader::ended`] was asked.
    pub(crate) fn has_ends(&self) -> &Waker {
        &self.has_ends
    }

    /// The connections that have ended since this was asked last, by the index of the client.
    pub(crate) fn ended(&self) -> TryIter<'_, (u32, StreamEnd)> {
        self.has_ends.drain();
        self.ends.try_iter()
    }

    /// Reads what has come by now, ends the thread and returns what it has read. `None` when it
    /// panicked.
    ///
    /// # Errors
    /// The kernel let it not wait for replies.
    pub(crate) fn finish(mut self) -> Option<io::Result<ReaderOutcome>> {
        self.join()
    }

    fn join(&mut self) -> Option<io::Result<ReaderOutcome>> {
        let thread = self.thread.take()?;
        // An eventfd of our own always takes it.
        let _ = self.end.wake();
        thread.join().ok()
    }
}

impl Drop for ReplyReader {
    /// A run that fails leaves no thread behind.
    fn drop(&mut self) {
        self.join();
    }
}

/// One connection as the reader has it.
#[derive(Debug)]
struct Line {
    incoming: Incoming,
    client: u32,
    stream: ReplyStream,
    times: ClientTimes,
    refused: Option<Refused>,
    is_over: bool,
}

impl Line {
    fn new(source: Source) -> Self {
        Self {
            incoming: source.incoming,
            client: source.asks.client,
            stream: ReplyStream::new(source.asks),
            times: ClientTimes::new(source.group),
            refused: None,
            is_over: false,
        }
    }

    /// Takes what one receive gives. Returns how the connection ended, if it has.
    #[inline]
    fn read(
        &mut self,
        buffer: &mut [u8],
        pool: &mut BlockPool,
        live: &LiveReplies,
    ) -> Option<StreamEnd> {
        let taken = match self.incoming.receive(buffer) {
            Ok(None) => return None,
            Ok(Some(0)) => return Some(StreamEnd::Closed),
            Ok(Some(taken)) => taken,
            Err(error) => return Some(StreamEnd::Broken(error)),
        };
        let read_ns = clock::now_ns();
        let (stream, times) = (&mut self.stream, &mut self.times);
        let (read, unexpected) = (stream.read(), stream.unexpected());
        let last = stream.take(&buffer[..taken], read_ns, |round_trip| {
            times.record(round_trip, pool, live);
        });
        live.count(stream.read() - read, stream.unexpected() - unexpected);
        last.map(StreamEnd::Frame)
    }

    fn replies(&self, pool: &BlockPool) -> ClientReplies {
        ClientReplies {
            refused: self.refused,
            ..self.times.replies(&self.stream, pool)
        }
    }
}

/// What the thread has.
struct Work {
    readiness: OwnedFd,
    lines: Vec<Line>,
    pool: BlockPool,
    buffer: Box<[u8]>,
    live: Arc<LiveReplies>,
    ends: Sender<(u32, StreamEnd)>,
    has_ends: Arc<Waker>,
}

impl Work {
    fn run(mut self, budget: Option<CpuBudget>) -> io::Result<ReaderOutcome> {
        let mut realtime = budget.map_or_else(Realtime::none, Realtime::take);
        let cpu_before_ns = clock::thread_cpu_ns();
        let mut events = Vec::with_capacity(EVENTS_PER_WAIT);
        let mut is_ending = false;
        while !is_ending {
            events.clear();
            match epoll::wait(&self.readiness, spare_capacity(&mut events), None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                match event.data.u64() {
                    END => is_ending = true,
                    number => self.read(number as usize),
                }
            }
            realtime.review(clock::now_ns());
        }
        // What has come by now is all that this run measures.
        (0..self.lines.len()).for_each(|number| self.read(number));
        let of_client = |line: &Line| (line.client, line.replies(&self.pool));
        Ok(ReaderOutcome {
            clients: self.lines.iter().map(of_client).collect(),
            cpu_ns: clock::thread_cpu_ns() - cpu_before_ns,
        })
    }

    fn read(&mut self, number: usize) {
        let Some(line) = self.lines.get_mut(number).filter(|line| !line.is_over) else {
            return;
        };
        let Some(end) = line.read(&mut self.buffer, &mut self.pool, &self.live) else {
            return;
        };
        line.is_over = true;
        if let StreamEnd::Frame(frame) = &end {
            line.refused = Refused::decode(frame);
        }
        // It was added, so it can be deleted; and the receiver lives as long as this thread.
        let _ = epoll::delete(&self.readiness, &line.incoming);
        let _ = self.ends.send((line.client, end));
        let _ = self.has_ends.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write as _,
        net::{TcpListener, TcpStream},
        num::NonZeroU32,
    };

    use metronome_proto::{
        handshake::Refusal,
        packet::{FRAME_BYTES, Reply},
    };

    use super::*;
    use crate::{net::connection::Connection, stop_signal::StopSignal};

    /// Connections of one group, and their peers.
    struct Lines {
        connections: Vec<Connection>,
        peers: Vec<TcpStream>,
        live: Arc<LiveReplies>,
    }

    impl Lines {
        fn open(clients: u32) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let deadline_ns = clock::now_ns() + 10 * clock::SECOND_NS;
            let pair = |_| {
                let stop_signal = StopSignal::without_lease();
                let connection = Connection::open(address, deadline_ns, &stop_signal).unwrap();
                (connection, listener.accept().unwrap().0)
            };
            let (connections, peers) = (0..clients).map(pair).unzip();
            Self {
                connections,
                peers,
                live: Arc::new(LiveReplies::new(["a"])),
            }
        }

        fn read(&self) -> ReplyReader {
            let source = |(connection, client): (&Connection, u32)| Source {
                group: 0,
                incoming: connection.incoming(),
                asks: Asks {
                    client,
                    echo_every: NonZeroU32::MIN,
                },
            };
            let sources = self.connections.iter().zip(0..).map(source).collect();
            let lines = ReplyLines::new(sources, self.live.clone()).unwrap();
            lines.start(0, 0, true).unwrap()
        }

        /// Waits until so many replies of all were read and were unexpected.
        fn await_counts(&self, counts: (u64, u64)) {
            while self.live.counts() != counts {
                thread::yield_now();
            }
        }
    }

    fn reply(client: u32, sequence: u64) -> Frame {
        let reply = Reply {
            client,
            sequence,
            due_ns: sequence,
            lateness_ns: 0,
        };
        reply.encode()
    }

    /// The next connection that has ended.
    fn next_end(reader: &ReplyReader) -> (u32, StreamEnd) {
        loop {
            if let Some(end) = reader.ended().next() {
                return end;
            }
            thread::yield_now();
        }
    }

    fn outcome(reader: ReplyReader) -> ReaderOutcome {
        reader.finish().unwrap().unwrap()
    }

    #[test]
    fn what_has_come_when_it_is_to_end_is_read() {
        let mut lines = Lines::open(3);
        let reader = lines.read();
        for (peer, client) in lines.peers.iter_mut().zip(0..) {
            for sequence in 0..100 {
                peer.write_all(&reply(client, sequence)).unwrap();
            }
        }
        let outcome = outcome(reader);
        for ((client, replies), expected) in outcome.clients.iter().zip(0..) {
            assert_eq!((*client, replies.read), (expected, 100));
            assert_eq!((replies.round_trips, replies.answered_below), (100, 100));
        }
        assert_eq!(lines.live.counts(), (300, 0));
        assert!(outcome.cpu_ns > 0);
    }

    #[test]
    fn every_end_of_a_connection_is_handed_on_once_and_the_others_are_read_on() {
        let mut lines = Lines::open(4);
        let reader = lines.read();
        lines.peers[0].write_all(&reply(0, 0)).unwrap();
        lines.peers[0].write_all(&Refusal::Ended.encode()).unwrap();
        let (client, end) = next_end(&reader);
        assert!(matches!(end, StreamEnd::Frame(frame) if frame == Refusal::Ended.encode()));
        assert_eq!(client, 0);
        lines.peers[1].shutdown(std::net::Shutdown::Write).unwrap();
        assert!(matches!(next_end(&reader), (1, StreamEnd::Closed)));
        // Closing with a byte unread resets the connection.
        lines.connections[2].send(&[1]).unwrap();
        lines.peers[2].peek(&mut [0]).unwrap();
        let last = lines.peers.pop().unwrap();
        drop(lines.peers.pop());
        assert!(matches!(next_end(&reader), (2, StreamEnd::Broken(_))));
        (&last).write_all(&reply(3, 0)).unwrap();
        lines.await_counts((2, 0));
        assert!(reader.ended().next().is_none());
        let outcome = outcome(reader);
        let refused = outcome.clients.iter().map(|(_, of)| of.refused.is_some());
        assert_eq!(refused.collect::<Vec<_>>(), [true, false, false, false]);
    }

    #[test]
    fn a_peer_without_end_is_left_to_fill_its_own_buffers() {
        for frame in [[7; FRAME_BYTES], reply(0, 0)] {
            let mut lines = Lines::open(2);
            let reader = lines.read();
            let (endless, other) = lines.peers.split_at_mut(1);
            endless[0].set_nonblocking(true).unwrap();
            let many = [frame; 1_000];
            // Until the kernel of the agent's side takes no more.
            let mut is_full = false;
            while !is_full || reader.ended().next().is_none() {
                let written = endless[0].write(many.as_flattened());
                is_full |= written.is_err();
            }
            other[0].write_all(&reply(1, 0)).unwrap();
            while lines.live.counts().0 < 1 + u64::from(frame == reply(0, 0)) {
                thread::yield_now();
            }
            let cpu_ns = outcome(reader).cpu_ns;
            assert!(cpu_ns < clock::SECOND_NS, "{cpu_ns}");
        }
    }

    #[test]
    fn a_reader_that_is_not_waited_for_ends_with_its_run() {
        let lines = Lines::open(1);
        let incoming = lines.connections[0].incoming();
        drop(lines.read());
        drop(lines.connections);
        // The thread is gone, and with it what it had of the connection.
        assert!(incoming.is_the_last());
    }
}
