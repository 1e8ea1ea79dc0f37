//! The door for the micro-benchmarks in benches/: the decisions of a pacing thread, without its
//! clients, its clock and its sleeps, and what a client does with its packets. Behind the feature
//! `testing`; no executable has it.

use std::{hint::black_box, io, net::TcpListener, thread};

use metronome_proto::{
    handshake::{Hello, Key},
    run_id::RunId,
    schedule::Schedule,
    v1::Phase,
};

use crate::{
    load::{
        client::{Client, Credentials},
        pacing::{NAP_NS_MAX, Pacer, Wait, WaitPolicy},
        send_buffer::SendBuffer,
        ticks::{Place, Ticks, offset_ns},
    },
    net::connection::Connection,
    stop_signal::StopSignal,
};

/// The ticks of one pacing thread.
#[derive(Debug)]
pub struct PacingThread {
    ticks: Ticks,
    pacer: Pacer,
    /// How long after the tick each client is due, ns.
    offsets_ns: Vec<u64>,
    now_ns: u64,
}

impl PacingThread {
    /// A thread with `clients` staggered clients, at least 1.
    #[must_use]
    pub fn new(clients: u32, schedule: Schedule) -> Self {
        let place = |client| Place {
            in_thread: client,
            of_thread: clients,
            in_group: client,
            of_group: clients,
        };
        let offset_ns = |client| offset_ns(Phase::Staggered, schedule.period_ns(), place(client));
        Self {
            ticks: Ticks::new(schedule),
            pacer: Pacer::new(WaitPolicy::Hybrid),
            offsets_ns: (0..clients).map(offset_ns).collect(),
            now_ns: schedule.start_ns,
        }
    }

    /// Serves one tick in time: finds the tick, the due time of each client, and that this has
    /// come. Returns how many packets are due; `None` after the last tick.
    pub fn tick(&mut self) -> Option<u64> {
        let tick = self.ticks.next(self.now_ns)?;
        let mut due = 0;
        for offset_ns in &self.offsets_ns {
            let due_ns = tick.due_ns.saturating_add(*offset_ns);
            // Here the thread reads its clock; the compiler must not see that it reads just this.
            let now_ns = black_box(due_ns);
            due += u64::from(self.pacer.next(now_ns, due_ns, NAP_NS_MAX) == Wait::Over);
        }
        self.now_ns = tick.due_ns;
        Some(due)
    }
}

/// One authenticated client whose peer reads all it gets.
#[derive(Debug)]
pub struct Sender {
    client: Client,
    send_buffer: SendBuffer,
    schedule: Schedule,
    sent: u64,
}

impl Sender {
    /// A client on loopback with this schedule.
    ///
    /// # Panics
    ///
    /// Without loopback, there is nothing to measure.
    #[must_use]
    pub fn new(schedule: Schedule) -> Self {
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
        let mut client = Client::new(connection, 7, Some(Credentials { hello, key }), 1);
        client.set_schedule(schedule);
        Self {
            client,
            send_buffer: SendBuffer::new(),
            schedule,
            sent: 0,
        }
    }

    /// The next batch is due now: stamps and writes it.
    pub fn send_batch(&mut self) {
        let now_ns = self.schedule.due_at(self.sent);
        self.sent += u64::from(self.schedule.batch);
        self.client
            .send_due(self.sent, now_ns, &mut self.send_buffer);
        while self.client.has_backlog() {
            thread::yield_now();
            self.client.write_backlog(now_ns, &mut self.send_buffer);
        }
    }
}
