//! The connection of an agent's probes, as a test drives it.

use std::{
    io::{self, Read as _, Write as _},
    net::TcpStream,
};

use metronome_proto::{
    handshake::{Hello, Key, PROBE_CLIENT, Refused},
    packet::{FRAME_BYTES, Frame, Probe, ProbeReply},
    v1,
};

use super::{DEADLINE, Server, agent::now_ns};

/// A connection whose hello was sent.
pub(crate) struct Probes {
    socket: TcpStream,
    next_sequence: u64,
}

/// One probe: when it was sent and its answer was read, and what the server read between, ns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exchange {
    pub(crate) sent_ns: u64,
    pub(crate) server_ns: u64,
    pub(crate) answered_ns: u64,
}

impl Exchange {
    /// What holds on one clock, whatever has happened to the worker.
    #[track_caller]
    pub(crate) fn is_between(&self) {
        let times = [self.sent_ns, self.server_ns, self.answered_ns];
        assert!(times.is_sorted(), "{self:?}");
    }
}

/// The hello of an agent's probes, and its key.
pub(crate) fn hello(prepare: &v1::Prepare, attempt: u8) -> (Hello, Key) {
    let hello = Hello {
        run: prepare.run_id.parse().unwrap(),
        agent: u16::try_from(prepare.agent_index).unwrap(),
        client: PROBE_CLIENT,
        attempt,
    };
    let key = Key::from_bytes(prepare.key.clone().try_into().unwrap());
    (hello, key)
}

impl Probes {
    /// Sends these bytes first, whatever they are.
    pub(crate) fn begin_with(server: &Server, bytes: &[u8]) -> Self {
        let mut socket = TcpStream::connect(&server.data).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket.write_all(bytes).unwrap();
        Self {
            socket,
            next_sequence: 0,
        }
    }

    /// A connection that is admitted.
    pub(crate) fn connect(server: &Server, prepare: &v1::Prepare, attempt: u8) -> Self {
        let (hello, key) = hello(prepare, attempt);
        let mut probes = Self::begin_with(server, &hello.encode(&key));
        assert!(hello.is_acked_by(&probes.read().unwrap(), &key));
        probes
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).unwrap();
    }

    fn read(&mut self) -> io::Result<Frame> {
        let mut frame = [0; FRAME_BYTES];
        self.socket.read_exact(&mut frame)?;
        Ok(frame)
    }

    /// Sends the next probe and reads its answer. An error is the end of the connection.
    pub(crate) fn exchange(&mut self) -> io::Result<Exchange> {
        let probe = Probe {
            sequence: self.next_sequence,
        };
        let sent_ns = now_ns();
        self.socket.write_all(&probe.encode())?;
        let answer = self.read()?;
        let answered_ns = now_ns();
        let answer = ProbeReply::decode(&answer).expect("an answer to a probe");
        assert_eq!(answer.sequence, self.next_sequence, "each once, in order");
        self.next_sequence += 1;
        Ok(Exchange {
            sent_ns,
            server_ns: answer.server_ns,
            answered_ns,
        })
    }

    /// Reads to the end of the connection: the refusal, if the last that came is one.
    pub(crate) fn end(mut self) -> Option<Refused> {
        let mut last = None;
        loop {
            match self.read() {
                Ok(frame) => last = Some(frame),
                Err(error) if is_end(&error) => return last.and_then(|it| Refused::decode(&it)),
                Err(error) => panic!("the connection does not end: {error}"),
            }
        }
    }
}

/// Not a timeout.
fn is_end(error: &io::Error) -> bool {
    let ends = [
        io::ErrorKind::UnexpectedEof,
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::BrokenPipe,
    ];
    ends.contains(&error.kind())
}
