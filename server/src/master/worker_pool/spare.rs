//! The spare: a process that is started, has the ledger and waits for the order to be one of the
//! workers. So the worker that replaces a dead one reads at once, and no process is started while
//! clients wait.
//!
//! There is one at most. A spare that dies is replaced, after a wait that grows as that of a worker
//! does; where the system starts none, workers are started when that is possible again. Absent on
//! purpose: which worker it becomes, and the connections.

use std::{io, rc::Rc, sync::Arc};

use metronome_os::process::Executable;
use rustix::{event::epoll::EventFlags, process::Pid};
use tracing::warn;

use super::{
    deaths::Deaths,
    process::{Process, ProcessSettings, Start},
    starter::Starter,
};
use crate::{
    ipc::FromWorker,
    ledger::Ledger,
    master::events::{Poller, Token},
};

/// Before the next try when a process cannot be started.
const START_AGAIN_NS: u64 = 1_000_000_000;

/// The spare, or its absence.
#[derive(Debug)]
pub(super) struct Spare {
    settings: ProcessSettings,
    poller: Rc<Poller>,
    executable: Arc<Executable>,
    starter: Option<Starter>,
    process: Option<Process>,
    /// It can be none of the workers any more: it ends, or was ended, and is to be reaped.
    is_lost: bool,
    deaths: Deaths,
    start_at_ns: u64,
    /// The last try to start one failed, which has been logged.
    is_refused: bool,
}

impl Spare {
    /// None yet.
    pub(super) fn new(
        settings: ProcessSettings,
        executable: Arc<Executable>,
        poller: Rc<Poller>,
    ) -> Self {
        Self {
            settings,
            poller,
            executable,
            starter: None,
            process: None,
            is_lost: false,
            deaths: Deaths::default(),
            start_at_ns: 0,
            is_refused: false,
        }
    }

    /// Has one started where there is none and it is time. `is_needed`: a worker waits for it, and
    /// has waited long enough itself.
    pub(super) fn start_if_due(&mut self, ledger: &Ledger, is_needed: bool, now_ns: u64) {
        if self
            .starter
            .take_if(|starter| starter.has_ended())
            .is_some()
        {
            let error = io::Error::other("the thread that starts them has ended");
            self.note_refusal(&error, now_ns);
        }
        let is_under_way = self.starter.as_ref().is_some_and(Starter::is_under_way);
        let is_due = now_ns >= self.start_at_ns || is_needed && !self.is_refused;
        if self.process.is_some() || is_under_way || !is_due {
            return;
        }
        if let Err(error) = self.order(ledger) {
            self.note_refusal(&error, now_ns);
        }
    }

    fn order(&mut self, ledger: &Ledger) -> io::Result<()> {
        let start = Start::new(ledger, &self.settings)?;
        if let Some(starter) = &mut self.starter {
            starter.order(start);
            return Ok(());
        }
        let mut starter = Starter::new(Arc::clone(&self.executable))?;
        self.poller
            .add(starter.as_fd(), Token::Starter, EventFlags::IN)?;
        starter.order(start);
        self.starter = Some(starter);
        Ok(())
    }

    fn note_refusal(&mut self, error: &io::Error, now_ns: u64) {
        self.start_at_ns = now_ns + START_AGAIN_NS;
        if !std::mem::replace(&mut self.is_refused, true) {
            warn!("no spare worker can be started: {error}; trying again every second");
        }
    }

    /// Takes over the process that was started. One that is not wanted any more is ended.
    pub(super) fn take_started(&mut self, is_wanted: bool, now_ns: u64) {
        let process = match self.starter.as_mut().and_then(Starter::take) {
            None => return,
            Some(Err(error)) => return self.note_refusal(&error, now_ns),
            Some(Ok(process)) => process,
        };
        self.is_refused = false;
        if !is_wanted {
            return process.abandon();
        }
        let watched = self
            .poller
            .add(&process.messages, Token::SpareChannel, EventFlags::IN)
            .and_then(|()| {
                self.poller
                    .add(&process.pidfd, Token::SpareProcess, EventFlags::IN)
            });
        match watched {
            Ok(()) => {
                self.process = Some(process);
                self.is_lost = false;
            }
            Err(error) => {
                process.abandon();
                self.note_refusal(&error, now_ns);
            }
        }
    }

    /// Takes its messages. True when it is prepared by them.
    pub(super) fn drain_messages(&mut self, has_hung_up: bool) -> bool {
        let Some(process) = &mut self.process else {
            return false;
        };
        let was_prepared = process.is_prepared;
        // It has one thing to report.
        process.is_prepared |= process.messages.receive() == Some(FromWorker::Prepared);
        if has_hung_up {
            process.kill();
            self.poller.remove(&process.messages);
            self.is_lost = true;
        }
        process.is_prepared && !was_prepared && !self.is_lost
    }

    /// Reaps it when it has ended. True when it had not been prepared.
    pub(super) fn reap(&mut self, now_ns: u64) -> bool {
        let ended = self.process.as_mut().and_then(|process| {
            let how = process.try_reap()?;
            Some((how, process.is_quitting))
        });
        let Some((how, is_asked_for)) = ended else {
            return false;
        };
        let Some(process) = self.process.take().filter(|_| !is_asked_for) else {
            return false;
        };
        let (pid, started_ns, was_prepared) =
            (process.pid, process.started_ns, process.is_prepared);
        self.start_at_ns = self.deaths.note(started_ns, now_ns);
        warn!("the spare worker (pid {pid}) ended: {how}");
        !was_prepared
    }

