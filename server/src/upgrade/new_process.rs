//! The new server process, seen from the old one. It ends with this value unless the upgrade
//! was committed.

use std::{
    io,
    path::Path,
    process::Child,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use metronome_os::{clock::now_ns, process::start_new_process, seq_packet::SeqPacket};
use metronome_telemetry::sanitise;

use super::{
    error::UpgradeError,
    offer::{InheritedFds, Offer},
    protocol::{Kind, send_state},
};

/// How often a wait looks whether it was given up.
const LOOK_EVERY_NS: u64 = 100_000_000;

/// How long to wait for the new process, and whether the upgrade was given up meanwhile.
#[derive(Clone, Debug)]
pub(super) struct Deadline {
    /// ns of CLOCK_MONOTONIC.
    pub(super) at_ns: u64,
    /// How long that is, for the sentence.
    pub(super) shown: String,
    /// This server is to end, so it is not to be upgraded any more.
    pub(super) is_given_up: Arc<AtomicBool>,
}

/// The new process.
#[derive(Debug)]
pub(super) struct NewProcess {
    child: Child,
    socket: Arc<SeqPacket>,
    is_committed: bool,
}

impl NewProcess {
    /// Starts `executable` with this process's arguments and environment, and waits until it
    /// reports that it is healthy. On an error nothing is left of the process.
    pub(super) fn start(
        executable: &Path,
        offer: &Offer,
        inherited: &InheritedFds,
        deadline: &Deadline,
    ) -> Result<Self, UpgradeError> {
        let shown = executable.display();
        let cannot = |error: io::Error| format!("{shown} cannot be started: {error}");
        let offer = offer
            .encode()
            .map_err(|error| format!("this server's offer cannot be encoded: {error}"))?;
        let (socket, theirs) = SeqPacket::pair().map_err(cannot)?;
        let child = start_new_process(executable, theirs).map_err(cannot)?;
        let mut new_process = Self {
            child,
            socket: Arc::new(socket),
            is_committed: false,
        };
        let sent = new_process.socket.send_until(
            &Kind::Offer.message(&offer),
            &inherited.in_order(),
            deadline.at_ns,
        );
        sent.map_err(|error| new_process.describe(&error, deadline))?;
        new_process.wait_for(Kind::Healthy, deadline)?;
        Ok(new_process)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where the master sends the connections.
    pub(super) fn socket(&self) -> Arc<SeqPacket> {
        Arc::clone(&self.socket)
    }

    /// Sends the state, after the connections, and waits until the new process has taken all of it.
    pub(super) fn send_state(
        &mut self,
        bytes: &[u8],
        connections: usize,
        deadline: &Deadline,
    ) -> Result<(), UpgradeError> {
        let sent = send_state(&self.socket, bytes, connections, deadline.at_ns);
        sent.map_err(|error| self.describe(&error, deadline))?;
        self.wait_for(Kind::Taken, deadline)
    }

    /// Commits the upgrade: the new process serves, and lives without this one from here on. On an
    /// error it has ended before.
    ///
    /// The point of no return: a message in its queue cannot be taken back, so from the moment at
    /// which the kernel has accepted Go this process must not touch anything that it has handed
    /// over, whatever becomes of the new one. That is why Go comes last, carries nothing that
    /// could still be refused, and is not answered.
    pub(super) fn commit(mut self, deadline: &Deadline) -> Result<(), UpgradeError> {
        let sent = self
            .socket
            .send_until(&Kind::Go.message(&[]), &[], deadline.at_ns);
        sent.map_err(|error| self.describe(&error, deadline))?;
        self.is_committed = true;
        Ok(())
    }

    /// How it ended, if it has: that is why the connections could not be sent to it.
    pub(super) fn end(&mut self, deadline: &Deadline) -> Option<String> {
        let error = self.socket.receive_until(now_ns()).err()?;
        (error.kind() != io::ErrorKind::TimedOut).then(|| self.describe(&error, deadline))
    }

    fn wait_for(&mut self, wanted: Kind, deadline: &Deadline) -> Result<(), UpgradeError> {
        let message = loop {
            let until_ns = deadline.at_ns.min(now_ns() + LOOK_EVERY_NS);
            match self.socket.receive_until(until_ns) {
                Ok((message, _)) => break message,
                Err(error)
                    if error.kind() == io::ErrorKind::TimedOut && now_ns() < deadline.at_ns =>
                {
                    if deadline.is_given_up.load(Relaxed) {
                        return Err(UpgradeError::ShuttingDown);
                    }
                }
                Err(error) => return Err(self.describe(&error, deadline).into()),
            }
        };
        match Kind::of(&message) {
            Some((kind, _)) if kind == wanted => Ok(()),
            Some((Kind::Refused, sentence)) => Err(self.refusal(sentence).into()),
            Some((Kind::Incompatible, sentence)) => {
                Err(UpgradeError::Incompatible(self.refusal(sentence)))
            }
            _ => Err(format!(
                "unexpected message from the new server (pid {})",
                self.pid()
            )
            .into()),
        }
    }

    fn refusal(&self, sentence: &[u8]) -> String {
        let sentence = sanitise::sentence(&String::from_utf8_lossy(sentence));
        format!("the new server (pid {}) refuses: {sentence}", self.pid())
    }

    /// What became of it.
    fn describe(&mut self, error: &io::Error, deadline: &Deadline) -> String {
        let pid = self.pid();
        match error.kind() {
            io::ErrorKind::TimedOut => {
                format!(
                    "the new server (pid {pid}) was silent for {} and was ended",
                    deadline.shown
                )
            }
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset => {
                // Its end of the socket is gone, so it is ending if it has not ended.
                let _ = self.child.kill();
                let how = self
                    .child
                    .wait()
                    .map_or_else(|error| error.to_string(), |status| status.to_string());
                format!(
                    "the new server (pid {pid}) ended before it had taken over: {how}; \
                     its log has the reason"
                )
            }
            _ => format!("the new server (pid {pid}) cannot be reached: {error}"),
        }
    }
}

impl Drop for NewProcess {
    fn drop(&mut self) {
        if !self.is_committed {
            // Its workers die with it.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
