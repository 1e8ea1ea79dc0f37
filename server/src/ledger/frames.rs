//! Frames in shared memory: the bytes that a connection receives, those of a split frame that lie
//! there until the rest has come, and the replies that it is sent.
//!
//! All of it is words. A frame of 32 bytes begins at a multiple of 32; one of another size begins
//! at any byte, so all words around it are read.

use std::{
    ops::Range,
    sync::atomic::{AtomicU64, Ordering},
};

use metronome_proto::{
    packet::{FRAME_BYTES, Frame},
    packet_size::PacketSize,
    train::{FRAME_WORDS, FrameWords},
};
use zerocopy::{FromBytes, IntoBytes as _};

use super::commit_writer::CommitWriter;

/// Most bytes of one receive, with the bytes of a split packet in front: 2,048 frames.
pub(crate) const BUFFER_BYTES: usize = 64 * 1024;

/// Batches that are still read of a connection that is cut: 4 MiB, or 0.5 MiB of a client that asks
/// for a reply to each packet, either of them more than its socket buffer.
pub(crate) const BATCHES_AFTER_CUT: usize = 64;

/// Frames that may be pending on a connection.
pub(crate) const REPLY_QUEUE_FRAMES: usize = 256;

const WORD_BYTES: usize = size_of::<u64>();

/// Words of the largest frame.
pub(super) const FRAME_WORDS_MAX: usize = PacketSize::MAX.bytes() / WORD_BYTES;

const _: () = assert!(PacketSize::MAX.bytes().is_multiple_of(WORD_BYTES));

/// Received bytes. Frames of 32 begin at every 32nd, those of another size one behind the other.
#[derive(Debug, FromBytes)]
#[repr(C, align(4096))]
pub(crate) struct Buffer(pub(crate) [AtomicU64; BUFFER_BYTES / WORD_BYTES]);

const _: () = assert!(size_of::<Buffer>() == BUFFER_BYTES);

impl Buffer {
    /// The frame at a position of 0 to 2,047.
    #[inline]
    pub(crate) fn frame(&self, position: usize) -> Frame {
        frame_at(&self.0, position)
    }

    /// The frames at these positions, as words.
    #[inline]
    pub(super) fn frames(&self, positions: Range<usize>) -> impl Iterator<Item = FrameWords> {
        let words = &self.0[positions.start * FRAME_WORDS..positions.end * FRAME_WORDS];
        let frames = words.as_chunks::<FRAME_WORDS>().0.iter();
        frames.map(|frame| std::array::from_fn(|n| frame[n].load(Ordering::Relaxed)))
    }

    /// Writes a frame of 32 bytes to a position.
    pub(crate) fn set_frame(&self, position: usize, frame: &Frame, writer: &impl CommitWriter) {
        set_frame(&self.0, position, frame, writer);
    }

    /// The bytes from byte `at` on, as many as a frame has at most; `at + bytes` is within the
    /// buffer. `space` takes the words around them.
    #[inline]
    pub(super) fn bytes<'s>(&self, at: usize, bytes: usize, space: &'s mut Space) -> &'s [u8] {
        let words = &self.0[at / WORD_BYTES..(at + bytes).div_ceil(WORD_BYTES)];
        for (taken, word) in space.0.iter_mut().zip(words) {
            *taken = word.load(Ordering::Relaxed);
        }
        &space.0.as_bytes()[at % WORD_BYTES..][..bytes]
    }

    /// Puts the bytes of a split frame at the beginning.
    pub(super) fn set_partial(
        &self,
        partial: &PartialFrame,
        bytes: usize,
        writer: &impl CommitWriter,
    ) {
        let words = partial.0.iter().take(bytes.div_ceil(WORD_BYTES));
        for (to, word) in self.0.iter().zip(words) {
            writer.store(to, word.load(Ordering::Relaxed));
        }
    }
}

/// Room for the words around the bytes of the largest frame, wherever it begins.
pub(super) struct Space([u64; FRAME_WORDS_MAX + 1]);

impl Space {
    #[inline]
    pub(super) fn new() -> Self {
        Self([0; FRAME_WORDS_MAX + 1])
    }
}

/// The bytes of a split frame that has more than 32.
#[derive(Debug, FromBytes)]
#[repr(C)]
pub(super) struct PartialFrame(pub(super) [AtomicU64; FRAME_WORDS_MAX]);

impl PartialFrame {
    /// Keeps bytes of a frame.
    pub(super) fn set(&self, bytes: &[u8], writer: &impl CommitWriter) {
        for (word, part) in self.0.iter().zip(bytes.chunks(WORD_BYTES)) {
            let mut kept = [0; WORD_BYTES];
            kept[..part.len()].copy_from_slice(part);
            writer.store(word, u64::from_ne_bytes(kept));
        }
    }
}

/// Frames to be sent, as a ring: the frame at byte n of everything that this connection is sent
/// lies at n modulo the ring. So two numbers, bytes queued and bytes sent, give what is pending to
/// a process that takes over.
#[derive(Debug, FromBytes)]
#[repr(C, align(64))]
pub(super) struct ReplyQueue([AtomicU64; REPLY_QUEUE_FRAMES * FRAME_WORDS]);

impl ReplyQueue {
    /// Puts a frame at byte `at`, a multiple of 32, of what the connection is sent in all.
    pub(super) fn set(&self, at: u64, frame: &Frame, writer: &impl CommitWriter) {
        set_frame(&self.0, position_in_queue(at), frame, writer);
    }

    /// The frame around byte `at` of what the connection is sent in all.
    pub(super) fn frame(&self, at: u64) -> Frame {
        frame_at(&self.0, position_in_queue(at))
    }
}

fn position_in_queue(at: u64) -> usize {
    (at / FRAME_BYTES as u64 % REPLY_QUEUE_FRAMES as u64) as usize
}

#[inline]
fn frame_at(words: &[AtomicU64], position: usize) -> Frame {
    let mut frame = [0; FRAME_BYTES];
    let words = &words[position * FRAME_WORDS..][..FRAME_WORDS];
    for (bytes, word) in frame.chunks_exact_mut(WORD_BYTES).zip(words) {
        bytes.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
    }
    frame
}

fn set_frame(words: &[AtomicU64], position: usize, frame: &Frame, writer: &impl CommitWriter) {
    let words = &words[position * FRAME_WORDS..][..FRAME_WORDS];
    for (bytes, word) in frame.chunks_exact(WORD_BYTES).zip(words) {
        let mut value = [0; WORD_BYTES];
        value.copy_from_slice(bytes);
        writer.store(word, u64::from_ne_bytes(value));
    }
}
