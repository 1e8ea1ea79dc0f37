//! An agent that does what its test asks, step by step: honest, lying, silent.

use std::{
    collections::VecDeque,
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    thread,
    time::Duration,
};

use metronome_proto::{
    features::{CAPABILITIES, PROTOCOL_VERSION_MAX, PROTOCOL_VERSION_MIN},
    handshake::{Hello, Key},
    packet::{self, FRAME_BYTES, Packet, Start},
    packet_size::PacketSize,
    plan,
    run_id::RunId,
    share::Share,
    v1::{
        self, agent_service_client::AgentServiceClient,
        agent_service_session_request::Message as FromAgent,
        agent_service_session_response::Message as ToAgent, start::At,
    },
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::{DEADLINE, Server};

/// The most lateness that is claimed, ns: what a busy host adds to it is no subject of the server's
/// tests and stays below the limit of every plan, 1 ms, so that it decides no verdict.
const LATENESS_MAX_NS: u64 = 500_000;

/// Room for the threads of the clients to begin, ns.
const SENDING_BEFORE_START_NS: u64 = 5_000_000;

/// How an agent follows its schedule.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// Each packet when it is due, stamped with how late that was, up to [`LATENESS_MAX_NS`].
    Honest,
    /// Everything at the start; the packets say they are due when the schedule has them.
    AtOnce,
    /// Everything at the end; the packets say that this is when they are due.
    AtOnceAndDueThen,
}

/// An agent on its stream.
pub(crate) struct Agent {
    sender: mpsc::Sender<v1::AgentServiceSessionRequest>,
    messages: Streaming<v1::AgentServiceSessionResponse>,
    /// Orders that came between the first probes of the clock.
    before: VecDeque<ToAgent>,
    /// How far its clock is ahead of this host's, in its answers to probes.
    pub(crate) ahead_ns: i64,
}

/// The first message of an honest agent.
pub(crate) fn register(name: &str) -> v1::Register {
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let namespace = std::fs::read_link("/proc/self/ns/time").unwrap_or_default();
    v1::Register {
        protocol_version_min: PROTOCOL_VERSION_MIN,
        protocol_version_max: PROTOCOL_VERSION_MAX,
        capabilities: CAPABILITIES.iter().map(|name| (*name).into()).collect(),
        name: name.into(),
        resume_token: Vec::new(),
        capacity: Some(v1::Capacity {
            max_clients: 100,
            cores: 1,
        }),
        clock: Some(v1::ClockIdentity {
            boot_id: boot_id.trim().into(),
            time_namespace: namespace.to_string_lossy().into_owned(),
        }),
        run_ids: Vec::new(),
        version: "1.0".into(),
    }
}

impl Agent {
    /// Registers and receives the welcome.
    pub(crate) async fn register(server: &Server, name: &str) -> Self {
        Self::register_as(server, register(name)).await.unwrap().0
    }

    /// Registers in some way, receives the welcome and answers the first probes of its clock.
    pub(crate) async fn register_as(
        server: &Server,
        register: v1::Register,
    ) -> Result<(Self, v1::Welcome), Status> {
        Self::register_ahead(server, register, 0).await
    }

    /// The same with a clock that is ahead of this host's.
    pub(crate) async fn register_ahead(
        server: &Server,
        register: v1::Register,
        ahead_ns: i64,
    ) -> Result<(Self, v1::Welcome), Status> {
        let name = register.name.clone();
        let mut agent = Self::send_first(server, FromAgent::Register(register)).await?;
        let ToAgent::Welcome(welcome) = agent.receive().await.expect("a welcome") else {
            panic!("the first message is the welcome")
        };
        assert_eq!((&welcome.name, welcome.lease.unwrap().seconds), (&name, 3));
        assert_eq!(welcome.protocol_version, PROTOCOL_VERSION_MAX);
        assert_eq!(welcome.resume_token.len(), 16);
        agent.ahead_ns = ahead_ns;
        agent.answer_probes().await?;
        agent.wait_until_listed(server, &name).await;
        Ok((agent, welcome))
    }

