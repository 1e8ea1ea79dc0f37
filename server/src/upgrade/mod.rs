//! The upgrade: a new server process takes over from this one in mid-run, or this one carries on
//! untouched.
//!
//! ```text
//!   old (successor.rs)                      new (predecessor.rs)
//!   starts it with a channel as its input
//!   Hello + listeners, ledger, lock  ─────▶  opens all, starts workers that have no connection yet
//!                                    ◀─────  Healthy | Refused
//!   waits until every run is RUNNING, holds the runs, lets its workers quit
//!   Sockets … Part … End             ─────▶  checks and builds everything, touches nothing
//!                                    ◀─────  Taken | Refused
//!   Go                               ─────▶  places the connections, serves
//!   dismisses its streams, exits
//! ```
//!
//! Until Go the new process has read no byte of any client and written nothing that counts, so
//! whatever becomes of it, the old one takes its own back: it has kept every socket, the ledger and
//! all state. After Go it never does. Both ends say and check [`FORMAT_VERSION`] and the ledger's
//! layout first, so that versions that differ in either refuse each other before anything has
//! happened.
//!
//! This module starts the process and carries words, bytes and descriptors. What the bytes are is
//! `control::estate`'s and `master::estate`'s. Absent on purpose: async, and any decision about
//! runs.

mod executable;
mod predecessor;
mod successor;

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use serde::{Deserialize, Serialize};

pub(crate) use executable::executable;
pub(crate) use predecessor::{Offer, Predecessor};
pub(crate) use successor::{Patience, Successor};

use metronome_os::conduit::{BYTES_MAX, Conduit, DESCRIPTORS_MAX};

use crate::ledger;

/// Of everything that goes over the channel, the estate included: raised with every change of it.
/// Tests of `control::estate` and `master::estate` fail when that is forgotten.
pub(crate) const FORMAT_VERSION: u32 = 2;

/// Most bytes of an estate: a hundred reports of ten thousand clients each that could not be
/// stored.
const ESTATE_BYTES_MAX: usize = 512 << 20;

/// What a message begins with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
enum Word {
    /// The version, then a [`Hello`]; seven descriptors with it, or six without an HTTP port.
    Hello = 1,
    Healthy = 2,
    /// One sentence.
    Refused = 3,
    /// Connections, in order.
    Sockets = 4,
    /// The next bytes of the estate.
    Part = 5,
    /// How many bytes and connections there were.
    End = 6,
    Taken = 7,
    Go = 8,
}

impl Word {
    fn of(message: &[u8]) -> Option<(Self, &[u8])> {
        let (first, rest) = message.split_first()?;
        let words = [
            Self::Hello,
            Self::Healthy,
            Self::Refused,
            Self::Sockets,
            Self::Part,
            Self::End,
            Self::Taken,
            Self::Go,
        ];
        words
            .into_iter()
            .find(|word| *word as u8 == *first)
            .map(|word| (word, rest))
    }

    fn with(self, rest: &[u8]) -> Vec<u8> {
        [&[self as u8], rest].concat()
    }
}

/// What the old server has, as far as the new one must know before it can say that it is healthy.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Hello {
    /// How the ledger lies in memory.
    pub(crate) layout: Vec<u64>,
    pub(crate) slots: u32,
    pub(crate) workers: u32,
    pub(crate) max_clients: u32,
    pub(crate) accept_raw: bool,
    /// This server's name in the history; its lock comes along.
    pub(crate) owner: String,
    pub(crate) has_http: bool,
}

impl Hello {
    fn encode(&self) -> io::Result<Vec<u8>> {
        let rest = postcard::to_stdvec(self).map_err(io::Error::other)?;
        Ok(Word::Hello.with(&[&FORMAT_VERSION.to_le_bytes(), &rest[..]].concat()))
    }

