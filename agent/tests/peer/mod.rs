//! The other end of the data plane, as the contract describes it: a small server on loopback that
//! reads every byte it is sent, and can misbehave at one point.

#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod probes;
mod replies;

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    process::{Command, Output, Stdio},
    thread::{self, JoinHandle},
};

use rustix::time::{ClockId, clock_gettime};

use metronome_proto::{
    handshake::{Challenge, Challenges, Hello, Key, NONCE_BYTES, Nonce, PROBE_CLIENT, Refusal},
    packet::{FRAME_BYTES, Frame, Kind, Packet, Start, checksum, digest_with, kind},
    packet_size::PacketSize,
    run_id::RunId,
};

use probes::{Probes, Probing};
pub(crate) use replies::{Replies, Replying};

/// What `--key-file` holds in these tests.
pub(crate) const SECRET: [u8; 32] = [0xAB; 32];

/// Most due times, and payloads, that a peer keeps of a connection.
const DUE_TIMES_MAX: usize = 10_000;

/// What a peer of another protocol answers.
const TEXT: Frame = *b"HTTP/1.1 400 Bad Request\r\n\r\n....";

/// Where a peer departs from the protocol, if at all.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Behaviour {
    /// Follows the protocol.
    Proper,
    /// Follows it but for its replies to packets.
    Replies(Replying),
    /// Closes its side right after the hello.
    ClosesUnanswered,
    /// Answers the hello with a refusal.
    Refuses(Refusal),
    /// Answers the hello with a refusal of this number.
    RefusesByNumber(u8),
    /// Answers with an ack under another key.
    AcksFalsely,
    /// Answers with the challenge and the ack that it has sent on an earlier connection.
    Replays(Frame, Frame),
    /// Answers with a challenge of this version.
    ChallengesAs(u8),
    /// Refuses the first frame as a server without challenges does.
    HasNoChallenges,
    /// Answers as another program does.
    AnswersInText,
    /// Reads on for ever and answers nothing.
    NeverAcks,
    /// Leaves the hello of the first attempt unanswered.
    AcksTheSecondHello,
    /// Counts one packet less in the end-ack.
    Miscounts,
    /// Closes without an end-ack.
    NeverEndAcks,
    /// Answers the end as another program does.
    AnswersTheEndInText,
    /// Leaves the end unanswered and keeps the connection open.
    NeverAnswersTheEnd,
    /// Closes its own writing side after the hello-ack.
    HalfCloses,
    /// Reads nothing after the hello-ack and keeps the connection open.
    StopsReading,
    /// Resets the connection after this many packets.
    ResetsAfter(u64),
    /// Sends a refusal after this many packets, since the run is over, and closes.
    EndsAfter(u64),
}

/// What a peer has received on one connection.
#[derive(Debug, Default)]
pub(crate) struct Received {
    /// Bytes of every frame behind the hello.
    pub(crate) size: PacketSize,
    /// What the peer has sent before the packets: its challenge and its ack.
    pub(crate) sent: Vec<Frame>,
    pub(crate) hello: Option<Hello>,
    /// From where the due times of the client count, in a run that a server controls.
    pub(crate) start: Option<Start>,
    pub(crate) packets: u64,
    /// When the first packets were due, ns.
    pub(crate) due_ns: Vec<u64>,
    /// What followed the headers of these packets.
    pub(crate) payloads: Vec<Vec<u8>>,
    pub(crate) digest: u64,
    pub(crate) replies: Replies,
    /// Those of the connection of an agent's probes.
    pub(crate) probes: Probes,
    pub(crate) end: Option<u64>,
    /// Bytes before the hello was answered, hello excluded.
    pub(crate) unasked_bytes: usize,
    /// A connection that stays open, unread, as long as this lives.
    pub(crate) held: Option<TcpStream>,
}

/// A peer that serves a number of connections and then reports what it received.
pub(crate) struct Peer {
    pub(crate) port: u16,
    serving: JoinHandle<Vec<Received>>,
}

impl Peer {
    /// Serves `connections` connections, in the static run.
    pub(crate) fn start(connections: usize, behaviour: Behaviour) -> Self {
        Self::start_with(
            connections,
            behaviour,
            Key::derive(&SECRET, RunId::from_bits(0), 0),
        )
    }

    /// Serves `connections` connections under `key`, with packets of 32 bytes.
    pub(crate) fn start_with(connections: usize, behaviour: Behaviour, key: Key) -> Self {
        Self::start_sized(connections, PacketSize::MIN, behaviour, key)
    }