    /// Opens the stream with any message.
    pub(crate) async fn send_first(server: &Server, message: FromAgent) -> Result<Self, Status> {
        let (sender, sent) = mpsc::channel(64);
        sender
            .send(v1::AgentServiceSessionRequest {
                message: Some(message),
            })
            .await
            .unwrap();
        let mut client = AgentServiceClient::new(server.channel().await);
        let messages = client
            .session(ReceiverStream::new(sent))
            .await?
            .into_inner();
        Ok(Self {
            sender,
            messages,
            before: VecDeque::new(),
            ahead_ns: 0,
        })
    }

    /// Answers the 16 probes that come at once. Orders between them are kept.
    async fn answer_probes(&mut self) -> Result<(), Status> {
        for _ in 0..16 {
            loop {
                let message = self.receive_next().await?;
                if let ToAgent::ClockProbe(probe) = message {
                    self.answer(&probe);
                    break;
                }
                self.before.push_back(message);
            }
        }
        Ok(())
    }

    fn answer(&self, probe: &v1::ClockProbe) {
        let now_ns = now_ns().saturating_add_signed(self.ahead_ns);
        let reading = FromAgent::ClockReading(v1::ClockReading {
            server_ns: probe.server_ns,
            received_ns: now_ns,
            sent_ns: now_ns,
        });
        let message = Some(reading);
        let _ = self
            .sender
            .try_send(v1::AgentServiceSessionRequest { message });
    }

    /// The server has taken its answers. Beside an upgrade a query may go to the process that ends.
    async fn wait_until_listed(&self, server: &Server, name: &str) {
        let is_listed = async || {
            let mut fleet = server.fleet().await;
            let answer = fleet.list_agents(v1::ListAgentsRequest::default()).await;
            answer.is_ok_and(|answer| {
                let agents = answer.into_inner().agents;
                agents.iter().any(|agent| agent.name == name)
            })
        };
        tokio::time::timeout(DEADLINE, async { while !is_listed().await {} })
            .await
            .expect("the agent is listed");
    }

    pub(crate) async fn send(&self, message: FromAgent) {
        self.sender
            .send(v1::AgentServiceSessionRequest {
                message: Some(message),
            })
            .await
            .unwrap();
    }

    /// The next message that is no Renew; `Err` when the stream has ended.
    pub(crate) async fn receive(&mut self) -> Result<ToAgent, Status> {
        loop {
            // An agent that reads its orders also reports that it is alive.
            let alive = v1::AgentServiceSessionRequest {
                message: Some(FromAgent::Alive(v1::Alive {})),
            };
            let _ = self.sender.try_send(alive);
            match self.receive_anything().await? {
                ToAgent::Renew(_) => {}
                message => return Ok(message),
            }
        }
    }

    /// The next message that is no probe, without a sign of life but the answers to probes.
    pub(crate) async fn receive_anything(&mut self) -> Result<ToAgent, Status> {
        if let Some(message) = self.before.pop_front() {
            return Ok(message);
        }
        loop {
            match self.receive_next().await? {
                ToAgent::ClockProbe(probe) => self.answer(&probe),
                message => return Ok(message),
            }
        }
    }

    /// The next message, without a word in return.
    pub(crate) async fn receive_next(&mut self) -> Result<ToAgent, Status> {
        let message = tokio::time::timeout(DEADLINE, self.messages.message())
            .await
            .expect("the stream goes on")?;
        let message = message.ok_or_else(|| Status::cancelled("the stream has ended"))?;
        Ok(message.message.expect("no message is empty"))
    }

    /// Answers probes until a time of CLOCK_MONOTONIC. An agent that leaves them unanswered while
    /// it waits for a start looks as far away as that start was, and the next one is later still.
    async fn live_until(&mut self, at_ns: u64) {
        let mut kept = VecDeque::new();
        let live = async {
            while let Ok(message) = self.receive().await {
                kept.push_back(message);
            }
            std::future::pending::<()>().await;
        };
        let left = Duration::from_nanos(at_ns.saturating_sub(now_ns()));
        let _: Result<(), _> = tokio::time::timeout(left, live).await;
        self.before.append(&mut kept);
    }