    /// The version first: of another one nothing else can be read.
    fn decode(rest: &[u8]) -> Result<Self, String> {
        let (version, rest) = rest
            .split_first_chunk()
            .ok_or("the old server said no version")?;
        let theirs = u32::from_le_bytes(*version);
        if theirs != FORMAT_VERSION {
            return Err(format!(
                "the old server hands over in format {theirs} and this one ({}) knows format {FORMAT_VERSION}; drain the old one and start this one instead",
                env!("CARGO_PKG_VERSION")
            ));
        }
        let hello: Self = postcard::from_bytes(rest)
            .map_err(|error| format!("its hello cannot be read: {error}"))?;
        if hello.layout != ledger::LAYOUT {
            return Err(format!(
                "the old server's ledger lies in memory as {:?} and this one's as {:?}; drain the old one and start this one instead",
                hello.layout,
                ledger::LAYOUT
            ));
        }
        Ok(hello)
    }
}

/// What goes to a successor unread, made ready at the start.
#[derive(Debug)]
pub(crate) struct Belongings {
    pub(crate) hello: Hello,
    /// As [`Offer`] takes them: data port, gRPC port, lock, the ledger's three, HTTP port.
    pub(crate) descriptors: Vec<OwnedFd>,
}

impl Belongings {
    pub(crate) fn borrowed(&self) -> Vec<BorrowedFd<'_>> {
        self.descriptors.iter().map(AsFd::as_fd).collect()
    }
}

/// Sends connections, as many a message as the kernel takes.
pub(crate) fn send_sockets<'a>(
    conduit: &Conduit,
    sockets: impl Iterator<Item = BorrowedFd<'a>>,
    deadline_ns: u64,
) -> io::Result<()> {
    let sockets: Vec<_> = sockets.collect();
    sockets
        .chunks(DESCRIPTORS_MAX)
        .try_for_each(|some| conduit.send(&Word::Sockets.with(&[]), some, deadline_ns))
}

/// Sends the estate's bytes and the word that all has been sent.
fn send_parts(conduit: &Conduit, bytes: &[u8], sockets: usize, deadline_ns: u64) -> io::Result<()> {
    for part in bytes.chunks(BYTES_MAX - 1) {
        conduit.send(&Word::Part.with(part), &[], deadline_ns)?;
    }
    let sums = [
        (bytes.len() as u64).to_le_bytes(),
        (sockets as u64).to_le_bytes(),
    ]
    .concat();
    conduit.send(&Word::End.with(&sums), &[], deadline_ns)
}

/// Of an estate in tests, so that none is changed unnoticed. FNV-1a: no cryptography.
#[cfg(test)]
pub(crate) fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hello() -> Hello {
        Hello {
            layout: ledger::LAYOUT.to_vec(),
            slots: 20,
            workers: 2,
            max_clients: 10,
            accept_raw: true,
            owner: "0123456789abcdef".into(),
            has_http: false,
        }
    }

    fn decode(message: &[u8]) -> Result<Hello, String> {
        match Word::of(message) {
            Some((Word::Hello, rest)) => Hello::decode(rest),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_hello_of_another_version_or_layout_is_refused_with_what_differs() {
        assert_eq!(decode(&hello().encode().unwrap()), Ok(hello()));
        let mut newer = hello().encode().unwrap();
        newer[1] += 1;
        let sentence = decode(&newer).unwrap_err();
        for version in [FORMAT_VERSION, FORMAT_VERSION + 1] {
            assert!(
                sentence.contains(&format!("format {version}")),
                "{sentence}"
            );
        }
        let mut other = hello();
        other.layout[0] += 1;
        let sentence = decode(&other.encode().unwrap()).unwrap_err();
        assert!(sentence.contains("ledger"), "{sentence}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_hello_or_a_sentence(rest: Vec<u8>) {
            let with_our_version = [&FORMAT_VERSION.to_le_bytes()[..], &rest].concat();
            prop_assert!(Hello::decode(&with_our_version).is_err_and(|sentence| !sentence.is_empty()));
            let _ = Hello::decode(&rest);
            let _ = Word::of(&rest);
        }
    }
}
