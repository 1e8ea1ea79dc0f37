//! What a peer makes of packets that ask for a reply.

use std::{io::Write as _, net::TcpStream};

use metronome_proto::packet::{FLAG_ECHO, FRAME_BYTES, Packet, Reply};
use rustix::net::{SendFlags, send};

/// How a peer replies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Replying {
    /// To each packet that asks, at once.
    Properly,
    /// To all of them, behind the last packet.
    AtTheEnd,
    /// To none.
    Never,
    /// To each twice.
    Twice,
    /// Each byte in a write of its own.
    InSingleBytes,
    /// With bytes without a meaning to the packet of this number among those that ask, from 0.
    WithGarbage(u64),
    /// With bytes without a meaning, as many as the connection takes.
    WithoutEnd,
    /// With the name of another client.
    AsAnother,
}

/// The replies of one connection.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    /// Packets that asked for one.
    pub(crate) asked: u64,
    kept: Vec<u8>,
}

impl Replies {
    /// Replies to a packet, if it asks. An agent that is gone gets none.
    pub(crate) fn reply(&mut self, stream: &mut TcpStream, how: Replying, packet: &Packet) {
        if packet.flags & FLAG_ECHO == 0 {
            return;
        }
        let number = self.asked;
        self.asked += 1;
        let reply = Reply::to(packet);
        let frame = reply.encode();
        let _ = match how {
            Replying::Never => Ok(()),
            Replying::AtTheEnd => {
                self.kept.extend(frame);
                Ok(())
            }
            Replying::Twice => stream.write_all([frame, frame].as_flattened()),
            Replying::InSingleBytes => frame.chunks(1).try_for_each(|byte| stream.write_all(byte)),
            Replying::WithGarbage(at) if at == number => stream.write_all(&[7; FRAME_BYTES]),
            Replying::WithoutEnd => {
                while send(&*stream, &[7; 65_536], SendFlags::DONTWAIT).is_ok() {}
                Ok(())
            }
            Replying::AsAnother => {
                let client = reply.client + 1;
                stream.write_all(&Reply { client, ..reply }.encode())
            }
            Replying::Properly | Replying::WithGarbage(_) => stream.write_all(&frame),
        };
    }

    /// Sends what was kept until behind the last packet.
    pub(crate) fn send_kept(&mut self, stream: &mut TcpStream) {
        let _ = stream.write_all(&self.kept);
    }
}