    /// The runs that the next Renew lists.
    pub(crate) async fn receive_renewed_runs(&mut self) -> Vec<String> {
        loop {
            if let ToAgent::Renew(renew) = self.receive_anything().await.unwrap() {
                self.send(FromAgent::Alive(v1::Alive {})).await;
                return renew.run_ids;
            }
        }
    }

    pub(crate) async fn receive_prepare(&mut self) -> v1::Prepare {
        match self.receive().await {
            Ok(ToAgent::Prepare(prepare)) => prepare,
            other => panic!("not Prepare: {other:?}"),
        }
    }

    pub(crate) async fn receive_start(&mut self) -> v1::Start {
        match self.receive().await {
            Ok(ToAgent::Start(start)) => start,
            other => panic!("not Start: {other:?}"),
        }
    }

    pub(crate) async fn receive_stop(&mut self) -> v1::Stop {
        match self.receive().await {
            Ok(ToAgent::Stop(stop)) => stop,
            other => panic!("not Stop: {other:?}"),
        }
    }

    pub(crate) async fn send_prepared(&self, run_id: &str) {
        self.send(FromAgent::Prepared(v1::Prepared {
            payloads: Vec::new(),
            run_id: run_id.into(),
        }))
        .await;
    }

    pub(crate) async fn send_records(&self, run_id: &str, clients: Vec<v1::ClientRecord>) {
        let records = v1::ClientRecords {
            run_id: run_id.into(),
            clients,
        };
        self.send(FromAgent::ClientRecords(records)).await;
    }

    pub(crate) async fn send_failed(&self, run_id: &str, failure: v1::Failure) {
        let failed = v1::Failed {
            run_id: run_id.into(),
            failure: Some(failure),
        };
        self.send(FromAgent::Failed(failed)).await;
    }

    pub(crate) async fn send_finished(&self, run_id: &str) {
        let finished = v1::Finished {
            run_id: run_id.into(),
            ..v1::Finished::default()
        };
        self.send(FromAgent::Finished(finished)).await;
    }

    /// Carries out `prepare` to the letter.
    pub(crate) async fn run_honestly(&mut self, server: &Server, prepare: &v1::Prepare) {
        self.run(server, prepare, Pace::Honest).await;
    }

    /// Connects every client without a word about it.
    pub(crate) fn connect(server: &Server, prepare: &v1::Prepare) -> Vec<Client> {
        let key = Key::from_bytes(prepare.key.clone().try_into().unwrap());
        let shares = shares(prepare);
        let is_ours =
            |share: &Share| share.address.starts_with(':') && server.data.ends_with(&share.address);
        assert!(shares.iter().all(is_ours));
        let clients = shares.into_iter().flat_map(|share| share.clients);
        clients
            .map(|client| Client::connect(&server.data, prepare, client, key))
            .collect()
    }

    /// Carries out `prepare` at some pace, all else in good order.
    pub(crate) async fn run(&mut self, server: &Server, prepare: &v1::Prepare, pace: Pace) {
        let mut clients = Self::connect(server, prepare);
        self.send_prepared(&prepare.run_id).await;
        let Some(At::StartAtNs(start_ns)) = self.receive_start().await.at else {
            panic!("an agent on the server's clock gets an instant of it")
        };
        self.live_until(start_ns.saturating_sub(SENDING_BEFORE_START_NS))
            .await;
        let records = thread::scope(|scope| {
            let send = |client| scope.spawn(move || Client::send(client, prepare, start_ns, pace));
            let sending: Vec<_> = clients.iter_mut().map(send).collect();
            sending
                .into_iter()
                .map(|client| client.join().unwrap())
                .collect()
        });
        self.send_records(&prepare.run_id, records).await;
        self.send_finished(&prepare.run_id).await;
    }
}

/// One verified connection.
pub(crate) struct Client {
    socket: TcpStream,
    hello: Hello,
    key: Key,
}

