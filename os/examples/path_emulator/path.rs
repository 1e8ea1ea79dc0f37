//! The loop of the path: packets that come, packets that have to leave, commands.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    fs::File,
    io::{self, Write as _},
    os::{fd::AsFd as _, unix::fs::FileExt as _},
};

use metronome_os::clock::{self, now_ns, timespec};
use rustix::event::{PollFd, PollFlags, poll};

use crate::{
    conduct::Direction,
    packet,
    record::Record,
    sleep::Sleep,
    tun::{PACKET_BYTES_MAX, Tun},
};

/// Packets on their way in a direction; what is more is dropped, and counted as failed.
const ON_THEIR_WAY_MAX: usize = 200_000;

/// Packets that are read from one device before those that have to leave are looked at again.
const READS_AT_ONCE: usize = 16;

/// What comes on standard input before a line of it has ended.
const COMMAND_BYTES_MAX: usize = 4_096;

/// How often it looks for commands at least.
const LOOK_NS: u64 = 10_000_000;

/// A packet on its way. The first that has to leave is the least; at one instant, the first that
/// came.
#[derive(Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Waiting {
    leaves_ns: u64,
    number: u64,
    /// How long the path had waited for a core before it was read.
    unread_ns: u64,
    packet: Box<[u8]>,
}

/// From one device to the other one.
#[derive(Debug)]
struct Way {
    direction: Direction,
    record: Record,
    waiting: BinaryHeap<Reverse<Waiting>>,
    numbers: u64,
    /// Nothing arrives before what came before it.
    arrived_ns: u64,
}

impl Way {
    fn new(seed: u64) -> Self {
        Self {
            direction: Direction::new(seed),
            record: Record::default(),
            waiting: BinaryHeap::new(),
            numbers: 0,
            arrived_ns: 0,
        }
    }

    fn admit(&mut self, packet: &[u8], unread_ns: u64) {
        self.arrived_ns = self.arrived_ns.max(now_ns());
        let admitted = if self.direction.is_for(packet::ports(packet)) {
            self.direction.admit(self.arrived_ns, packet.len())
        } else {
            Ok(self.direction.pass(self.arrived_ns))
        };
        let leaves_ns = match admitted {
            Ok(leaves_ns) => leaves_ns,
            Err(dropped) => return self.record.count_dropped(dropped),
        };
        if self.waiting.len() >= ON_THEIR_WAY_MAX {
            return self.record.count_failed();
        }
        self.numbers += 1;
        self.waiting.push(Reverse(Waiting {
            leaves_ns,
            number: self.numbers,
            unread_ns,
            packet: packet.into(),
        }));
    }

    /// Hands on what has to leave by now.
    fn pass_on(&mut self, to: &mut Tun) {
        while let Some(Reverse(first)) = self.waiting.peek() {
            let now_ns = now_ns();
            if first.leaves_ns > now_ns {
                return;
            }
            let Some(Reverse(first)) = self.waiting.pop() else {
                return;
            };
            if !to.send(&first.packet) {
                self.record.count_failed();
                continue;
            }
            let lateness_ns = now_ns - first.leaves_ns + first.unread_ns;
            self.record.count_passed(lateness_ns);
        }
    }

    fn leaves_ns(&self) -> Option<u64> {
        self.waiting.peek().map(|Reverse(first)| first.leaves_ns)
    }
}

/// Both directions, with their devices.
#[derive(Debug)]
pub(crate) struct Path {
    near: Tun,
    far: Tun,
    near_to_far: Way,
    far_to_near: Way,
    command: Vec<u8>,
    /// When it last looked for commands.
    looked_ns: u64,
    sleep: Sleep,
    waits: Waits,
}

impl Path {
    pub(crate) fn new(near: Tun, far: Tun, seed: u64) -> Self {
        Self {
            near,
            far,
            near_to_far: Way::new(seed),
            far_to_near: Way::new(!seed),
            command: Vec::new(),
            looked_ns: 0,
            sleep: Sleep::default(),
            waits: Waits::new(),
        }
    }

