//! Any frame, as the first of a connection and as every other kind: it is what its key has tagged,
//! to the last bit, or nothing.
#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::{
    arbitrary::{self, Arbitrary},
    fuzz_target,
};
use metronome_proto::{
    handshake::{Challenge, Challenges, Hello, Key, Nonce, PROBE_CLIENT, Refused},
    packet::{Frame, Packet, Probe, ProbeReply, Reply},
    packet_size::PacketSize,
    run_id::RunId,
};
use metronome_server::testing::{Connection, HELLO, KEY, STATIC_KEY};

#[derive(Arbitrary, Debug)]
struct Input {
    /// Run, agent, client and attempt of the hello; the server has admitted one such client.
    hello: Option<(u64, u16, u16, u8)>,
    has_key: bool,
    other_key: [u8; 32],
    count: u64,
    kind: u8,
    /// Bits that are flipped after sealing, or all of the frame when it is no kind of ours.
    noise: [u8; 32],
    is_noisy: bool,
    /// Zeros behind the frame.
    zeros: u8,
    /// What both sides of a connection of the static run draw, and what they drew on another one
    /// that was recorded.
    nonces: [[u8; 16]; 4],
    /// Frames of the recorded connection, and of this one, in the order in which they are sent.
    replayed: Vec<u8>,
}

thread_local! {
    static CONNECTION: RefCell<Connection> =
        RefCell::new(Connection::open().expect("shared memory"));
}

fuzz_target!(|input: Input| {
    let hello = input
        .hello
        .map_or(HELLO, |(run, agent, client, attempt)| Hello {
            run: RunId::from_bits(run),
            agent,
            client,
            attempt,
        });
    let key = Key::from_bytes(if input.has_key { KEY } else { input.other_key });
    let whole = match input.kind % 6 {
        0 => hello.encode(&key),
        1 => hello.ack(&key),
        2 => hello.end(input.count, PacketSize::MIN, &key),
        3 => hello.end_ack(input.count, &key),
        4 => Nonce::from_bytes(input.nonces[0]).map_or([0; 32], |nonce| nonce.challenge()),
        _ => [0; 32],
    };
    let noise = if input.is_noisy { input.noise } else { [0; 32] };
    let frame: Frame = std::array::from_fn(|at| whole[at] ^ noise[at]);

    if let Some(opened) = Hello::open(&frame, &key) {
        assert_eq!(opened.encode(&key), frame);
    }
    assert_eq!(hello.is_acked_by(&frame, &key), hello.ack(&key) == frame);
    let size = PacketSize::new(32 + u32::from(input.zeros)).expect("at most 287 bytes");
    if let Some(count) = hello.open_end(&frame, size, size.zeros(), &key) {
        assert_eq!(hello.end(count, size, &key), frame);
    }
    if let Some(count) = hello.open_end_ack(&frame, &key) {
        assert_eq!(hello.end_ack(count, &key), frame);
    }
    if let Some(refusal) = Refused::decode(&frame).and_then(Refused::refusal) {
        assert_eq!(refusal.encode()[..4], frame[..4]);
    }
    if let Ok(packet) = Packet::decode(&frame, size.zeros()) {
        assert_eq!(packet.encode(size.zeros()), frame);
    }
    if let Ok(reply) = Reply::decode(&frame) {
        assert_eq!(reply.encode(), frame);
    }
    if let Ok(probe) = Probe::decode(&frame) {
        assert_eq!(probe.encode(), frame);
    }
    if let Ok(answer) = ProbeReply::decode(&frame) {
        assert_eq!(answer.encode(), frame);
    }
    if let Some(Challenge {
        nonce: Some(nonce), ..
    }) = Challenge::decode(&frame)
    {
        assert_eq!(nonce.challenge(), frame);
    }
    CONNECTION.with_borrow_mut(|connection| {
        open_with(connection, &frame);
        replay(connection, &input);
    });
});

/// On a connection of the static run that begins with a challenge, nothing is accepted but the
/// hello for the server's nonce, whatever was recorded elsewhere and in whatever order it is sent.
fn replay(connection: &mut Connection, input: &Input) {
    let [client, server, old_client, old_server] = input.nonces.map(Nonce::from_bytes);
    let (Some(client), Some(server), Some(old_client), Some(old_server)) =
        (client, server, old_client, old_server)
    else {
        return;
    };
    if server == old_server {
        return;
    }
    let hello = Hello {
        run: RunId::from_bits(0),
        agent: 0,
        client: 3,
        attempt: 1,
    };
    let key =
        |client, server| Key::from_bytes(STATIC_KEY).of_connection(&Challenges { client, server });
    let (own_key, old_key) = (key(client, server), key(old_client, old_server));
    connection.open_again().expect("shared memory");
    connection.draw(server);
    let mut came = Vec::new();
    for number in input.replayed.iter().take(8).map(|number| number % 8) {
        let frame = match number {
            0 => client.challenge(),
            1 => old_client.challenge(),
            2 => old_server.challenge(),
            3 => hello.encode(&own_key),
            4 => hello.encode(&old_key),
            5 => hello.ack(&old_key),
            6 => hello.end(0, PacketSize::MIN, &old_key),
            _ => hello.end_ack(0, &old_key),
        };
        connection.receive(&frame, &[usize::from(number)]);
        came.push(number);
    }
    let counted = connection.counted();
    let drawn = [client, old_client, old_server];
    let first = came
        .first()
        .and_then(|first| drawn.get(usize::from(*first)));
    let is_own = first == Some(&client) && came.get(1) == Some(&3);
    assert_eq!(counted.is_client, is_own);
    assert!(counted.reported_sent.is_none(), "no recorded end is one");
    if let Some(first) = counted.replies.first() {
        let is_challenged = matches!(came[0], 0..=2);
        let expected = is_challenged.then(|| server.challenge());
        assert_eq!(Challenge::decode(first).map(|_| *first), expected);
    }
}

/// The server admits exactly the clients whose key it has, and the probes of their agent, and sends
/// each connection at most one answer.
fn open_with(connection: &mut Connection, frame: &Frame) {
    connection.open_again().expect("shared memory");
    connection.receive(frame, &[]);
    let counted = connection.counted();
    let known = Key::from_bytes(KEY);
    let opened = Hello::open(frame, &known).filter(|hello| {
        (hello.run, hello.agent) == (HELLO.run, HELLO.agent) && hello.attempt > 0
    });
    let is_client = opened.is_some_and(|hello| hello.client < 8);
    let is_probes = opened.is_some_and(|hello| hello.client == PROBE_CLIENT);
    assert_eq!((counted.is_client, counted.is_probes), (is_client, is_probes));
    if Challenge::decode(frame).is_some() {
        // Nothing was drawn for it, so it cannot be answered.
        assert!(counted.is_refused && counted.replies.len() == 1);
        return;
    }
    match counted.replies[..] {
        [] => assert!(counted.is_raw && counted.counts.received == 1),
        [reply] if is_client || is_probes => {
            assert!(opened.is_some_and(|hello| hello.is_acked_by(&reply, &known)));
        }
        [reply] => assert!(counted.is_refused && Refused::decode(&reply).is_some()),
        _ => panic!("more than one answer"),
    }
}
