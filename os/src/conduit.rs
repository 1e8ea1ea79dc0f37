//! The socket pair between a server and the one that is to succeed it: whole messages, each with up
//! to 253 descriptors, and a deadline for each call.
//!
//! SOCK_SEQPACKET neither splits nor merges messages, and tells when the other end is gone. Times
//! are ns of CLOCK_MONOTONIC. Absent on purpose: what the messages mean.

use std::{
    fs::File,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
        SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
        sendmsg, socketpair, sockopt::socket_type,
    },
};

use crate::clock::now_ns;

/// Most descriptors of one message: the kernel's SCM_MAX_FD.
pub const DESCRIPTORS_MAX: usize = 253;

/// Most bytes of one message, well below what a socket takes at once.
pub const BYTES_MAX: usize = 32 * 1024;

/// How soon to try again when too many descriptors are on their way, which no event tells the end
/// of.
const CROWDED_WAIT_NS: u64 = 1_000_000;

/// One end.
#[derive(Debug)]
pub struct Conduit(OwnedFd);

impl Conduit {
    /// A pair; both ends close on exec.
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok((Self(ours), theirs))
    }

    /// The end that this process was given as its standard input, which reads nothing from here on.
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

    /// Sends one message. The kernel keeps its own references to `descriptors` from here on.
    ///
    /// TimedOut: the other end does not read. BrokenPipe or ConnectionReset: it is gone.
    pub fn send(
        &self,
        message: &[u8],
        descriptors: &[BorrowedFd<'_>],
        deadline_ns: u64,
    ) -> io::Result<()> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        loop {
            let mut space =
                [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !descriptors.is_empty()
                && !control.push(SendAncillaryMessage::ScmRights(descriptors))
            {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "too many descriptors for one message",
                ));
            }
            match sendmsg(&self.0, &[IoSlice::new(message)], &mut control, flags) {
                Ok(_) => return Ok(()),
                Err(Errno::AGAIN) => self.wait(PollFlags::OUT, deadline_ns)?,
                // As many are on their way as this user may have: the other end is behind.
                Err(Errno::TOOMANYREFS | Errno::NOBUFS) => {
                    self.wait(
                        PollFlags::empty(),
                        deadline_ns.min(now_ns() + CROWDED_WAIT_NS),
                    )
                    .or_else(|error| {
                        if now_ns() < deadline_ns {
                            Ok(())
                        } else {
                            Err(error)
                        }
                    })?;
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Receives one message and its descriptors.
    ///
    /// TimedOut: nothing came. UnexpectedEof: the other end is gone. InvalidData: a message that
    /// was cut.
    pub fn receive(&self, deadline_ns: u64) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
        let mut message = vec![0; BYTES_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let received = loop {
            match recvmsg(
                &self.0,
                &mut [IoSliceMut::new(&mut message)],
                &mut control,
                flags,
            ) {
                Ok(received) => break received,
                Err(Errno::AGAIN) => self.wait(PollFlags::IN, deadline_ns)?,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        };
        let rights = control.drain().filter_map(|part| match part {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        });
        let descriptors: Vec<OwnedFd> = rights.flatten().collect();
        if received.bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if received
            .flags
            .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
        {
            let text = "a message was cut; are too few files allowed to be open (ulimit -n)?";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        message.truncate(received.bytes);
        Ok((message, descriptors))
    }

    fn wait(&self, events: PollFlags, deadline_ns: u64) -> io::Result<()> {
        let left_ns = deadline_ns.saturating_sub(now_ns());
        let timeout = Timespec {
            tv_sec: (left_ns / 1_000_000_000) as _,
            tv_nsec: (left_ns % 1_000_000_000) as _,
        };
        match poll(&mut [PollFd::new(&self.0, events)], Some(&timeout)) {
            Ok(0) => Err(io::ErrorKind::TimedOut.into()),
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
impl From<OwnedFd> for Conduit {
    fn from(end: OwnedFd) -> Self {
        Self(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON_NS: u64 = 20_000_000;

    fn pair() -> (Conduit, Conduit) {
        let (ours, theirs) = Conduit::pair().unwrap();
        (ours, theirs.into())
    }

    fn patience() -> u64 {
        now_ns() + 10_000_000_000
    }

    #[test]
    fn a_message_travels_whole_with_as_many_descriptors_as_the_kernel_takes() {
        let (a, b) = pair();
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        let descriptors = vec![writer.as_fd(); DESCRIPTORS_MAX];
        a.send(&[7; BYTES_MAX], &descriptors, patience()).unwrap();
        drop(writer);
        let (message, received) = b.receive(patience()).unwrap();
        assert_eq!(
            (message.len(), received.len()),
            (BYTES_MAX, DESCRIPTORS_MAX)
        );
        rustix::io::write(&received[DESCRIPTORS_MAX - 1], b"x").unwrap();
        assert_eq!(rustix::io::read(&reader, &mut [0; 8]).unwrap(), 1);
        let too_many = vec![reader.as_fd(); DESCRIPTORS_MAX + 1];
        assert_eq!(
            a.send(b"x", &too_many, patience()).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
    }

    #[test]
    fn an_end_that_is_silent_does_not_read_or_is_gone_is_told() {
        let (a, b) = pair();
        assert_eq!(
            b.receive(now_ns() + SOON_NS).unwrap_err().kind(),
            io::ErrorKind::TimedOut
        );
        let send = || a.send(&[0; BYTES_MAX], &[], now_ns() + SOON_NS);
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
            b.receive(patience()).unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
    }
}
