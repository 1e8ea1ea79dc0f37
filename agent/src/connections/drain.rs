//! The end of a run's connections: send the end, close the writing side, wait for the authenticated
//! count.
//!
//! All clients are ended at once, in one epoll loop. A client without an answer in time gets an
//! error in its record. A raw client has no end frame: it closes its side and waits a moment for
//! the peer to close too, and for its kernel to acknowledge the last packet. A refusal among the
//! peer's first bytes is a Metronome server's, which drops the packets of a client that it refuses.
//!
//! The connection of a client whose packets ask for replies is read by the reader of replies until
//! its last frame, which is handed on: so every reply before that is counted, at its right time.

use std::io;

use metronome_os::clock::{self, SECOND_NS, timespec};
use metronome_proto::{
    handshake::Refused,
    limits::STOPPED_END_TIME_MAX,
    packet::{FRAME_BYTES, Frame},
    v1::FailureCode,
};
use rustix::{buffer::spare_capacity, event::epoll, io::Errno};

use crate::{
    load::{
        client::{Client, Credentials},
        replies::reader::{ReplyReader, StreamEnd},
        send_buffer::SendBuffer,
    },
    net::{error_text::within_sentence, socket_error::system_code},
    stop_signal::{CHECK_EVERY_NS, StopMode, StopSignal},
};

/// Longest time for all ends of an authenticated run together, ns.
const END_NS_MAX: u64 = 5 * SECOND_NS;
/// The same when the run was stopped: the server does not wait longer for the report, ns.
const STOPPED_END_NS_MAX: u64 = STOPPED_END_TIME_MAX.as_nanos() as u64;
/// Longest time for raw peers to close, ns.
const RAW_END_NS_MAX: u64 = 2 * SECOND_NS;
/// Longest time when the process is about to end, ns.
const ABORTED_END_NS_MAX: u64 = 3 * SECOND_NS / 2;
/// When the run has no server any more, the longest time for the packets themselves, ns: load ends
/// 0.2 s after the lease, also what the kernel holds for a slow path. A thread takes up to
/// [`CHECK_EVERY_NS`] of that to find the end of the lease, and an acknowledgement may be delayed.
const ORPHANED_PACKETS_NS_MAX: u64 = SECOND_NS / 10;
/// What a FIN counts among the bytes that the kernel has acknowledged.
const FIN_BYTES: usize = 1;
/// Most clients that are handled between two readings of the clock.
const EVENTS_PER_WAIT: usize = 256;
/// Reads of one client for one event.
const READS_AT_ONCE: u32 = 64;
/// What is ready is not a connection: the reader of replies has read last frames.
const STREAM_ENDS: u64 = u64::MAX;

/// Ends every connection that still works, and completes the records of the clients, which have
/// rising indices. `replies` reads those whose packets ask for replies, and goes on meanwhile.
pub(crate) fn drain(
    clients: &mut [Client],
    stop_signal: &StopSignal,
    replies: Option<&ReplyReader>,
) {
    let mut send_buffer = SendBuffer::new();
    let mut endings: Vec<Ending<'_>> = clients
        .iter_mut()
        .filter(|client| !client.is_broken())
        .map(Ending::new)
        .collect();
    let waited = end_all(&mut endings, stop_signal, replies, &mut send_buffer);
    let problem = waited.err().map(|error| Problem {
        code: system_code(&error),
        sentence: format!(
            "its end could not be waited for: {}",
            within_sentence(&error)
        ),
    });
    for ending in endings.iter_mut().filter(|ending| !ending.is_done) {
        ending.expire(problem.as_ref(), &mut send_buffer);
    }
}

