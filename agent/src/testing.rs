//! The door for the micro-benchmarks in benches/: the decisions of a pacing thread, without its
//! clients, its clock and its sleeps, what a client does with its packets, and what is made of the
//! replies to them. Behind the feature `testing`; no executable has it.

use std::{hint::black_box, io, net::TcpListener, num::NonZeroU32, sync::Arc, thread};

use metronome_proto::{
    handshake::{Hello, Key},
    load::Load,
    packet::{Frame, Reply},
    packet_size::PacketSize,
    run_id::RunId,
    schedule::Schedule,
    v1::Phase,
};

use crate::{
    load::{
        client::{Client, Credentials},
        pacing::{NAP_NS_MAX, Pacer, Wait, WaitPolicy},
        packets::Packets,
        phase::{Position, Room, offset_ns},
        replies::{
            live_replies::LiveReplies,
            small_histogram::BlockPool,
            stream::{Asks, ReplyStream},
            times::ClientTimes,
        },
        send_buffer::SendBuffer,
        streams::{Member, Streams, schedules},
    },
    net::connection::Connection,
    payload::{GroupSource, Pattern},
    stop_signal::StopSignal,
};

/// The turns of one pacing thread.
#[derive(Debug)]
pub struct PacingThread {
    streams: Streams,
    pacer: Pacer,
    now_ns: u64,
}

impl PacingThread {
    /// A thread with `clients` staggered clients, at least 1, of this load in a run that starts at
    /// `start_ns`.
    #[must_use]
    pub fn new(clients: u32, load: &Load, start_ns: u64) -> Self {
        let gap_ns = load.shortest_gap_ns();
        let room = Room {
            ns: gap_ns,
            shortest_ns: gap_ns,
            writes: 1,
        };
        let schedule_of = schedules(load, start_ns);
        let position = |client: u32| Position {
            in_thread: client,
            of_thread: clients,
            in_group: client,
            of_group: clients,
            group_begins: 0,
        };
        let member = |client: u32| {
            Some(Member {
                index_in_thread: client as usize,
                schedule: schedule_of(client)?,
                offset_ns: offset_ns(Phase::Staggered, room, position(client)),
            })
        };
        let mut streams = Streams::default();
        streams.add(gap_ns, (0..clients).filter_map(member).collect());
        Self {
            streams,
            pacer: Pacer::new(WaitPolicy::Hybrid),
            now_ns: start_ns,
        }
    }

    /// Serves one turn in time: finds the client and its due time, and that this has come. Returns
    /// how many packets of the client are due by then; `None` after the last turn.
    #[inline]
    pub fn turn(&mut self) -> Option<u64> {
        let turn = self.streams.next(self.now_ns)?;
        // Here the thread reads its clock; the compiler must not see that it reads just this.
        self.now_ns = black_box(turn.due_ns);
        let wait = self.pacer.next(self.now_ns, turn.due_ns, NAP_NS_MAX);
        (wait == Wait::Over).then_some(turn.packets)
    }
}

/// One authenticated client whose peer reads all it gets.
#[derive(Debug)]
pub struct Sender {
    client: Client,
    send_buffer: SendBuffer,
    schedule: Schedule,
    /// Packets that are due so far.
    due: u64,
}

impl Sender {
    /// A client on loopback with this schedule and packets of this size, their payload a pattern.
    ///
    /// # Panics
    ///
    /// Without loopback, there is nothing to measure.
    #[must_use]
    pub fn new(schedule: Schedule, size: PacketSize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let reading = thread::Builder::new().spawn(move || {
            let (mut peer, _) = listener.accept().expect("the client connects");
            io::copy(&mut peer, &mut io::sink())
        });
        reading.expect("a thread");
        let connection =
            Connection::open(address, u64::MAX, &StopSignal::without_lease()).expect("it listens");
        let hello = Hello {
            run: RunId::from_bits(0),
            agent: 0,
            client: 7,
            attempt: 1,
        };
        let key = Key::from_bytes([7; 32]);
        let source = GroupSource::new("default", "pattern", Arc::new(Pattern));
        let packets = Packets::new(size, None, Some(source.into()));
        let mut client = Client::new(connection, 7, Some(Credentials { hello, key }), 1, packets);
        client.set_schedule(schedule.into(), 0);
        Self {
            client,
            send_buffer: SendBuffer::new(),
            schedule,
            due: 0,
        }
    }

    /// The next batch is due now: stamps and writes it.
    pub fn send_batch(&mut self) {
        let now_ns = self.schedule.due_at(self.due).unwrap_or(0);
        self.due += u64::from(self.schedule.batch());
        self.client
            .send_due(self.due, now_ns, &mut self.send_buffer);
        while self.client.has_backlog() {
            thread::yield_now();
            self.client.write_backlog(now_ns, &mut self.send_buffer);
        }
    }
}

/// What one receive gives of the replies of a connection.
#[derive(Debug)]
pub struct Replies {
    frames: Vec<Frame>,
    live: LiveReplies,
    pool: BlockPool,
    times: ClientTimes,
}

impl Replies {
    /// So many replies for each receive.
    #[must_use]
    pub fn new(count: u64) -> Self {
        let reply = |sequence: u64| Reply {
            client: 7,
            sequence,
            due_ns: 1_000 * sequence,
            lateness_ns: 5_000,
        };
        Self {
            frames: (0..count)
                .map(|sequence| reply(sequence).encode())
                .collect(),
            live: LiveReplies::new(["default"]),
            pool: BlockPool::new(1),
            times: ClientTimes::new(0),
        }
    }

    /// Takes those of one receive on a fresh connection.
    pub fn take(&mut self) {
        let mut stream = ReplyStream::new(Asks {
            client: 7,
            echo_every: NonZeroU32::MIN,
        });
        let read_ns = black_box(1_000 * self.frames.len() as u64 + 50_000);
        let last = stream.take(self.frames.as_flattened(), read_ns, |round_trip| {
            self.times.record(round_trip, &mut self.pool, &self.live);
        });
        black_box(last);
    }
}
