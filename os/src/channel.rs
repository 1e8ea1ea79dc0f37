//! The socket pair between master and worker: whole messages, each with at most one descriptor.
//!
//! SOCK_SEQPACKET neither splits nor merges messages, and tells when the other end is gone. Both
//! ends never wait.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair,
};

/// One end.
#[derive(Debug)]
pub struct Channel(OwnedFd);

impl From<OwnedFd> for Channel {
    fn from(end: OwnedFd) -> Self {
        Self(end)
    }
}

impl Channel {
    /// A pair; both ends close on exec.
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((Self(ours), theirs))
    }

    /// Sends one message. The kernel keeps its own reference to `descriptor` from here on.
    ///
    /// WouldBlock: the other end is not reading; nothing was sent. BrokenPipe: it is gone.
    pub fn send(&self, message: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors = descriptor.map(|descriptor| [descriptor]);
        if let Some(descriptors) = &descriptors {
            let fits = control.push(SendAncillaryMessage::ScmRights(descriptors));
            debug_assert!(fits, "the space was made for one descriptor");
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match sendmsg(&self.0, &[IoSlice::new(message)], &mut control, flags) {
            Ok(_) => Ok(()),
            // Too many descriptors in flight: the other end is behind, as with a full queue.
            Err(rustix::io::Errno::TOOMANYREFS | rustix::io::Errno::NOBUFS) => {
                Err(io::ErrorKind::WouldBlock.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Receives one message of exactly `message.len()` bytes and its descriptor.
    ///
    /// UnexpectedEof: the other end is gone. InvalidData: a message of another size, cut, or with
    /// more than one descriptor.
    pub fn receive(&self, message: &mut [u8]) -> io::Result<Option<OwnedFd>> {
        let expected = message.len();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let received = recvmsg(
            &self.0,
            &mut [IoSliceMut::new(message)],
            &mut control,
            flags,
        )?;
        let (mut descriptor, mut is_one) = (None, true);
        for part in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = part {
                // The space is padded, so a second one fits into it without being cut.
                descriptors.for_each(|each| is_one &= descriptor.replace(each).is_none());
            }
        }
        if received.bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let is_cut = received
            .flags
            .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC);
        if received.bytes != expected || is_cut || !is_one {
            let text = "a message of another size, cut, or with more than one descriptor";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(descriptor)
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Channel, Channel) {
        let (ours, theirs) = Channel::pair().unwrap();
        (ours, theirs.into())
    }

    #[test]
    fn a_descriptor_travels_with_its_message() {
        let (a, b) = pair();
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        a.send(b"one!", Some(writer.as_fd())).unwrap();
        a.send(b"two!", None).unwrap();
        drop(writer);
        let mut message = [0; 4];
        let travelled = b.receive(&mut message).unwrap().expect("a descriptor");
        assert_eq!(&message, b"one!");
        rustix::io::write(&travelled, b"x").unwrap();
        assert_eq!(rustix::io::read(&reader, &mut [0; 8]).unwrap(), 1);
        assert!(b.receive(&mut message).unwrap().is_none());
        assert_eq!(&message, b"two!");
    }

    #[test]
    fn what_is_wrong_with_a_message_is_told() {
        let (a, b) = pair();
        assert_eq!(
            b.receive(&mut [0; 4]).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
        for wrong in [&b"abc"[..], b"abcde"] {
            a.send(wrong, None).unwrap();
            assert_eq!(
                b.receive(&mut [0; 4]).unwrap_err().kind(),
                io::ErrorKind::InvalidData
            );
        }
        drop(a);
        assert_eq!(
            b.receive(&mut [0; 4]).unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
        assert_eq!(
            b.send(b"abcd", None).unwrap_err().kind(),
            io::ErrorKind::BrokenPipe
        );
    }

    #[test]
    fn a_message_with_more_than_one_descriptor_is_refused_and_none_of_them_stays_open() {
        for count in [2, 3] {
            let (a, b) = pair();
            let (reader, writer) = rustix::pipe::pipe().unwrap();
            let descriptors = vec![writer.as_fd(); count];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
            sendmsg(
                &a.0,
                &[IoSlice::new(b"four")],
                &mut control,
                SendFlags::DONTWAIT,
            )
            .unwrap();
            drop(writer);
            assert_eq!(
                b.receive(&mut [0; 4]).unwrap_err().kind(),
                io::ErrorKind::InvalidData
            );
            assert_eq!(
                rustix::io::read(&reader, &mut [0; 1]),
                Ok(0),
                "{count} descriptors"
            );
        }
    }

    #[test]
    fn a_peer_that_does_not_read_never_makes_us_wait() {
        let (a, _b) = pair();
        let full = (0..100_000)
            .find_map(|_| a.send(&[0; 128], None).err())
            .expect("a full queue");
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
    }
}
