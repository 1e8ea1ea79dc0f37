//! Any frame, as the first of a connection and as every other kind: it is what its key has tagged,
//! to the last bit, or nothing.
#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::{
    arbitrary::{self, Arbitrary},
    fuzz_target,
};
use metronome_proto::{
    handshake::{Hello, Key, Refused},
    packet::{Frame, Packet},
    run_id::RunId,
};
use metronome_server::testing::{Connection, HELLO, KEY};

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
    let whole = match input.kind % 5 {
        0 => hello.encode(&key),
        1 => hello.ack(&key),
        2 => hello.end(input.count, &key),
        3 => hello.end_ack(input.count, &key),
        _ => [0; 32],
    };
    let noise = if input.is_noisy { input.noise } else { [0; 32] };
    let frame: Frame = std::array::from_fn(|at| whole[at] ^ noise[at]);

    if let Some(opened) = Hello::open(&frame, &key) {
        assert_eq!(opened.encode(&key), frame);
    }
    assert_eq!(hello.is_acked_by(&frame, &key), hello.ack(&key) == frame);
    if let Some(count) = hello.open_end(&frame, &key) {
        assert_eq!(hello.end(count, &key), frame);
    }
    if let Some(count) = hello.open_end_ack(&frame, &key) {
        assert_eq!(hello.end_ack(count, &key), frame);
    }
    if let Some(refusal) = Refused::decode(&frame).and_then(Refused::refusal) {
        assert_eq!(refusal.encode()[..4], frame[..4]);
    }
    if let Ok(packet) = Packet::decode(&frame) {
        assert_eq!(packet.encode(), frame);
    }
    CONNECTION.with_borrow_mut(|connection| open_with(connection, &frame));
});

/// The server admits exactly the client whose key it has, and sends each connection at most
/// one answer.
fn open_with(connection: &mut Connection, frame: &Frame) {
    connection.open_again().expect("shared memory");
    connection.receive(frame, &[]);
    let counted = connection.counted();
    let known = Key::from_bytes(KEY);
    let is_admitted = Hello::open(frame, &known).is_some_and(|hello| {
        (hello.run, hello.agent) == (HELLO.run, HELLO.agent)
            && hello.client < 8
            && hello.attempt > 0
    });
    assert_eq!(counted.is_client, is_admitted);
    match counted.replies[..] {
        [] => assert!(counted.is_raw && counted.counts.received == 1),
        [reply] if is_admitted => {
            assert!(
                Hello::open(frame, &known).is_some_and(|hello| hello.is_acked_by(&reply, &known))
            );
        }
        [reply] => assert!(counted.is_refused && Refused::decode(&reply).is_some()),
        _ => panic!("more than one answer"),
    }
}
