//! What the master waits for: one epoll set, and a token for each thing in it.
//!
//! All of it is level-triggered, so an event that one turn does not finish comes again.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use metronome_os::clock::timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

/// Most events that one wait returns.
pub(super) const EVENTS_MAX: usize = 256;

/// The thing that an event is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Token {
    /// Connections wait to be accepted.
    Listener,
    /// The control plane has asked for something.
    Requests,
    /// The channel of a worker, by its index: messages from it, or room for messages to it.
    Channel(usize),
    /// A process has been started.
    Starter,
    /// The channel of the spare.
    SpareChannel,
    /// The process of the spare has ended.
    SpareProcess,
    /// The process of a worker, by its index, has ended.
    Process(usize),
}

impl Token {
    /// The first of the workers' tokens, two for each.
    const FIRST_WORKER: u64 = 5;

    /// The 64 bits that the kernel keeps with the descriptor.
    const fn encode(self) -> u64 {
        match self {
            Self::Listener => 0,
            Self::Requests => 1,
            Self::Starter => 2,
            Self::SpareChannel => 3,
            Self::SpareProcess => 4,
            Self::Channel(worker) => Self::FIRST_WORKER + 2 * worker as u64,
            Self::Process(worker) => Self::FIRST_WORKER + 2 * worker as u64 + 1,
        }
    }

    /// The token of an event. The kernel returns only what [`Poller::add`] gave it.
    pub(super) fn of(event: &Event) -> Self {
        Self::decode(event.data.u64())
    }

    const fn decode(bits: u64) -> Self {
        match bits {
            0 => Self::Listener,
            1 => Self::Requests,
            2 => Self::Starter,
            3 => Self::SpareChannel,
            4 => Self::SpareProcess,
            bits => {
                let worker = ((bits - Self::FIRST_WORKER) / 2) as usize;
                if (bits - Self::FIRST_WORKER).is_multiple_of(2) {
                    Self::Channel(worker)
                } else {
                    Self::Process(worker)
                }
            }
        }
    }
}

/// The epoll set of the master's thread.
#[derive(Debug)]
pub(super) struct Poller(OwnedFd);

impl Poller {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(epoll::create(CreateFlags::CLOEXEC)?))
    }

    /// Begins to watch a descriptor, until it is closed.
    pub(super) fn add(&self, source: impl AsFd, token: Token, flags: EventFlags) -> io::Result<()> {
        let data = EventData::new_u64(token.encode());
        epoll::add(&self.0, source, data, flags).map_err(Into::into)
    }

    /// Watches a descriptor no more. One whose other end is closed is always ready.
    pub(super) fn remove(&self, source: impl AsFd) {
        let _ = epoll::delete(&self.0, source);
    }

    /// Changes what a watched descriptor is watched for, and what its events are about.
    pub(super) fn modify(&self, source: impl AsFd, token: Token, flags: EventFlags) {
        // It fails only for a descriptor that is not watched, and each that comes here is.
        let _ = epoll::modify(&self.0, source, EventData::new_u64(token.encode()), flags);
    }

    /// Waits for events, at most `timeout_ns`. A signal ends the wait without any.
    pub(super) fn wait(&self, events: &mut Vec<Event>, timeout_ns: u64) -> io::Result<()> {
        let space = rustix::buffer::spare_capacity(events);
        match epoll::wait(&self.0, space, Some(&timespec(timeout_ns))) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_token_comes_back_and_every_number_is_a_token(
            worker in 0..100_000_usize,
            bits in 0..u64::MAX,
        ) {
            let fixed = [
                Token::Listener,
                Token::Requests,
                Token::Starter,
                Token::SpareChannel,
                Token::SpareProcess,
            ];
            for token in fixed.into_iter().chain([Token::Channel(worker), Token::Process(worker)]) {
                prop_assert_eq!(Token::decode(token.encode()), token);
            }
            prop_assert_eq!(Token::decode(bits).encode(), bits);
        }
    }

    #[test]
    fn an_event_carries_the_token_of_what_is_ready_and_of_nothing_else() {
        let poller = Poller::new().unwrap();
        let [(ready, peer), (idle, _peer)] = [(); 2].map(|()| UnixStream::pair().unwrap());
        poller
            .add(&ready, Token::Channel(7), EventFlags::IN)
            .unwrap();
        poller
            .add(&idle, Token::Process(7), EventFlags::IN)
            .unwrap();
        drop(peer);
        let mut events = Vec::with_capacity(EVENTS_MAX);
        poller.wait(&mut events, 60_000_000_000).unwrap();
        let tokens: Vec<_> = events.iter().map(Token::of).collect();
        assert_eq!(tokens, [Token::Channel(7)]);
        poller.modify(&ready, Token::Channel(7), EventFlags::empty());
        drop(ready);
        // It is watched until it is closed everywhere: a process that another test starts at this
        // moment has it until that is another program.
        let is_quiet = (0..10_000).any(|_| {
            events.clear();
            poller.wait(&mut events, 1_000_000).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(1));
            events.is_empty()
        });
        assert!(is_quiet);
    }
}