/// Advances every client that can go on, until all are done or time is up.
fn end_all(
    endings: &mut [Ending<'_>],
    stop_signal: &StopSignal,
    replies: Option<&ReplyReader>,
    send_buffer: &mut SendBuffer,
) -> io::Result<()> {
    let begun_ns = clock::now_ns();
    let readiness = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    if let Some(replies) = replies {
        let data = epoll::EventData::new_u64(STREAM_ENDS);
        epoll::add(&readiness, replies.has_ends(), data, epoll::EventFlags::IN)?;
    }
    for (number, ending) in endings.iter_mut().enumerate() {
        // Edge-triggered: each ending goes as far as it can whenever something has changed.
        let changes = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
        epoll::add(
            &readiness,
            &ending.client.connection,
            epoll::EventData::new_u64(number as u64),
            changes,
        )?;
        ending.advance(send_buffer);
    }
    let mut events = Vec::with_capacity(EVENTS_PER_WAIT);
    let mut packets_may_take_longer = true;
    loop {
        let left_ns = time_left_ns(endings, begun_ns, stop_signal);
        if left_ns == 0 {
            return Ok(());
        }
        let is_orphaned = stop_signal.orphaned().is_some();
        let taken_ns = clock::now_ns().saturating_sub(begun_ns);
        if packets_may_take_longer && is_orphaned && taken_ns >= ORPHANED_PACKETS_NS_MAX {
            packets_may_take_longer = false;
            give_up_packets(endings, send_buffer);
        }
        let nap = timespec(left_ns.min(CHECK_EVERY_NS));
        events.clear();
        match epoll::wait(&readiness, spare_capacity(&mut events), Some(&nap)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if events.is_empty() {
            // What a peer's kernel acknowledges is no event.
            endings
                .iter_mut()
                .for_each(|ending| ending.advance(send_buffer));
        }
        for event in &events {
            let number = event.data.u64();
            if let Some(ending) = endings.get_mut(number as usize) {
                ending.advance(send_buffer);
            } else if let Some(replies) = replies.filter(|_| number == STREAM_ENDS) {
                hand_on(replies, endings, send_buffer);
            }
        }
    }
}

/// Gives up what goes on with packets. Those that wait for an answer alone send no more load.
fn give_up_packets(endings: &mut [Ending<'_>], send_buffer: &mut SendBuffer) {
    let undone = endings.iter_mut().filter(|ending| !ending.is_done);
    for ending in undone {
        if !ending.client.packets_have_arrived() {
            ending.expire(None, send_buffer);
        }
    }
}

/// Hands what the reader of replies has read last of each connection on to its ending. That of a
/// client which was broken before has none.
fn hand_on(replies: &ReplyReader, endings: &mut [Ending<'_>], send_buffer: &mut SendBuffer) {
    for (client, stream_end) in replies.ended() {
        let position = endings.binary_search_by_key(&client, |ending| ending.client.index());
        if let Some(ending) = position.ok().and_then(|at| endings.get_mut(at)) {
            ending.stream_end = Some(stream_end);
            ending.advance(send_buffer);
        }
    }
}

fn time_left_ns(endings: &[Ending<'_>], begun_ns: u64, stop_signal: &StopSignal) -> u64 {
    let Some(ending) = endings.iter().find(|ending| !ending.is_done) else {
        return 0;
    };
    let now_ns = clock::now_ns();
    let allowed_ns = match (stop_signal.requested(now_ns), &ending.client.credentials) {
        (Some(StopMode::Abort), _) => ABORTED_END_NS_MAX,
        (Some(StopMode::Drain), Some(_)) => STOPPED_END_NS_MAX,
        (None, Some(_)) => END_NS_MAX,
        (None | Some(StopMode::Drain), None) => RAW_END_NS_MAX,
    };
    begun_ns.saturating_add(allowed_ns).saturating_sub(now_ns)
}

/// Why the end of a client is not complete.
struct Problem {
    code: FailureCode,
    sentence: String,
}

impl Problem {
    /// The server has not acknowledged the end: not in time, or by another frame.
    fn not_acknowledged(sentence: &str) -> Self {
        Self {
            code: FailureCode::EndNotAcknowledged,
            sentence: sentence.into(),
        }
    }
}

impl From<io::Error> for Problem {
    /// The connection broke.
    fn from(error: io::Error) -> Self {
        Self {
            code: FailureCode::ConnectionBroken,
            sentence: format!(
                "the connection broke at its end: {}",
                within_sentence(&error)
            ),
        }
    }
}

/// The state of one client at its end.
struct Ending<'a> {
    client: &'a mut Client,
    step: Step,
    answer: Frame,
    answer_bytes: usize,
    /// Where another thread reads the connection: how that ended.
    stream_end: Option<StreamEnd>,
    /// Nothing is left to do, in success or failure.
    is_done: bool,
}

enum Step {
    /// The last packet was written in part; its rest must go first.
    FinishPartial,
    /// The end frame goes, of the size of the client's packets; `taken` bytes of it have gone.
    End { frame: Vec<u8>, taken: usize },
    /// Nothing more to send; the answer is awaited.
    Listen,
}

impl<'a> Ending<'a> {
    fn new(client: &'a mut Client) -> Self {
        Self {
            client,
            step: Step::FinishPartial,
            answer: [0; FRAME_BYTES],
            answer_bytes: 0,
            stream_end: None,
            is_done: false,
        }
    }

    /// Does what can be done without waiting.
    fn advance(&mut self, send_buffer: &mut SendBuffer) {
        if self.is_done {
            return;
        }
        match self.try_advance(send_buffer) {
            Ok(false) => {}
            Ok(true) => {
                self.client.read_kernel_acknowledged();
                self.is_done = true;
            }
            Err(problem) => {
                self.client
                    .fail(problem.code, &problem.sentence, send_buffer);
                self.is_done = true;
            }
        }
    }

    /// Returns whether the end is complete, or what is wrong with it.
    fn try_advance(&mut self, send_buffer: &mut SendBuffer) -> Result<bool, Problem> {
        if matches!(self.step, Step::FinishPartial) {
            if !self.client.finish_partial(send_buffer)? {
                return Ok(false);
            }
            self.step = match &self.client.credentials {
                Some(Credentials { hello, key }) => {
                    let size = self.client.packet_size();
                    let header = hello.end(self.client.sent(), size, key);
                    Step::End {
                        frame: [&header, size.zeros()].concat(),
                        taken: 0,
                    }
                }
                None => self.close_write()?,
            };
        }
        if let Step::End { frame, taken } = &mut self.step {
            let more = self.client.connection.send(&frame[*taken..])?;
            self.client.note_closing(more);
            *taken += more;
            if *taken < frame.len() {
                return Ok(false);
            }
            self.step = self.close_write()?;
        }
        self.listen()
    }

    fn close_write(&mut self) -> io::Result<Step> {
        self.client.connection.close_write()?;
        self.client.note_closing(FIN_BYTES);
        Ok(Step::Listen)
    }

    /// Receives what has come of the answer. Returns whether it is complete.
    fn listen(&mut self) -> Result<bool, Problem> {
        let Some(credentials) = self.client.credentials else {
            return self.listen_raw();
        };
        if self.client.echo.is_read_elsewhere {
            return self.take_stream_end(&credentials);
        }
        match self
            .client
            .connection
            .receive(&mut self.answer[self.answer_bytes..])?
        {
            None => return Ok(false),
            Some(0) => return self.closed(),
            Some(taken) => self.answer_bytes += taken,
        }
        if self.answer_bytes < FRAME_BYTES {
            return Ok(false);
        }
        let answer = self.answer;
        self.take_answer(&answer, &credentials)
    }

    /// Takes what the reader of replies has read last, if it has. Returns whether that is the
    /// answer.
    fn take_stream_end(&mut self, credentials: &Credentials) -> Result<bool, Problem> {
        match self.stream_end.take() {
            None => Ok(false),
            Some(StreamEnd::Frame(frame)) => self.take_answer(&frame, credentials),
            Some(StreamEnd::Closed) => {
                self.stream_end = Some(StreamEnd::Closed);
                self.closed()
            }
            Some(StreamEnd::Broken(error)) => Err(error.into()),
        }
    }

    /// The peer has closed its side without an answer.
    fn closed(&mut self) -> Result<bool, Problem> {
        match self.peer_took_all()? {
            true => Err(Problem::not_acknowledged(
                "the server closed the connection without an end-ack",
            )),
            false => Ok(false),
        }
    }

    fn take_answer(
        &mut self,
        answer: &Frame,
        Credentials { hello, key }: &Credentials,
    ) -> Result<bool, Problem> {
        if let Some(received) = hello.open_end_ack(answer, key) {
            self.client.acknowledge(received);
            return Ok(true);
        }
        Err(match Refused::decode(answer) {
            Some(refused) => Problem {
                code: refused.code(),
                sentence: format!("the server refused the end: {refused}"),
            },
            None => Problem::not_acknowledged(
                "the server's last frame is no end-ack of this connection",
            ),
        })
    }

    /// Whether the kernel of a peer that has closed its side has acknowledged all, the end too. A
    /// peer that is gone resets the connection when more comes: then it broke, at whatever moment
    /// that is found, in the load or at its end.
    fn peer_took_all(&mut self) -> Result<bool, Problem> {
        match self.client.connection.take_error()? {
            Some(error) => Err(error.into()),
            None => Ok(self.client.has_arrived()),
        }
    }

    /// Bytes of a raw peer have no meaning, but for a refusal at their beginning. Returns whether
    /// the peer has closed and its kernel has every packet.
    fn listen_raw(&mut self) -> Result<bool, Problem> {
        // A peer that sends without end must not keep the thread from the other clients.
        for _ in 0..READS_AT_ONCE {
            let mut bytes = [0; 4096];
            let taken = match self.client.connection.receive(&mut bytes)? {
                None => return Ok(false),
                Some(0) => return self.peer_took_all(),
                Some(taken) => taken,
            };
            let room = &mut self.answer[self.answer_bytes..];
            if room.is_empty() {
                continue;
            }
            let first = taken.min(room.len());
            room[..first].copy_from_slice(&bytes[..first]);
            self.answer_bytes += first;
            if self.answer_bytes < FRAME_BYTES {
                continue;
            }
            if let Some(refused) = Refused::decode(&self.answer) {
                return Err(Problem {
                    code: refused.code(),
                    sentence: format!("the server refused the connection: {refused}"),
                });
            }
        }
        Ok(false)
    }

    /// Gives up waiting, for a `problem` or because time is up.
    fn expire(&mut self, problem: Option<&Problem>, send_buffer: &mut SendBuffer) {
        self.is_done = true;
        let last_bytes = "the last bytes were not taken in time";
        let late = match (&self.step, self.client.credentials) {
            (Step::Listen, None) => return self.client.leave(),
            (Step::Listen, Some(_)) => Problem::not_acknowledged("no end-ack came in time"),
            (_, _) => Problem::not_acknowledged(last_bytes),
        };
        let Problem { code, sentence } = problem.unwrap_or(&late);
        self.client.fail(*code, sentence, send_buffer);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read as _,
        net::{TcpListener, TcpStream},
    };

    use metronome_proto::{
        handshake::{Hello, Key},
        run_id::RunId,
        schedule::Schedule,
    };

    use super::*;
    use crate::{
        load::packets::Packets,
        net::connection::Connection,
        stop_signal::{Lease, Orphaned},
    };

    /// A client that has sent as much as the kernel takes to a peer that does not read, and it.
    fn client_and_peer(send_buffer: &mut SendBuffer) -> (Client, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let deadline_ns = clock::now_ns() + 5 * SECOND_NS;
        let opened = Connection::open(address, deadline_ns, &StopSignal::without_lease());
        let hello = Hello {
            run: RunId::from_bits(7),
            agent: 0,
            client: 3,
            attempt: 1,
        };
        let key = Key::from_bytes([7; 32]);
        let credentials = Credentials { hello, key };
        let mut client = Client::new(opened.unwrap(), 3, Some(credentials), 1, Packets::default());
        // More than any kernel takes.
        let schedule = Schedule::constant(1, 1_000_000_000, 1, 10_000_000);
        client.set_schedule(schedule.into(), 0);
        loop {
            let sent_before = client.sent();
            client.send_due(10_000_000, 1, send_buffer);
            if client.sent() == sent_before {
                break;
            }
        }
        (client, listener.accept().unwrap().0)
    }

    #[test]
    fn a_run_without_a_server_gives_up_at_once_what_has_not_arrived() {
        let lease_over = StopSignal::new(Lease {
            from_ns: 0,
            length_ns: 1,
        });
        let not_listed = StopSignal::without_lease();
        not_listed.orphan(Orphaned::NotListed);
        for stop_signal in [lease_over, not_listed] {
            let mut send_buffer = SendBuffer::new();
            let (client, mut peer) = client_and_peer(&mut send_buffer);
            let mut clients = [client];
            let begun_ns = clock::now_ns();
            drain(&mut clients, &stop_signal, None);
            let taken_ns = clock::now_ns() - begun_ns;
            assert!(taken_ns < ABORTED_END_NS_MAX, "it waited for {taken_ns} ns");
            let record = clients[0].record();
            let code = record.failure.map(|failure| failure.code());
            assert_eq!(code, Some(FailureCode::EndNotAcknowledged));
            drop(clients);
            let error = peer.read_to_end(&mut Vec::new()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        }
    }

    #[test]
    fn a_run_without_a_server_may_wait_for_the_answer_to_packets_that_have_arrived() {
        let mut send_buffer = SendBuffer::new();
        let (mut client, mut peer) = client_and_peer(&mut send_buffer);
        client.skip_backlog(&mut send_buffer);
        let peer = std::thread::spawn(move || {
            let read = peer.read_to_end(&mut Vec::new());
            std::thread::sleep(std::time::Duration::from_nanos(2 * ORPHANED_PACKETS_NS_MAX));
            (read, peer.shutdown(std::net::Shutdown::Write))
        });
        let stop_signal = StopSignal::without_lease();
        stop_signal.orphan(Orphaned::NotListed);
        let mut clients = [client];
        drain(&mut clients, &stop_signal, None);
        let failure = clients[0].record().failure.unwrap();
        let closed = "the server closed the connection without an end-ack";
        assert_eq!(failure.sentence, closed);
        let (read, shut_down) = peer.join().unwrap();
        assert!(read.is_ok() && shut_down.is_ok());
    }

    #[test]
    fn the_load_of_a_run_without_a_server_ends_in_time() {
        const { assert!(CHECK_EVERY_NS + ORPHANED_PACKETS_NS_MAX < SECOND_NS / 5) };
    }
}