    /// Passes packets on until standard input ends.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut packet = vec![0; PACKET_BYTES_MAX];
        let mut unread_ns = 0;
        loop {
            let are_all_read = self.read(&mut packet, unread_ns)?;
            self.near_to_far.pass_on(&mut self.far);
            self.far_to_near.pass_on(&mut self.near);
            // What comes while others are read has waited for no core.
            unread_ns = 0;
            if are_all_read {
                let Some(has_commands) = self.rest()? else {
                    continue;
                };
                unread_ns = self.waits.since_last_ns();
                if has_commands && !self.take_commands()? {
                    return Ok(());
                }
            }
        }
    }

    /// Reads what has come. False where there may be more.
    fn read(&mut self, packet: &mut [u8], unread_ns: u64) -> io::Result<bool> {
        let mut are_all_read = true;
        for (from, way) in [
            (&mut self.near, &mut self.near_to_far),
            (&mut self.far, &mut self.far_to_near),
        ] {
            let mut reads = 0;
            while reads < READS_AT_ONCE
                && let Some(bytes) = from.receive(packet)?
            {
                way.admit(&packet[..bytes], unread_ns);
                reads += 1;
            }
            are_all_read &= reads < READS_AT_ONCE;
        }
        Ok(are_all_read)
    }

    /// Sleeps until a packet comes or is about to leave, or a command comes: true where one has.
    /// `None`: a packet leaves so soon that there is no time to sleep.
    fn rest(&mut self) -> io::Result<Option<bool>> {
        let ways = [&self.near_to_far, &self.far_to_near];
        let leaves_ns = ways.into_iter().filter_map(Way::leaves_ns).min();
        let now_ns = now_ns();
        let wake_ns = self.sleep.wake_ns(leaves_ns.unwrap_or(u64::MAX));
        if wake_ns <= now_ns && now_ns < self.looked_ns + LOOK_NS {
            return Ok(None);
        }
        self.looked_ns = now_ns;
        let rest_ns = wake_ns.saturating_sub(now_ns).min(LOOK_NS);
        let input = io::stdin();
        let mut polled = [
            PollFd::new(&self.near, PollFlags::IN),
            PollFd::new(&self.far, PollFlags::IN),
            PollFd::new(&input, PollFlags::IN),
        ];
        match poll(&mut polled, Some(&timespec(rest_ns))) {
            Ok(0) if rest_ns > 0 => self.sleep.ended(now_ns + rest_ns, clock::now_ns()),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Some(!polled[2].revents().is_empty()))
    }

    /// Does what has come on standard input. False at its end.
    fn take_commands(&mut self) -> io::Result<bool> {
        let mut bytes = [0; COMMAND_BYTES_MAX];
        let input = io::stdin();
        let read = match rustix::io::read(input.as_fd(), &mut bytes) {
            Ok(0) => return Ok(false),
            Ok(read) => read,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(true),
            Err(error) => return Err(error.into()),
        };
        self.command.extend_from_slice(&bytes[..read]);
        while let Some(end) = self.command.iter().position(|byte| *byte == b'\n') {
            let line = Vec::from_iter(self.command.drain(..=end));
            let answer = self.command(String::from_utf8_lossy(&line).trim());
            let mut output = io::stdout();
            writeln!(output, "{answer}")?;
            output.flush()?;
        }
        match self.command.len() {
            0..COMMAND_BYTES_MAX => Ok(true),
            _ => Err(io::Error::other("a command without an end")),
        }
    }

    fn command(&mut self, line: &str) -> String {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "report" => format!(
                r#"{{"near_to_far":{},"far_to_near":{}}}"#,
                self.near_to_far.record.report(),
                self.far_to_near.record.report()
            ),
            "set" => match self.set(rest) {
                Ok(()) => "done".into(),
                Err(sentence) => format!("error: {sentence}"),
            },
            _ => format!("error: there is no command {word:?}"),
        }
    }

    fn set(&mut self, text: &str) -> Result<(), String> {
        let (name, settings) = text.split_once(' ').unwrap_or((text, ""));
        let way = match name {
            "near-to-far" => &mut self.near_to_far,
            "far-to-near" => &mut self.far_to_near,
            _ => return Err(format!("{name:?} is neither near-to-far nor far-to-near")),
        };
        way.direction.set(settings.parse()?, now_ns());
        Ok(())
    }
}

/// How long the thread was ready and had no core, by the kernel's own count.
#[derive(Debug)]
struct Waits {
    /// `None`: this kernel does not count it.
    file: Option<File>,
    total_ns: u64,
}

impl Waits {
    fn new() -> Self {
        let mut waits = Self {
            file: File::open("/proc/thread-self/schedstat").ok(),
            total_ns: 0,
        };
        waits.since_last_ns();
        waits
    }

    /// Since the last call.
    fn since_last_ns(&mut self) -> u64 {
        let mut text = [0; 64];
        let read = self.file.as_ref().map(|file| file.read_at(&mut text, 0));
        let Some(Ok(read)) = read else {
            return 0;
        };
        // CPU, time without a core, turns.
        let total_ns = std::str::from_utf8(&text[..read])
            .ok()
            .and_then(|text| text.split(' ').nth(1)?.parse().ok())
            .unwrap_or(self.total_ns);
        let since_ns = total_ns - self.total_ns.min(total_ns);
        self.total_ns = total_ns;
        since_ns
    }
}