impl Client {
    fn connect(address: &str, prepare: &v1::Prepare, client: u32, key: Key) -> Self {
        let run: RunId = prepare.run_id.parse().unwrap();
        let agent = u16::try_from(prepare.agent_index).unwrap();
        let hello = Hello {
            run,
            agent,
            client: u16::try_from(client).unwrap(),
            attempt: 1,
        };
        let mut socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket.write_all(&hello.encode(&key)).unwrap();
        let mut ack = [0; FRAME_BYTES];
        socket.read_exact(&mut ack).unwrap();
        assert!(hello.is_acked_by(&ack, &key));
        Self { socket, hello, key }
    }

    /// Sends from where its schedule counts, and every packet, then exchanges the ends.
    pub(crate) fn send(
        &mut self,
        prepare: &v1::Prepare,
        start_ns: u64,
        pace: Pace,
    ) -> v1::ClientRecord {
        let duration = plan::from_proto(prepare.duration.as_ref().unwrap()).unwrap();
        let client = u32::from(self.hello.client);
        let own = shares(prepare)
            .into_iter()
            .find(|share| share.clients.contains(&client));
        let load = own.unwrap().load(duration, prepare.seed);
        let schedule = load.schedule(start_ns, client).unwrap();
        let start = Start {
            client,
            offset_ns: 0,
            start_ns,
        };
        self.socket
            .write_all(&start.encode(PacketSize::MIN))
            .unwrap();
        sleep_until(if matches!(pace, Pace::AtOnceAndDueThen) {
            schedule.end_ns()
        } else {
            start_ns
        });
        let mut digest = 0;
        let mut cursor = schedule.first();
        while !cursor.is_over(&schedule) {
            let sequence = cursor.place();
            let mut due_ns = cursor.due_ns();
            match pace {
                Pace::Honest => sleep_until(due_ns),
                Pace::AtOnce => {}
                Pace::AtOnceAndDueThen => due_ns = schedule.end_ns(),
            }
            let lateness_ns = now_ns().saturating_sub(due_ns).min(LATENESS_MAX_NS) as u32;
            let frame = Packet {
                flags: 0,
                client,
                sequence,
                due_ns,
                lateness_ns,
            }
            .encode(&[]);
            digest = packet::digest_with(digest, sequence, packet::checksum(&frame));
            self.socket.write_all(&frame).unwrap();
            cursor.advance(&schedule);
        }
        let packets = cursor.place();
        self.socket
            .write_all(&self.hello.end(packets, PacketSize::MIN, &self.key))
            .unwrap();
        self.socket.shutdown(Shutdown::Write).unwrap();
        let mut ack = [0; FRAME_BYTES];
        self.socket.read_exact(&mut ack).unwrap();
        v1::ClientRecord {
            round_trips: None,
            rtt_from_due_p99_ns: None,
            rtt_from_write_p99_ns: None,
            tcp: None,
            client,
            counts: Some(v1::GeneratorCounts {
                replies_read: None,
                replies_requested: None,
                replies_unexpected: None,
                scheduled: packets,
                sent: packets,
                skipped: 0,
                blocked: 0,
            }),
            digest,
            acknowledged: self.hello.open_end_ack(&ack, &self.key),
            kernel_acknowledged_bytes: Some(packets * FRAME_BYTES as u64),
            attempts: 1,
            failure: None,
        }
    }
}

/// The record of a client that has sent nothing.
pub(crate) fn unsent(client: u32) -> v1::ClientRecord {
    v1::ClientRecord {
        client,
        counts: Some(v1::GeneratorCounts::default()),
        ..v1::ClientRecord::default()
    }
}

/// The one share of an order.
pub(crate) fn share(prepare: &v1::Prepare) -> Share {
    let [share] = shares(prepare).try_into().unwrap();
    share
}

/// The shares of an order.
pub(crate) fn shares(prepare: &v1::Prepare) -> Vec<Share> {
    let shares = prepare.shares.iter();
    shares
        .map(|share| Share::try_from(share).unwrap())
        .collect()
}

/// Until a time of CLOCK_MONOTONIC, never less.
fn sleep_until(at_ns: u64) {
    while let Some(left_ns) = at_ns.checked_sub(now_ns()).filter(|left_ns| *left_ns > 0) {
        thread::sleep(Duration::from_nanos(left_ns));
    }
}

pub(crate) fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