    /// Serves `connections` connections under `key`, with packets of this size.
    pub(crate) fn start_sized(
        connections: usize,
        size: PacketSize,
        behaviour: Behaviour,
        key: Key,
    ) -> Self {
        Self::start_whole(connections, size, (behaviour, Probing::Properly), key)
    }

    /// Serves `connections` connections under `key`, those of probes among them.
    pub(crate) fn start_probed(
        connections: usize,
        behaviour: Behaviour,
        probing: Probing,
        key: Key,
    ) -> Self {
        Self::start_whole(connections, PacketSize::MIN, (behaviour, probing), key)
    }

    fn start_whole(
        connections: usize,
        size: PacketSize,
        behaviour: (Behaviour, Probing),
        key: Key,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let serving = thread::spawn(move || {
            let accept = |_| listener.accept().expect("a connection").0;
            let serve = |stream| thread::spawn(move || serve(stream, size, behaviour, &key));
            let threads: Vec<_> = (0..connections).map(accept).map(serve).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("the peer found no fault"))
                .collect()
        });
        Self { port, serving }
    }

    /// What was received, once all connections have ended.
    pub(crate) fn received(self) -> Vec<Received> {
        self.serving.join().expect("the peer found no fault")
    }
}

fn serve(
    mut stream: TcpStream,
    size: PacketSize,
    (behaviour, probing): (Behaviour, Probing),
    key: &Key,
) -> Received {
    let mut received = Received {
        size,
        ..Received::default()
    };
    // Each write is on its way at once, as the server's are: a reset behind it finds nothing held.
    stream.set_nodelay(true).expect("an open connection");
    let mut first: Frame = [0; FRAME_BYTES];
    stream.read_exact(&mut first).expect("a first frame");
    let mut key = *key;
    if let Some(challenge) = Challenge::decode(&first) {
        let answer = match behaviour {
            Behaviour::Replays(challenge, _) => challenge,
            Behaviour::AnswersInText => TEXT,
            Behaviour::ChallengesAs(version) => {
                let mut frame = drawn().challenge();
                frame[3] = version;
                frame
            }
            Behaviour::HasNoChallenges => {
                let mut frame = Refusal::Protocol.encode();
                frame[4] = 0;
                frame
            }
            _ => drawn().challenge(),
        };
        received.sent.push(answer);
        stream.write_all(&answer).expect("the agent listens");
        let server = Challenge::decode(&answer).and_then(|challenge| challenge.nonce);
        let (Some(client), Some(server)) = (challenge.nonce, server) else {
            received.unasked_bytes = read_to_end(&mut stream);
            return received;
        };
        key = key.of_connection(&Challenges { client, server });
        stream.read_exact(&mut first).expect("a hello");
    }
    let key = &key;
    let hello = Hello::open(&first, key).expect("a hello with the key's tag");
    received.hello = Some(hello);
    if hello.client == PROBE_CLIENT {
        received.probes.serve(&mut stream, probing, &hello, key);
        return received;
    }
    let answer = match behaviour {
        Behaviour::ClosesUnanswered => return received,
        Behaviour::Refuses(refusal) => refusal.encode(),
        Behaviour::RefusesByNumber(number) => refusal(number),
        Behaviour::Replays(_, ack) => ack,
        Behaviour::AcksFalsely => hello.ack(&Key::from_bytes([1; 32])),
        Behaviour::AnswersInText => TEXT,
        Behaviour::AcksTheSecondHello if hello.attempt > 1 => hello.ack(key),
        Behaviour::NeverAcks | Behaviour::AcksTheSecondHello => {
            received.unasked_bytes = read_to_end(&mut stream);
            return received;
        }
        _ => hello.ack(key),
    };
    received.sent.push(answer);
    stream.write_all(&answer).expect("the agent listens");
    match behaviour {
        Behaviour::Refuses(_)
        | Behaviour::RefusesByNumber(_)
        | Behaviour::AcksFalsely
        | Behaviour::Replays(..)
        | Behaviour::AnswersInText => {
            received.unasked_bytes = read_to_end(&mut stream);
            return received;
        }
        Behaviour::StopsReading => {
            received.held = Some(stream);
            return received;
        }
        Behaviour::HalfCloses => stream
            .shutdown(Shutdown::Write)
            .expect("an open connection"),
        _ => {}
    }
    listen(&mut stream, behaviour, &hello, key, &mut received);
    if behaviour == Behaviour::NeverAnswersTheEnd {
        received.held = Some(stream);
    }
    received
}

/// A nonce of this peer.
fn drawn() -> Nonce {
    let mut bytes = [0; NONCE_BYTES];
    getrandom::fill(&mut bytes).expect("random bytes");
    Nonce::from_bytes(bytes).expect("not all zero")
}

