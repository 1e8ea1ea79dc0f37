//! Facts that have to be measured: a second of real pacing over loopback, then a burst.
//!
//! The pacing thread does what an agent's does: sleeps until an instant of the schedule, looks at
//! the clock, writes one packet. Times are ns. The host is loaded with less than one core
//! meanwhile.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    thread,
};

use metronome_os::clock::{now_ns, sleep_until, thread_cpu_ns, wake_precisely};
use metronome_os::host::cpu_ticks;
use metronome_proto::histogram::Histogram;
use rustix::process::setpriority_process;

/// The seed's rate: 10 kHz.
const PERIOD_NS: u64 = 100_000;
/// One second's worth: p99.9 of it is the worst of ten.
const PACED_PACKETS: u64 = 10_000;
const BURST_PACKETS: u64 = 50_000;
const CLOCK_READS: u32 = 100_000;
const PACKET: [u8; 32] = [0x58; 32];

/// What was measured.
#[derive(Clone, Debug)]
pub(crate) struct Timing {
    /// From the instant wanted to the instant awake.
    pub(crate) oversleep: Histogram,
    /// One look at the clock.
    pub(crate) clock_read_ns: f64,
    /// CPU to sleep, wake and write one packet.
    pub(crate) wake_and_write_ns: f64,
    /// CPU to write one packet more while awake.
    pub(crate) write_ns: f64,
    /// CPU to be woken by a packet and read it.
    pub(crate) read_ns: f64,
    /// Shares of all cores' time, 0 to 1, during the measurement.
    pub(crate) shares: Option<Shares>,
}

/// Where the time of all cores went.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Shares {
    /// Wanted by this machine and given to another one.
    pub(crate) stolen: f64,
    /// Used by whatever runs here, this measurement included.
    pub(crate) busy: f64,
}

/// Measures for a bit more than a second.
pub(crate) fn measure() -> io::Result<Timing> {
    let before = cpu_ticks();
    let clock_read_ns = cost_of_a_clock_read();
    let (paced, read_cpu_ns) = over_loopback(pace)?;
    let (burst, _) = over_loopback(|stream, _| burst(stream))?;
    let per = |cpu_ns: u64, packets: u64| cpu_ns as f64 / packets as f64;
    Ok(Timing {
        oversleep: paced.oversleep,
        clock_read_ns,
        wake_and_write_ns: per(paced.cpu_ns, PACED_PACKETS),
        write_ns: per(burst.cpu_ns, BURST_PACKETS),
        read_ns: per(read_cpu_ns, PACED_PACKETS),
        shares: before
            .zip(cpu_ticks())
            .and_then(|(before, after)| shares(&before, &after)),
    })
}

/// What the sending thread has found.
#[derive(Default)]
struct Sent {
    oversleep: Histogram,
    cpu_ns: u64,
}

/// Lets `send` write to a connection that another thread reads; the reader's CPU comes second.
fn over_loopback(
    send: impl FnOnce(&mut TcpStream, &mut Histogram) -> io::Result<()> + Send,
) -> io::Result<(Sent, u64)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut ours = TcpStream::connect(listener.local_addr()?)?;
    ours.set_nodelay(true)?;
    let (mut theirs, _) = listener.accept()?;
    thread::scope(|scope| {
        let sender = thread::Builder::new().spawn_scoped(scope, move || {
            as_a_pacing_thread();
            let mut sent = Sent::default();
            let before_ns = thread_cpu_ns();
            let result = send(&mut ours, &mut sent.oversleep);
            sent.cpu_ns = thread_cpu_ns() - before_ns;
            let _ = ours.shutdown(Shutdown::Write);
            result.map(|()| sent)
        })?;
        let reader = thread::Builder::new().spawn_scoped(scope, move || {
            let before_ns = thread_cpu_ns();
            let mut buffer = [0; 64 * 1024];
            while theirs.read(&mut buffer)? > 0 {}
            Ok(thread_cpu_ns() - before_ns)
        })?;
        let ended = |_| io::Error::other("a measuring thread ended early");
        let read_cpu_ns: io::Result<u64> = reader.join().map_err(ended)?;
        Ok((sender.join().map_err(ended)??, read_cpu_ns?))
    })
}

fn as_a_pacing_thread() {
    // Neither is granted everywhere; what follows is measured as it then is.
    wake_precisely();
    let _ = setpriority_process(None, -10);
}

fn pace(stream: &mut TcpStream, oversleep: &mut Histogram) -> io::Result<()> {
    let start_ns = now_ns() + PERIOD_NS;
    for packet in 0..PACED_PACKETS {
        let due_ns = start_ns + packet * PERIOD_NS;
        let mut awake_ns = now_ns();
        // A signal may end a sleep early.
        while awake_ns < due_ns {
            sleep_until(due_ns);
            awake_ns = now_ns();
        }
        oversleep.record(awake_ns - due_ns);
        stream.write_all(&PACKET)?;
    }
    Ok(())
}

fn burst(stream: &mut TcpStream) -> io::Result<()> {
    (0..BURST_PACKETS).try_for_each(|_| stream.write_all(&PACKET))
}

fn cost_of_a_clock_read() -> f64 {
    let start_ns = now_ns();
    let end_ns = (0..CLOCK_READS).fold(start_ns, |latest, _| latest.max(now_ns()));
    (end_ns - start_ns) as f64 / f64::from(CLOCK_READS)
}

fn shares(before: &[u64], after: &[u64]) -> Option<Shares> {
    // Guest time, from the ninth on, is in user time already.
    let spent: Vec<u64> = before
        .iter()
        .zip(after)
        .take(8)
        .map(|(before, after)| after.saturating_sub(*before))
        .collect();
    let &[_, _, _, idle, waiting, _, _, stolen] = &spent[..] else {
        return None;
    };
    let all: u64 = spent.iter().sum();
    let share = |ticks: u64| ticks as f64 / all as f64;
    (all > 0).then(|| Shares {
        stolen: share(stolen),
        busy: share(all - idle - waiting - stolen),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_come_from_what_was_spent_between_two_readings() {
        let before = [100, 0, 100, 1_000, 0, 0, 0, 10, 5, 0];
        let after = [130, 0, 110, 1_050, 0, 0, 0, 20, 9, 0];
        assert_eq!(
            shares(&before, &after),
            Some(Shares {
                stolen: 0.1,
                busy: 0.4
            })
        );
        assert_eq!(shares(&before, &before), None);
        assert_eq!(shares(&[1], &[2]), None);
    }

    #[test]
    fn a_second_of_pacing_is_measured() {
        let timing = measure().unwrap();
        assert_eq!(timing.oversleep.count(), PACED_PACKETS);
        for cost_ns in [
            timing.clock_read_ns,
            timing.wake_and_write_ns,
            timing.write_ns,
            timing.read_ns,
        ] {
            assert!(cost_ns > 0.0, "{timing:?}");
        }
    }
}
