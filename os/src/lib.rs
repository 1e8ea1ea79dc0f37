//! The operating system: clocks and sleeps, real-time priority, sockets, descriptors that travel
//! between processes, shared memory, processes.
//!
//! A part of Metronome's executables, with no promise of its own: any version may change it.
//!
//! | module | subject |
//! |---|---|
//! | [`clock`] | CLOCK_MONOTONIC and the wall clock, CPU of a thread, sleeps that end on time |
//! | [`realtime`] | real-time threads, and when a thread gives that priority back |
//! | [`cores`] | a core of its own for each pinned thread |
//! | [`socket`], [`tcp_info`] | what the kernel has counted of a TCP connection |
//! | [`received_at`] | when bytes came in, as the kernel noted it |
//! | [`seq_packet`] | messages with descriptors between processes |
//! | [`memory`] | an array that several processes map |
//! | [`process`], [`orphans`] | other processes of ours, and orphans that process 1 inherits |
//! | [`host`], [`cgroup`] | what /proc and /sys report of this host and this process |
//! | [`host_use`] | CPU of the host and of threads, and what was denied to them |
//! | [`privileges`] | giving up rights |
//! | [`files`] | opening without waiting for a reader |
//! | [`folder`] | files in an opened folder, by their names alone |
//! | [`regular_file`] | a file that is read whole, and no FIFO or device |
//! | [`standard_error`], [`standard_output`] | writing without waiting for a reader |
//! | [`terminal`] | size, foreground and Ctrl-Z of a terminal that is drawn on |
//! | [`signals`] | whether a signal is ignored, and ending by one |
//! | [`end_requests`] | which signals are requests to end of their own |
//! | [`hang_ups`] | SIGHUP with its origin, and the controlling terminal |
//! | [`start`], [`environment`], [`needed_calls`] | the first steps of a process |
//! | [`key_file`] | a secret key in a file |
//! | [`temporary_folder`] | a private folder that goes with the process |
//! | [`threads`] | whether the threads that are needed can be had |
//! | [`wake`] | an eventfd that ends a wait in epoll |
//!
//! The only crate with `unsafe`, each with its reason. What rustix offers safely is used directly
//! everywhere; here is the rest, and what more than one of our crates needs. Times are nanoseconds
//! of CLOCK_MONOTONIC. Absent on purpose: async, and any knowledge of runs and packets.

pub mod cgroup;
pub mod clock;
pub mod cores;
pub mod end_requests;
pub mod environment;
pub mod files;
pub mod folder;
pub mod hang_ups;
pub mod host;
pub mod host_use;
pub mod key_file;
pub mod memory;
pub mod needed_calls;
pub mod orphans;
pub mod privileges;
pub mod process;
pub mod realtime;
pub mod received_at;
pub mod regular_file;
pub mod seq_packet;
pub mod signals;
pub mod socket;
pub mod standard_error;
pub mod standard_output;
pub mod start;
pub mod tcp_info;
pub mod temporary_folder;
pub mod terminal;
pub mod threads;
pub mod wake;
