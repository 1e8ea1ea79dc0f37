//! The server that is to be succeeded, as the new process sees it. What it says is checked, not
//! trusted: it may be of another version.

use std::{
    env,
    io::{self, ErrorKind},
    os::fd::OwnedFd,
};

use anyhow::{Context as _, bail, ensure};
use metronome_os::{clock::now_ns, conduit::Conduit, process::PREDECESSOR_VARIABLE};

use super::{ESTATE_BYTES_MAX, Hello, Word};
use crate::ledger::Dimensions;

/// For its first message, which it sends at once.
const HELLO_WAIT_NS: u64 = 10_000_000_000;

/// It says every next word, or is gone, within its own patience; this is only so that nobody waits
/// for ever.
const WORD_WAIT_NS: u64 = 3_600_000_000_000;

/// For a word of ours.
const SAY_WAIT_NS: u64 = 10_000_000_000;

/// The channel to it.
#[derive(Debug)]
pub(crate) struct Predecessor(Conduit);

/// What it has, to begin with.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) hello: Hello,
    pub(crate) data: OwnedFd,
    pub(crate) grpc: OwnedFd,
    pub(crate) http: Option<OwnedFd>,
    /// Its lock in the history.
    pub(crate) lock: OwnedFd,
    pub(crate) ledger: [OwnedFd; 3],
}

/// Everything else.
#[derive(Debug)]
pub(crate) struct Estate {
    pub(crate) bytes: Vec<u8>,
    /// Of the connections, in the order in which the bytes tell of them.
    pub(crate) sockets: Vec<OwnedFd>,
}

impl Predecessor {
    /// The server that has started this process to be its successor. `None` when none has.
    pub(crate) fn of_this_process() -> anyhow::Result<Option<Self>> {
        if env::var_os(PREDECESSOR_VARIABLE).is_none() {
            return Ok(None);
        }
        let explained =
            || format!("{PREDECESSOR_VARIABLE} is set, which only an upgrade does; unset it");
        Ok(Some(Self(Conduit::inherited().with_context(explained)?)))
    }

    /// Waits for its hello.
    pub(crate) fn offer(&self) -> anyhow::Result<Offer> {
        let (message, descriptors) = self.0.receive(now_ns() + HELLO_WAIT_NS).map_err(gone)?;
        let Some((Word::Hello, rest)) = Word::of(&message) else {
            bail!("the old server said no hello")
        };
        let hello = Hello::decode(rest).map_err(anyhow::Error::msg)?;
        ensure!(
            hello.slots > 0 && hello.workers > 0 && hello.max_clients > 0,
            "its hello has impossible numbers"
        );
        let mut descriptors = descriptors.into_iter();
        let mut next = || {
            descriptors
                .next()
                .context("the old server sent too few descriptors")
        };
        Ok(Offer {
            data: next()?,
            grpc: next()?,
            lock: next()?,
            ledger: [next()?, next()?, next()?],
            http: if hello.has_http { Some(next()?) } else { None },
            hello,
        })
    }

    /// All is open and the workers are up.
    pub(crate) fn say_healthy(&self) -> anyhow::Result<()> {
        self.say(Word::Healthy, &[])
    }

    /// Gives a reason to go on without us.
    pub(crate) fn refuse(&self, sentence: &str) {
        // When it is gone nobody needs one.
        let _ = self.say(
            Word::Refused,
            &sentence.as_bytes()[..sentence.len().min(1000)],
        );
    }

    /// Waits for everything else. An error also when the old server has changed its mind.
    pub(crate) fn estate(&self, dimensions: Dimensions) -> anyhow::Result<Estate> {
        let mut estate = Estate {
            bytes: Vec::new(),
            sockets: Vec::new(),
        };
        loop {
            let (message, sockets) = self.0.receive(now_ns() + WORD_WAIT_NS).map_err(gone)?;
            match Word::of(&message) {
                Some((Word::Sockets, [])) => estate.sockets.extend(sockets),
                Some((Word::Part, part)) => estate.bytes.extend_from_slice(part),
                Some((Word::End, sums)) => {
                    let told = [estate.bytes.len(), estate.sockets.len()]
                        .map(|sum| (sum as u64).to_le_bytes());
                    ensure!(
                        sums == told.concat(),
                        "the old server told of more or less than came"
                    );
                    return Ok(estate);
                }
                _ => bail!("the old server said what nobody understands"),
            }
            ensure!(
                estate.bytes.len() <= ESTATE_BYTES_MAX,
                "the old server's state is too large"
            );
            ensure!(
                estate.sockets.len() <= dimensions.slots as usize,
                "there are more connections than slots"
            );
        }
    }

    /// Everything is here and makes sense. Waits for the word to go.
    pub(crate) fn take_over(self) -> anyhow::Result<()> {
        self.say(Word::Taken, &[])?;
        let (message, _) = self.0.receive(now_ns() + WORD_WAIT_NS).map_err(gone)?;
        ensure!(
            matches!(Word::of(&message), Some((Word::Go, _))),
            "the old server does not let go"
        );
        Ok(())
    }

    fn say(&self, word: Word, rest: &[u8]) -> anyhow::Result<()> {
        self.0
            .send(&word.with(rest), &[], now_ns() + SAY_WAIT_NS)
            .map_err(gone)
    }
}

fn gone(error: io::Error) -> anyhow::Error {
    match error.kind() {
        ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => {
            anyhow::Error::msg(
                "the old server goes on itself, or is gone; this process was only to succeed it",
            )
        }
        _ => anyhow::Error::new(error).context("the channel to the old server"),
    }
}