/// A refusal of a number that need not be one of ours.
pub(crate) fn refusal(number: u8) -> Frame {
    let mut frame = Refusal::Full.encode();
    frame[3] = number;
    frame
}

fn listen(
    stream: &mut TcpStream,
    behaviour: Behaviour,
    hello: &Hello,
    key: &Key,
    received: &mut Received,
) {
    let size = received.size;
    let mut bytes = vec![0; size.bytes()];
    let replying = match behaviour {
        Behaviour::Replies(how) => how,
        _ => Replying::Properly,
    };
    loop {
        if behaviour == Behaviour::ResetsAfter(received.packets) {
            reset(stream);
            return;
        }
        if behaviour == Behaviour::EndsAfter(received.packets) {
            let _ = stream.write_all(&Refusal::Ended.encode());
            return;
        }
        let result = stream.read_exact(&mut bytes);
        let (frame, rest) = bytes.split_first_chunk().expect("a header");
        match result {
            Ok(()) if kind(frame) == Some(Kind::Packet) => {
                let packet = count(frame, rest, hello, received);
                received.replies.reply(stream, replying, &packet);
            }
            Ok(()) if kind(frame) == Some(Kind::Start) => {
                assert!(
                    received.packets == 0 && received.start.is_none(),
                    "one start, first"
                );
                received.start = Some(Start::decode(frame, size, rest).expect("a whole start"));
            }
            Ok(()) => break,
            Err(_) => return,
        }
    }
    let (frame, rest) = bytes.split_first_chunk().expect("a header");
    received.end = hello.open_end(frame, size, rest, key);
    assert_eq!(read_to_end(stream), 0, "nothing follows the end");
    received.replies.send_kept(stream);
    let counted = if behaviour == Behaviour::Miscounts {
        received.packets - 1
    } else {
        received.packets
    };
    let answer = match behaviour {
        Behaviour::NeverEndAcks
        | Behaviour::HalfCloses
        | Behaviour::NeverAnswersTheEnd
        // The agent has ended these by now.
        | Behaviour::Replies(Replying::WithoutEnd | Replying::WithGarbage(_)) => return,
        Behaviour::AnswersTheEndInText => TEXT,
        _ => hello.end_ack(counted, key),
    };
    stream
        .write_all(&answer)
        .expect("the agent waits for the end-ack");
}

fn count(frame: &Frame, payload: &[u8], hello: &Hello, received: &mut Received) -> Packet {
    let packet = Packet::decode(frame, payload).expect("a whole packet");
    assert_eq!(
        (packet.client, packet.sequence),
        (hello.client.into(), received.packets)
    );
    let now = clock_gettime(ClockId::Monotonic);
    let now_ns = now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64;
    assert!(packet.due_ns <= now_ns, "a packet came before it was due");
    if received.due_ns.len() < DUE_TIMES_MAX {
        received.due_ns.push(packet.due_ns);
        received.payloads.push(payload.to_vec());
    }
    let is_controlled = hello.run != RunId::from_bits(0);
    assert_eq!(
        received.start.is_some(),
        is_controlled,
        "a start in runs of a server alone"
    );
    received.digest = digest_with(received.digest, packet.sequence, checksum(frame));
    received.packets += 1;
    packet
}

fn read_to_end(stream: &mut TcpStream) -> usize {
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    rest.len()
}

fn reset(stream: &TcpStream) {
    let linger = Some(std::time::Duration::ZERO);
    socket2::SockRef::from(stream)
        .set_linger(linger)
        .expect("an open connection");
}

/// Asks a process that we started to stop, as Ctrl-C or a service manager does.
pub(crate) fn send_signal(child: &std::process::Child, signal: rustix::process::Signal) {
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(rustix::process::Pid::from_raw)
        .expect("a process id");
    rustix::process::kill_process(pid, signal).expect("it runs");
}

/// Runs the agent to its end.
pub(crate) fn agent(flags: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_metronome-agent"));
    command
        .args(flags)
        .env_remove("METRONOME_SERVER")
        .stdin(Stdio::null());
    command.output().expect("the agent starts")
}

/// A key file as `--key-file` wants it.
pub(crate) fn key_file() -> io::Result<tempfile::NamedTempFile> {
    let file = tempfile::NamedTempFile::new()?;
    let digits: String = SECRET.iter().map(|byte| format!("{byte:02x}")).collect();
    writeln!(file.as_file(), "{digits}")?;
    Ok(file)
}

/// The JSON object that `-o json` printed.
pub(crate) fn summary(output: &Output) -> serde_json::Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text} {}", stderr(output)))
}

/// What stands on standard error.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
