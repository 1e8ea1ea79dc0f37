//! The process that is to take over, as the old server sees it. It ends with this value unless it
//! was told to go.

use std::{
    io,
    os::fd::BorrowedFd,
    path::Path,
    process::Child,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use metronome_os::{clock::now_ns, conduit::Conduit, process::start_successor};

use super::{Hello, Word, send_parts};
use crate::model::text;

/// How often a wait looks whether it is still wanted.
const LOOK_EVERY_NS: u64 = 100_000_000;

/// How long to wait for a word, and whether anybody still wants it.
#[derive(Clone, Debug)]
pub(crate) struct Patience {
    /// ns of CLOCK_MONOTONIC.
    pub(crate) deadline_ns: u64,
    /// For the sentence.
    pub(crate) shown: String,
    /// The server is told to end: no upgrade any more.
    pub(crate) is_over: Arc<AtomicBool>,
}

/// The new server's process.
#[derive(Debug)]
pub(crate) struct Successor {
    child: Child,
    conduit: Arc<Conduit>,
    goes: bool,
}

impl Successor {
    /// Starts `executable` with this process's arguments and environment, and waits until it says
    /// that it is healthy. An error is one sentence, and nothing is left of the process.
    pub(crate) fn start(
        executable: &Path,
        hello: &Hello,
        descriptors: &[BorrowedFd<'_>],
        patience: &Patience,
    ) -> Result<Self, String> {
        let shown = executable.display();
        let cannot = |error: io::Error| format!("{shown} cannot be started: {error}");
        let (conduit, theirs) = Conduit::pair().map_err(cannot)?;
        let child = start_successor(executable, theirs).map_err(cannot)?;
        let mut successor = Self {
            child,
            conduit: Arc::new(conduit),
            goes: false,
        };
        let said = hello.encode().and_then(|hello| {
            successor
                .conduit
                .send(&hello, descriptors, patience.deadline_ns)
        });
        said.map_err(|error| successor.describe(&error, patience))?;
        successor.hear(Word::Healthy, patience)?;
        Ok(successor)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where the master sends the connections.
    pub(crate) fn conduit(&self) -> Arc<Conduit> {
        Arc::clone(&self.conduit)
    }

    /// Gives it the rest, after the connections, and waits until it has taken everything.
    pub(crate) fn hand_over(
        &mut self,
        bytes: &[u8],
        sockets: usize,
        patience: &Patience,
    ) -> Result<(), String> {
        let sent = send_parts(&self.conduit, bytes, sockets, patience.deadline_ns);
        sent.map_err(|error| self.describe(&error, patience))?;
        self.hear(Word::Taken, patience)
    }

    /// Lets it serve. From here on it lives without us; on an error it has ended before.
    pub(crate) fn go(mut self, patience: &Patience) -> Result<(), String> {
        let said = self
            .conduit
            .send(&Word::Go.with(&[]), &[], patience.deadline_ns);
        said.map_err(|error| self.describe(&error, patience))?;
        self.goes = true;
        Ok(())
    }

    /// How it ended, if it has: that is why the connections could not be sent to it.
    pub(crate) fn end(&mut self, patience: &Patience) -> Option<String> {
        let error = self.conduit.receive(now_ns()).err()?;
        (error.kind() != io::ErrorKind::TimedOut).then(|| self.describe(&error, patience))
    }

    fn hear(&mut self, wanted: Word, patience: &Patience) -> Result<(), String> {
        let message = loop {
            let until_ns = patience.deadline_ns.min(now_ns() + LOOK_EVERY_NS);
            match self.conduit.receive(until_ns) {
                Ok((message, _)) => break message,
                Err(error)
                    if error.kind() == io::ErrorKind::TimedOut
                        && now_ns() < patience.deadline_ns =>
                {
                    if patience.is_over.load(Relaxed) {
                        return Err("the server was told to end meanwhile".into());
                    }
                }
                Err(error) => return Err(self.describe(&error, patience)),
            }
        };
        match Word::of(&message) {
            Some((word, _)) if word == wanted => Ok(()),
            Some((Word::Refused, sentence)) => {
                let sentence = text::sentence(&String::from_utf8_lossy(sentence));
                Err(format!(
                    "the new server (pid {}) refuses: {sentence}",
                    self.pid()
                ))
            }
            _ => Err(format!(
                "the new server (pid {}) says what nobody understands",
                self.pid()
            )),
        }
    }

    /// What became of it.
    fn describe(&mut self, error: &io::Error, patience: &Patience) -> String {
        let pid = self.pid();
        match error.kind() {
            io::ErrorKind::TimedOut => {
                format!(
                    "the new server (pid {pid}) was silent for {} and was ended",
                    patience.shown
                )
            }
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset => {
                // Its end of the channel is gone, so it is ending if it has not ended.
                let _ = self.child.kill();
                let how = self
                    .child
                    .wait()
                    .map_or_else(|error| error.to_string(), |status| status.to_string());
                format!(
                    "the new server (pid {pid}) ended before it had taken over: {how}; its log says why"
                )
            }
            _ => format!("the new server (pid {pid}) cannot be spoken to: {error}"),
        }
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        if !self.goes {
            // Its workers die with it.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
