//! A network that misbehaves, for tests: a path between two networks that treats the packets of
//! each direction on its own.
//!
//! ```text
//! path_emulator NEAR FAR NAMESPACE SEED
//! ```
//!
//! Makes the TUN device NEAR in its own network and FAR in that of NAMESPACE, a file such as
//! /proc/PID/ns/net; the caller gives them addresses. What is sent into one device comes
//! out of the other one. Since it is packets that are dropped, held and overtaken, TCP at both ends
//! meets loss and reordering as on a real network. Commands come line by line on standard input,
//! and each is answered by one line:
//!
//! ```text
//! set near-to-far delay_us=5000 loss_ppm=10000    the settings of a direction: see `conduct`
//! set far-to-near bunch_us=20000 port=8888
//! report                                          what both directions have done since
//! ```
//!
//! It ends with its standard input, and the devices with it. One real-time thread, where that is
//! granted; it sleeps until a packet comes or one is about to leave.

mod conduct;
mod packet;
mod path;
mod record;
mod sleep;
mod tun;

use std::{
    env,
    fs::File,
    io::{self, ErrorKind, Write as _},
    os::fd::AsFd as _,
    process::ExitCode,
};

use rustix::{
    process::{Resource, Rlimit},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

use crate::{path::Path, tun::Tun};

/// Above the threads of an agent and of a server, which would delay the path else.
const PRIORITY: u8 = 5;

/// The longest that a real-time thread may run without a pause, µs: those of a busy path have some
/// every millisecond.
const RUN_ON_MAX: Rlimit = Rlimit {
    current: Some(1_000_000),
    maximum: Some(1_000_000),
};

fn main() -> ExitCode {
    match run(&Vec::from_iter(env::args().skip(1))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("path_emulator: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> io::Result<()> {
    let usage = || {
        let text = "usage: path_emulator NEAR FAR NAMESPACE SEED";
        io::Error::new(ErrorKind::InvalidInput, text)
    };
    let [near, far, namespace, seed] = arguments else {
        return Err(usage());
    };
    let seed = seed.parse().map_err(|_| usage())?;
    let near = Tun::open(near)?;
    // The device belongs to the network in which it was opened, and this process to no other one
    // again.
    let namespace = File::open(namespace)?;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
    let far = Tun::open(far)?;
    // A fault of this program must not take a core for good: the kernel ends it once the thread has
    // run for so long without a pause.
    rustix::process::setrlimit(Resource::Rttime, RUN_ON_MAX)?;
    // Where it is not granted the path is late at times, which its report shows.
    let _ = set_thread_priority_and_policy(
        thread_native_id(),
        ThreadPriority::Crossplatform(PRIORITY.try_into().expect("a priority below 100")),
        ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::RoundRobin),
    );
    metronome_os::clock::wake_precisely();
    rustix::io::ioctl_fionbio(io::stdin(), true)?;
    println!("ready");
    io::stdout().flush()?;
    Path::new(near, far, seed).run()
}