    /// Kills one that is not prepared in time.
    pub(super) fn kill_if_late(&self, now_ns: u64) {
        if let Some(process) = self.process.as_ref().filter(|it| it.is_late(now_ns)) {
            warn!(
                "the spare worker (pid {}) is not ready in time and is killed",
                process.pid
            );
            process.kill();
        }
    }

    /// The spare, which is none any more, where it is prepared and alive: one that has died with
    /// the worker whose place it would take is reaped first.
    pub(super) fn take(&mut self) -> Option<Process> {
        let is_lost = self.is_lost;
        self.process
            .take_if(|process| process.is_prepared && !is_lost && !process.has_ended())
    }

    /// Its process, alive or not yet reaped.
    pub(super) fn pid(&self) -> Option<Pid> {
        self.process.as_ref().map(|process| process.pid)
    }

    /// Whether it has a process, alive or not yet reaped, or will have one in a moment.
    pub(super) fn has_process(&self) -> bool {
        self.process.is_some() || self.is_being_started()
    }

    /// Whether there may be a process whose id is not here yet.
    pub(super) fn is_being_started(&self) -> bool {
        self.starter.as_ref().is_some_and(Starter::is_under_way)
    }

    /// Ends it, without a wait.
    pub(super) fn kill(&mut self) {
        if let Some(process) = &mut self.process {
            process.is_quitting = true;
            process.kill();
            self.is_lost = true;
        }
    }

    /// Ends it and reaps it.
    pub(super) fn stop(&mut self) {
        if let Some(process) = self.process.take() {
            process.abandon();
        }
    }
}

#[cfg(test)]
mod tests {
    use metronome_os::clock::now_ns;

    use super::*;

    const LONG_NS: u64 = 60_000_000_000;

    fn without_process() -> Spare {
        let settings = ProcessSettings {
            accept_raw: false,
            has_handler: false,
            priority: None,
        };
        let executable = Arc::new(Executable::current().unwrap());
        Spare::new(settings, executable, Rc::new(Poller::new().unwrap()))
    }

    fn end(spare: &mut Spare, now_ns: u64) -> bool {
        let process = spare.process.as_ref().unwrap();
        process.kill();
        process.wait(LONG_NS);
        spare.reap(now_ns)
    }

    #[test]
    fn only_one_that_is_prepared_is_taken_and_the_wait_for_the_next_grows_with_each_death() {
        let mut spare = without_process();
        let (now_ns, mut waited_ns) = (now_ns(), 0);
        for _ in 0..3 {
            spare.process = Some(Process::idle(now_ns));
            assert!(spare.take().is_none() && spare.has_process());
            assert!(end(&mut spare, now_ns), "it was not prepared");
            assert!(spare.start_at_ns - now_ns > waited_ns);
            waited_ns = spare.start_at_ns - now_ns;
        }
        let mut process = Process::idle(now_ns);
        process.is_prepared = true;
        spare.process = Some(process);
        spare.take().unwrap().abandon();
        assert!(spare.take().is_none() && !spare.has_process());
    }

    #[test]
    fn one_that_ends_is_not_taken_though_it_was_prepared_and_is_not_reaped() {
        let mut spare = without_process();
        let ways: [fn(&mut Spare); 3] = [
            |spare| spare.kill(),
            |spare| assert!(!spare.drain_messages(true)),
            |spare| {
                let process = spare.process.as_ref().unwrap();
                process.kill();
                process.wait(LONG_NS);
            },
        ];
        for end in ways {
            let mut process = Process::idle(now_ns());
            process.is_prepared = true;
            spare.process = Some(process);
            spare.is_lost = false;
            end(&mut spare);
            assert!(spare.take().is_none() && spare.has_process());
            spare.stop();
        }
    }

    #[test]
    fn a_starter_that_has_ended_is_replaced() {
        let mut spare = without_process();
        let ledger = Ledger::create(crate::ledger::Dimensions { slots: 1 }).unwrap();
        let (now_ns, executable) = (now_ns(), Arc::clone(&spare.executable));
        spare.starter = Some(Starter::ended(executable));
        spare.start_if_due(&ledger, false, now_ns);
        assert!(spare.starter.is_none() && !spare.is_being_started());
        assert_eq!(spare.start_at_ns, now_ns + START_AGAIN_NS);
    }

    #[test]
    fn one_that_is_ended_on_request_is_no_death() {
        let mut spare = without_process();
        spare.process = Some(Process::idle(1));
        spare.kill();
        assert!(!end(&mut spare, 2));
        assert!(!spare.has_process() && spare.start_at_ns == 0);
    }

    #[test]
    fn a_start_that_the_system_refuses_is_tried_again_later_whoever_waits() {
        let mut spare = without_process();
        spare.note_refusal(&io::Error::from(io::ErrorKind::WouldBlock), 5);
        let ledger = Ledger::create(crate::ledger::Dimensions { slots: 1 }).unwrap();
        spare.start_if_due(&ledger, true, 5 + START_AGAIN_NS - 1);
        assert!(!spare.has_process());
    }
}
