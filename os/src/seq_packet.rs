//! The socket pair between two processes of a server: whole messages, with descriptors.
//!
//! SOCK_SEQPACKET neither splits nor merges messages and reports when the other end is gone. Master
//! and worker exchange messages of one size with at most one descriptor and never wait; the old and
//! the new server of an upgrade exchange messages of any size with many descriptors and wait until
//! a deadline, ns of CLOCK_MONOTONIC. Absent on purpose: the meaning of the messages.

use std::{
    fs::File,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
        SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
        sendmsg, socketpair, sockopt::socket_type,
    },
};

use crate::clock::{now_ns, timespec};

/// Most descriptors of one message: the kernel's SCM_MAX_FD.
pub const DESCRIPTORS_MAX: usize = 253;

/// Most bytes of one message that waits for a deadline, well below what a socket takes at once.
pub const BYTES_MAX: usize = 32 * 1024;

/// How soon to try again when too many descriptors are in flight: no event reports the end of that.
const CROWDED_WAIT_NS: u64 = 1_000_000;

/// One end of the pair.
#[derive(Debug)]
pub struct SeqPacket(OwnedFd);

impl From<OwnedFd> for SeqPacket {
    fn from(end: OwnedFd) -> Self {
        Self(end)
    }
}

impl AsFd for SeqPacket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl SeqPacket {
    /// A pair; both ends close on exec.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok((Self(ours), theirs))
    }

    /// The end that this process was given as its standard input, which is /dev/null from here on.
    ///
    /// # Errors
    /// `InvalidInput`: standard input is something else.
    pub fn inherited() -> io::Result<Self> {
        let stdin = io::stdin();
        if socket_type(&stdin).ok() != Some(SocketType::SEQPACKET) {
            let text = "standard input is no channel to a server";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let ours = stdin.as_fd().try_clone_to_owned()?;
        rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
        Ok(Self(ours))
    }

    /// Sends one message, without waiting. The kernel keeps its own reference to `descriptor` from
    /// here on.
    ///
    /// # Errors
    /// `WouldBlock`: the other end is not reading; nothing was sent. `BrokenPipe`: it is gone.
    pub fn send(&self, message: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let descriptor = descriptor.map(|descriptor| [descriptor]);
        let descriptors: &[BorrowedFd<'_>] = descriptor.as_ref().map_or(&[], |one| one);
        match self.send_now(message, descriptors) {
            Ok(()) => Ok(()),
            // Too many descriptors in flight: the other end is behind, as with a full queue.
            Err(Errno::TOOMANYREFS | Errno::NOBUFS) => Err(io::ErrorKind::WouldBlock.into()),
            Err(error) => Err(error.into()),
        }
    }

    /// Receives one message of exactly `message.len()` bytes and its descriptor, without waiting.
    ///
    /// # Errors
    /// `WouldBlock`: there is none. `UnexpectedEof`: the other end is gone. `InvalidData`: a
    /// message of another size, cut, or with more than one descriptor.
    pub fn receive(&self, message: &mut [u8]) -> io::Result<Option<OwnedFd>> {
        let expected = message.len();
        let mut descriptor = None;
        let mut is_one = true;
        let (bytes, is_cut) = self.receive_now(message, |received| {
            is_one &= descriptor.replace(received).is_none();
        })?;
        if bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if bytes != expected || is_cut || !is_one {
            let text = "a message of another size, cut, or with more than one descriptor";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(descriptor)
    }

    /// Sends one message of at most [`BYTES_MAX`] bytes and [`DESCRIPTORS_MAX`] descriptors, and
    /// waits for room until `deadline_ns`.
    ///
    /// # Errors
    /// `TimedOut`: the other end does not read. `BrokenPipe` or `ConnectionReset`: it is gone.
    /// `InvalidInput`: too many descriptors.
    pub fn send_until(
        &self,
        message: &[u8],
        descriptors: &[BorrowedFd<'_>],
        deadline_ns: u64,
    ) -> io::Result<()> {
        if descriptors.len() > DESCRIPTORS_MAX {
            let text = "too many descriptors for one message";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        loop {
            match self.send_now(message, descriptors) {
                Ok(()) => return Ok(()),
                Err(Errno::AGAIN) => self.wait(PollFlags::OUT, deadline_ns)?,
                // As many are in flight as this user may have: the other end is behind.
                Err(Errno::TOOMANYREFS | Errno::NOBUFS) => self.wait_while_crowded(deadline_ns)?,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Receives one message of at most [`BYTES_MAX`] bytes and its descriptors, and waits for it
    /// until `deadline_ns`.
    ///
    /// # Errors
    /// `TimedOut`: nothing came. `UnexpectedEof`: the other end is gone. `InvalidData`: a message
    /// that was cut.
    pub fn receive_until(&self, deadline_ns: u64) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
        let mut message = vec![0; BYTES_MAX];
        let mut descriptors = Vec::new();
        let (bytes, is_cut) = loop {
            match self.receive_now(&mut message, |descriptor| descriptors.push(descriptor)) {
                Ok(received) => break received,
                Err(Errno::AGAIN) => self.wait(PollFlags::IN, deadline_ns)?,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        };
        if bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if is_cut {
            let text = "a message was cut; are too few files allowed to be open (ulimit -n)?";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        message.truncate(bytes);
        Ok((message, descriptors))
    }

    fn send_now(&self, message: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            let fits = control.push(SendAncillaryMessage::ScmRights(descriptors));
            debug_assert!(fits, "callers give at most DESCRIPTORS_MAX");
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        sendmsg(&self.0, &[IoSlice::new(message)], &mut control, flags).map(drop)
    }

    /// How many bytes came, and whether the message or its descriptors were cut.
    fn receive_now(
        &self,
        message: &mut [u8],
        mut take: impl FnMut(OwnedFd),
    ) -> Result<(usize, bool), Errno> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let received = recvmsg(
            &self.0,
            &mut [IoSliceMut::new(message)],
            &mut control,
            flags,
        )?;
        for part in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = part {
                descriptors.for_each(&mut take);
            }
        }
        let cut = ReturnFlags::TRUNC | ReturnFlags::CTRUNC;
        Ok((received.bytes, received.flags.intersects(cut)))
    }

    fn wait(&self, events: PollFlags, deadline_ns: u64) -> io::Result<()> {
        let left_ns = deadline_ns.saturating_sub(now_ns());
        let mut polled = [PollFd::new(&self.0, events)];
        match poll(&mut polled, Some(&timespec(left_ns))) {
            Ok(0) => Err(io::ErrorKind::TimedOut.into()),
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for a moment, or reports that the deadline has passed.
    fn wait_while_crowded(&self, deadline_ns: u64) -> io::Result<()> {
        let soon_ns = deadline_ns.min(now_ns() + CROWDED_WAIT_NS);
        match self.wait(PollFlags::empty(), soon_ns) {
            Err(_) if now_ns() < deadline_ns => Ok(()),
            waited => waited,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (SeqPacket, SeqPacket) {
        let (ours, theirs) = SeqPacket::pair().unwrap();
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
    fn a_message_of_another_size_is_an_error() {
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

    const SOON_NS: u64 = 20_000_000;

    fn far_deadline() -> u64 {
        now_ns() + 10_000_000_000
    }

    #[test]
    fn a_message_travels_whole_with_as_many_descriptors_as_the_kernel_takes() {
        let (a, b) = pair();
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let descriptors = vec![writer.as_fd(); DESCRIPTORS_MAX];
        a.send_until(&[7; BYTES_MAX], &descriptors, far_deadline())
            .unwrap();
        drop(writer);
        let (message, received) = b.receive_until(far_deadline()).unwrap();
        assert_eq!(
            (message.len(), received.len()),
            (BYTES_MAX, DESCRIPTORS_MAX)
        );
        rustix::io::write(&received[DESCRIPTORS_MAX - 1], b"x").unwrap();
        assert_eq!(rustix::io::read(&reader, &mut [0; 8]).unwrap(), 1);
        let too_many = vec![reader.as_fd(); DESCRIPTORS_MAX + 1];
        assert_eq!(
            a.send_until(b"x", &too_many, far_deadline())
                .unwrap_err()
                .kind(),
            io::ErrorKind::InvalidInput
        );
    }

    #[test]
    fn a_silent_full_or_closed_other_end_is_an_error() {
        let (a, b) = pair();
        assert_eq!(
            b.receive_until(now_ns() + SOON_NS).unwrap_err().kind(),
            io::ErrorKind::TimedOut
        );
        let send = || a.send_until(&[0; BYTES_MAX], &[], now_ns() + SOON_NS);
        let full = (0..1000)
            .find_map(|_| send().err())
            .expect("a full channel");
        assert_eq!(full.kind(), io::ErrorKind::TimedOut);
        drop(b);
        // Reset the first time, since it left something unread.
        let gone = [io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe];
        assert!(gone.contains(&send().unwrap_err().kind()));
        assert_eq!(send().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        let (a, b) = pair();
        drop(a);
        assert_eq!(
            b.receive_until(far_deadline()).unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
    }
}
