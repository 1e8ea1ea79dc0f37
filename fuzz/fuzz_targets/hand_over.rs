//! Anything in the channel between master and worker: a message of any bytes and any length with
//! any descriptors is read or refused, and no descriptor stays behind.
#![no_main]

use std::{
    io::{ErrorKind, IoSlice},
    mem::MaybeUninit,
    os::fd::{AsFd as _, BorrowedFd},
};

use libfuzzer_sys::{
    arbitrary::{self, Arbitrary},
    fuzz_target,
};
use metronome_server::testing::{HAND_OVER_BYTES, HandOver, read_hand_over};
use rustix::{
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg},
    pipe::{PipeFlags, pipe_with},
};

#[derive(Arbitrary, Debug)]
struct Input {
    /// The numbers of a message, so that kinds are hit.
    kind: u8,
    bytes: [u8; HAND_OVER_BYTES],
    length: u8,
    descriptors: u8,
}

fuzz_target!(|input: Input| {
    let mut message = input.bytes;
    message[..4].copy_from_slice(&u32::from(input.kind).to_le_bytes());
    read_hand_over(&message);
    read_hand_over(&input.bytes);

    // Mostly the right length: the others are refused by it.
    let length = if input.length < 128 {
        HAND_OVER_BYTES
    } else {
        usize::from(input.length - 128)
    };
    let sent: Vec<u8> = input.bytes.iter().copied().cycle().take(length).collect();
    let descriptors = usize::from(input.descriptors % 4);
    let (ours, theirs) = HandOver::pair().expect("a socket pair");
    let (reader, writer) = pipe_with(PipeFlags::NONBLOCK).expect("a pipe");
    send(theirs.as_fd(), &sent, &vec![writer.as_fd(); descriptors]);
    drop(writer);
    match ours.receive() {
        Ok((received, descriptor)) => {
            assert!(length == HAND_OVER_BYTES && descriptors <= 1);
            assert_eq!(
                (&received[..], descriptor.is_some()),
                (&sent[..], descriptors == 1)
            );
        }
        Err(error) if length == 0 => assert_eq!(error.kind(), ErrorKind::UnexpectedEof),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::InvalidData);
            assert!(length != HAND_OVER_BYTES || descriptors > 1);
        }
    }
    // The end of the pipe: every copy of its other side is closed.
    assert_eq!(rustix::io::read(&reader, &mut [0_u8; 1]), Ok(0));
});

fn send(channel: BorrowedFd<'_>, message: &[u8], descriptors: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
    }
    sendmsg(
        channel,
        &[IoSlice::new(message)],
        &mut control,
        SendFlags::DONTWAIT,
    )
    .expect("room in the channel");
}
