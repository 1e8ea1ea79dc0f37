//! What the old server process offers to begin with: the facts that the new one must have before it
//! can be healthy, and the descriptors that it inherits. The one place that decides whether an
//! offer is acceptable.

use std::{
    net::TcpListener,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use serde::{Deserialize, Serialize};

use super::error::Unreadable;
use crate::ledger;

/// Version of everything that goes over the socket, the state included: raised with every change of
/// it. A test of `state` fails when that is forgotten.
pub(super) const FORMAT_VERSION: u32 = 11;

/// What the old server is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Offer {
    /// How the ledger lies in memory.
    pub(crate) layout: Vec<u64>,
    /// Words of a connection's counters that the old server uses, from the first: a version that
    /// uses fewer would not count on what the others hold.
    pub(crate) words_used: u32,
    pub(crate) slots: u32,
    pub(crate) workers: u32,
    pub(crate) max_clients: u32,
    pub(crate) accept_raw: bool,
    /// This server's name in the history; its lock comes along.
    pub(crate) owner: String,
    pub(crate) has_http: bool,
}

impl Offer {
    /// The version, then the offer.
    pub(super) fn encode(&self) -> Result<Vec<u8>, postcard::Error> {
        let rest = postcard::to_stdvec(self)?;
        Ok([&FORMAT_VERSION.to_le_bytes(), &rest[..]].concat())
    }

    /// The offer, if this process can take it.
    ///
    /// The version is checked first, because nothing else can be read in another one; then how the
    /// ledger lies in memory, because it is shared with the old process as it is. Neither is
    /// converted: the old server goes on, and the user is to drain it.
    pub(super) fn accept(bytes: &[u8]) -> Result<Self, Unreadable> {
        Self::try_accept(bytes).map_err(Unreadable)
    }

    fn try_accept(bytes: &[u8]) -> Result<Self, String> {
        let (version, rest) = bytes
            .split_first_chunk()
            .ok_or("the old server sent no version")?;
        let theirs = u32::from_le_bytes(*version);
        if theirs != FORMAT_VERSION {
            return Err(format!(
                "the old server hands over in format {theirs} and this one ({}) reads format \
                 {FORMAT_VERSION}; drain the old one and start this one instead",
                env!("CARGO_PKG_VERSION")
            ));
        }
        let offer: Self = postcard::from_bytes(rest)
            .map_err(|error| format!("the old server's offer cannot be decoded: {error}"))?;
        if offer.layout != ledger::LAYOUT {
            return Err(format!(
                "the old server's ledger lies in memory as {:?} and this one's as {:?}; \
                 drain the old one and start this one instead",
                offer.layout,
                ledger::LAYOUT
            ));
        }
        let words_used = ledger::WORDS_USED as u32;
        if offer.words_used > words_used {
            return Err(format!(
                "the old server's counters have {} words and this one's {words_used}; \
                 drain the old one and start this one instead",
                offer.words_used
            ));
        }
        if offer.slots == 0 || offer.workers == 0 || offer.max_clients == 0 {
            return Err("the old server's offer has impossible numbers".into());
        }
        Ok(offer)
    }
}

/// The descriptors that go with an offer. Both processes have them until one of them ends.
#[derive(Debug)]
pub(crate) struct InheritedFds {
    pub(crate) data: OwnedFd,
    pub(crate) grpc: OwnedFd,
    /// The old server's lock in the history.
    pub(crate) lock: OwnedFd,
    pub(crate) ledger: [OwnedFd; ledger::MEMORIES],
    pub(crate) http: Option<OwnedFd>,
}

impl InheritedFds {
    /// Duplicates of what is open; `data` and `ledger` are duplicates already.
    pub(crate) fn duplicate(
        data: TcpListener,
        grpc: &TcpListener,
        lock: BorrowedFd<'_>,
        ledger: [OwnedFd; ledger::MEMORIES],
        http: Option<&TcpListener>,
    ) -> std::io::Result<Self> {
        Ok(Self {
            data: data.into(),
            grpc: grpc.try_clone()?.into(),
            lock: lock.try_clone_to_owned()?,
            ledger,
            http: http
                .map(TcpListener::try_clone)
                .transpose()?
                .map(Into::into),
        })
    }

    /// In the order in which they are sent.
    pub(super) fn in_order(&self) -> Vec<BorrowedFd<'_>> {
        [&self.data, &self.grpc, &self.lock]
            .into_iter()
            .chain(&self.ledger)
            .chain(&self.http)
            .map(|descriptor| descriptor.as_fd())
            .collect()
    }

    /// From those that were received. `None`: too few of them.
    pub(super) fn from_received(descriptors: Vec<OwnedFd>, has_http: bool) -> Option<Self> {
        let mut next = descriptors.into_iter();
        Some(Self {
            data: next.next()?,
            grpc: next.next()?,
            lock: next.next()?,
            ledger: next
                .by_ref()
                .take(ledger::MEMORIES)
                .collect::<Vec<_>>()
                .try_into()
                .ok()?,
            http: if has_http { Some(next.next()?) } else { None },
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use proptest::prelude::*;

    use super::*;

    fn offer() -> Offer {
        Offer {
            layout: ledger::LAYOUT.to_vec(),
            words_used: ledger::WORDS_USED as u32,
            slots: 20,
            workers: 2,
            max_clients: 10,
            accept_raw: true,
            owner: "0123456789abcdef".into(),
            has_http: false,
        }
    }

    #[test]
    fn an_offer_of_another_version_or_layout_is_refused_with_what_differs() {
        assert_eq!(Offer::accept(&offer().encode().unwrap()), Ok(offer()));
        let mut newer = offer().encode().unwrap();
        newer[0] += 1;
        let refused = |bytes: &[u8]| Offer::accept(bytes).unwrap_err().to_string();
        let sentence = refused(&newer);
        for version in [FORMAT_VERSION, FORMAT_VERSION + 1] {
            assert!(
                sentence.contains(&format!("format {version}")),
                "{sentence}"
            );
        }
        let mut other = offer();
        other.layout[0] += 1;
        let sentence = refused(&other.encode().unwrap());
        assert!(sentence.contains("ledger"), "{sentence}");
        let mut other = offer();
        other.words_used -= 1;
        assert_eq!(Offer::accept(&other.encode().unwrap()), Ok(other.clone()));
        other.words_used += 2;
        let sentence = refused(&other.encode().unwrap());
        assert!(sentence.contains("words"), "{sentence}");
        let mut other = offer();
        other.workers = 0;
        let sentence = refused(&other.encode().unwrap());
        assert!(sentence.contains("impossible"), "{sentence}");
    }

    #[test]
    fn descriptors_come_out_in_the_order_in_which_they_went_in() {
        let files = || std::iter::repeat_with(|| OwnedFd::from(File::open("/dev/null").unwrap()));
        for has_http in [false, true] {
            let needed = 3 + ledger::MEMORIES + usize::from(has_http);
            let too_few = files().take(needed - 1).collect();
            assert!(InheritedFds::from_received(too_few, has_http).is_none());
            let enough = files().take(needed).collect();
            let inherited = InheritedFds::from_received(enough, has_http).unwrap();
            assert_eq!(inherited.in_order().len(), needed);
            assert_eq!(inherited.http.is_some(), has_http);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_offer_or_a_sentence(rest: Vec<u8>) {
            let with_our_version = [&FORMAT_VERSION.to_le_bytes()[..], &rest].concat();
            let accepted = Offer::accept(&with_our_version);
            prop_assert!(accepted.is_err_and(|error| !error.to_string().is_empty()));
            let _ = Offer::accept(&rest);
        }
    }
}
