//! What each line of a summary is, what a good value is, and what to do about another one: the one
//! source of `--explain`. A line has a label of this list, so that none is without a paragraph.

/// What a line of a summary is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Label {
    Result,
    Why,
    Next,
    Groups,
    Plan,
    Packets,
    Replies,
    Rate,
    Quantiles,
    Lateness,
    Transit,
    Latency,
    OneWay,
    Queueing,
    Spread,
    RttFromDue,
    RttFromWrite,
    ProbeRtt,
    Clocks,
    NoTime,
    Objectives,
    Limit,
    Cpu,
    Workers,
    Network,
    Host,
    Checks,
}

/// Each label with the word at the beginning of its line and its paragraph, in the order of
/// [`Label`]. The first line, the reasons and the head of the times have names instead of a word.
const LINES: [(Label, &str, &str); Label::Checks as usize + 1] = [
    (
        Label::Result,
        "first line",
        "Two answers. HELD or NOT HELD: did the system under test do what was asked of it? valid, \
         partial or invalid: may the figures be believed? The one in capitals is that from which \
         the exit code follows. `valid to p99` is a run whose generator was late with a few \
         packets, so that latency above p99 is not known. Then the id of the run, and the load: \
         clients × the rate or the shape of each × time, the bytes of a packet and what they are, \
         how many packets go into one write to a connection and how often one asks for a reply, \
         the seed of random arrivals and the warm-up. \
         docs/loads.md describes the shapes. Do not use the figures of an invalid run; \
         docs/verdict.md has what each verdict means.",
    ),
    (
        Label::Why,
        "reasons",
        "Why the run did not hold, or may not be believed in whole: an objective that was missed, \
         a reason or a failure with its code, or a note, which changes nothing. Notes are \
         no fault. docs/verdict.md lists the codes of reasons and notes, docs/failures.md those of \
         failures.",
    ),
    (
        Label::Next,
        "next",
        "The way out of what stands above it: what to change, or where to look next.",
    ),
    (
        Label::Groups,
        "groups",
        "The parts of the load, each with a row: clients × when each of them sends, packets per \
         second received, lost and skipped, and the times of its own packets. batch, phase and \
         target stand there where a group has another than the default. A group is no better than \
         its own row, whatever the figures of all together are.",
    ),
    (
        Label::Plan,
        "plan",
        "What the run is to be judged by, beside the default objectives, and what follows when an \
         agent is lost.",
    ),
    (
        Label::Packets,
        "packets",
        "Each packet is counted once at either end. `scheduled = sent = received` is the best: \
         nothing was left out and nothing was lost. Where they differ each stands for itself. \
         What follows is each counter that this run shows; one that is 0 or adds nothing is left \
         out.",
    ),
    (
        Label::Replies,
        "replies",
        "Of the packets that asked for a reply, with --echo-every, each has one that was read, is \
         counted as dropped, or stays unanswered. `asked for = read` is the best. Dropped replies \
         are those of packets behind 254 others whose replies were not sent yet: the client, or \
         the path back, is slower than the packets. At the clean end of a client none is \
         unanswered.",
    ),
    (
        Label::Rate,
        "rate",
        "Packets per second of all clients together: received, of those asked for. Where packets \
         have more than 32 bytes their bytes per second stand there, too, with the headers and \
         without those of TCP. kept up is the \
         share of the packets that was read in time, at the pace of the schedule: 99.9 % is what \
         the default objective asks for. Less is a path or a server that does not hold the load: \
         offer less, or see docs/tuning.md for the receiver's side.",
    ),
    (
        Label::Quantiles,
        "p50 … max",
        "Of each time: half of the packets took no longer than p50, 99.9 % no longer than p99.9, \
         and none longer than max. A figure is – where it is not known: p99.9 needs 10,000 \
         packets, and behind a late generator the highest ones are left out.",
    ),
    (
        Label::Lateness,
        "lateness",
        "From the instant when a packet was due to its write: by this the generator was late. It \
         is about the measuring host, not about what is measured. p99 below 0.1 ms is usual with \
         real-time priority, 0.5 to 5 ms without; far above 1 ms the run becomes invalid. Give \
         the agent real-time priority, a core of its own, or fewer clients: `benchctl doctor`.",
    ),
    (
        Label::Transit,
        "transit",
        "From the write to the read by a worker of the server: the network and the server. On one \
         host a p99 of 0.1 to 1 ms is usual. It is known only where agent and server read one \
         clock.",
    ),
    (
        Label::Latency,
        "latency",
        "From due to read: what a device would see. It counts from due, so that a sender that \
         stalls cannot hide the wait that it caused. The default objective is p99.9 of at most \
         100 ms; give your own with --threshold. It is known only where agent and server read one \
         clock; between hosts one-way, queueing and spread stand in for it.",
    ),
    (
        Label::OneWay,
        "one-way",
        "From the write to the read by a worker of the server, where each has a clock of its own: \
         the centre of what exchanges of readings between the two clocks allow, which is the time \
         itself if the fastest path is symmetric. How far off it can be stands with `clocks`. \
         docs/clocks.md has how that is proved.",
    ),
    (
        Label::Queueing,
        "queueing",
        "How much longer than the fastest that the path was seen to be each packet took from its \
         write to its read: what queues and stalls of the path added. An estimate, which needs no \
         symmetry of the path; how far off it can be stands with `clocks`.",
    ),
    (
        Label::Spread,
        "spread",
        "How much longer than the fastest recent packet of the same client each took: what queues \
         and stalls added, without the constant part of the way. It needs no common clock, and \
         stands in for latency between hosts; on one clock it is shown where an objective is \
         about it, and -o json has it always.",
    ),
    (
        Label::RttFromDue,
        "rtt from due",
        "The round trip: from the instant when a packet was due to the arrival of its reply at the \
         agent, which has one clock for both, so that it is known between any hosts. It holds the \
         generator's lateness and the wake-up of the thread that reads replies. `rtt` is its short \
         name in --threshold.",
    ),
    (
        Label::RttFromWrite,
        "rtt from write",
        "The round trip without the generator's lateness: from the write of a packet to the \
         arrival of its reply at the agent.",
    ),
    (
        Label::ProbeRtt,
        "probe rtt",
        "The round trip of probes on a connection of their own during the run, from the write of \
         a probe to the read of its answer by the agent. The smaller it is, the better the offset \
         of the clocks is known. A thread of the agent that sleeps in between reads them: its \
         wake-up and the worker's are part of it.",
    ),
    (
        Label::Clocks,
        "clocks",
        "How far off one-way and queueing can be in this run. *Proved* rests on one assumption: \
         the clocks run apart by less than 1000 ppm, and evenly in each 20 s. *Claimed* rests on \
         what --trust-ntp or --clock-bound has claimed of the wall clocks as well. Then how far \
         apart the agents began. Half of the least round trip of the probes is the best that can \
         be proved: a shorter path is the way to a smaller bound.",
    ),
    (
        Label::NoTime,
        "no time",
        "So many of the scheduled packets were skipped or lost, and are in none of the times \
         above, which are those of the others. None is best; objectives count them as slower than \
         any limit.",
    ),
    (
        Label::Objectives,
        "objectives",
        "What the run had to hold: ✓ met, ✗ missed, – not judged, with the cause where it is \
         known; none is judged of an invalid run. An objective that was missed makes the run NOT \
         HELD, with exit code 99. Choose your own with --threshold.",
    ),
    (
        Label::Limit,
        "limit",
        "What kept the run from being better, where something was missed, with the figure that \
         shows it. Generator: an agent or its host did not offer the load in time. Receiver: a \
         worker of the server lost as much time as makes half of the slow packets. Network: both \
         ends were in time, so that it was what lies between. docs/verdict.md has the rules.",
    ),
    (
        Label::Cpu,
        "cpu",
        "CPU time with the kernel's share, of the agents' pacing threads and of the server's \
         workers, in all and for each packet: 1 to 10 µs a packet is usual where each packet is \
         written by itself. Packets a write call are those that one call to the kernel takes on \
         average, 1.00 where each is written by itself; a read call of a busy worker takes \
         several. Near a whole core for each second of the run, that end is the limit: give it \
         more threads, workers or hosts, or larger batches.",
    ),
    (
        Label::Workers,
        "workers",
        "How many packets each worker process of the server has read. Equal shares are best; \
         a worker that is new since a restart has read few so far.",
    ),
    (
        Label::Network,
        "network",
        "What the kernels of both ends have seen of the path of the clients' connections, for each \
         way. A segment is sent again when it was lost, or was on its way for longer than ever \
         before: the packets in it and behind it came that much later, and none is missing. \
         Out of order are segments that came behind a gap, overtaken those that were found not to \
         be lost but late. A full receive window is a server that does not read in time. rtt is \
         that of TCP: the least, and the longest mean of late, which has the peer's wait of up to \
         40 ms before an acknowledgement in it. None of it is best; a path that loses nothing is \
         the way there.",
    ),
    (
        Label::Host,
        "host",
        "Where it was measured: cores that the processes may use, versions, and the priority that \
         the threads that measure really had. Real-time threads are best. An ordinary user has \
         none: another program can then make packets late by milliseconds; docs/tuning.md has how \
         the right is given.",
    ),
    (
        Label::Checks,
        "checks",
        "Equations that must be true of every run, such as sent = received + lost and the number \
         of times = the number of packets: laws, each checked on the counts of both ends. All \
         should hold. A broken one makes the run invalid and is a fault of Metronome or of a \
         damaged packet: docs/verdict.md lists them. One that is not checkable lacks what an \
         agent or a client took with it.",
    ),
];

impl Label {
    /// The word at the beginning of the line.
    pub(super) fn word(self) -> &'static str {
        LINES[self as usize].1
    }

    /// Whether it is one of the times of round trips.
    pub(super) fn is_of_round_trips(self) -> bool {
        matches!(self, Self::RttFromDue | Self::RttFromWrite)
    }

    /// What the line is, what a good value is, and what to do about another one.
    pub(super) fn paragraph(self) -> &'static str {
        LINES[self as usize].2
    }

    #[cfg(test)]
    pub(super) fn all() -> impl Iterator<Item = Self> {
        LINES.into_iter().map(|(label, ..)| label)
    }
}

/// Every counter of both ends, and what was lost between them, as JSON names them.
const COUNTERS: [(&str, &str); 27] = [
    ("scheduled", "due within the run; in a flood those written"),
    ("sent", "taken by the kernel of the agent's host, whole"),
    (
        "skipped",
        "due, but never written: the connection took no more. Should be 0; the path or the server \
         was too slow",
    ),
    (
        "blocked",
        "had to wait for the path or the server when they were due; no fault of the generator",
    ),
    ("replies_requested", "packets sent that asked for a reply"),
    (
        "replies_read",
        "replies that the agent read, each the one that its packet asked for",
    ),
    (
        "replies_unexpected",
        "read in the place of a reply, and asked for by no packet; makes the run invalid",
    ),
    ("received", "read and checked by a worker, each once"),
    ("duplicated", "came twice; makes the run invalid"),
    ("reordered", "came after a later one; makes the run invalid"),
    ("gaps", "left out by a later one; makes the run invalid"),
    (
        "corrupt",
        "changed on their way; should be 0: look at memory and network hardware",
    ),
    (
        "read_before_written",
        "read earlier than written by their times; makes the run invalid",
    ),
    (
        "off_schedule",
        "due at an instant that the schedule does not have; makes the run invalid",
    ),
    (
        "left_out",
        "places of the schedule for which no packet came",
    ),
    (
        "in_time",
        "read soon enough for a path that keeps up with the schedule; left out where all were",
    ),
    (
        "spread_understated",
        "took longer than their spread shows, since the fastest packet came only later",
    ),
    (
        "spread_uncertain",
        "of which spread may show less than it was",
    ),
    (
        "warm_up",
        "received, and due in the warm-up: they are counted, and in none of the times",
    ),
    (
        "warm_up_left_out",
        "places of the warm-up for which no packet came",
    ),
    (
        "below_floor",
        "faster than the least that the path was seen to take: their queueing counts as 0",
    ),
    ("replies_wanted", "packets received that asked for a reply"),
    (
        "replies_dropped",
        "of which 254 of the same client were still to be sent, so that there is none",
    ),
    (
        "replies_unanswered",
        "neither read nor dropped: on their way when a connection broke, or of lost packets",
    ),
    ("lost", "sent, but not received; should be 0"),
    (
        "lost_unacknowledged",
        "lost before the kernel of the server's host had them: on the path",
    ),
    (
        "lost_unread",
        "lost behind that: no worker has read them, as when the server ends",
    ),
];

/// What a counter counts.
pub(super) fn counter(name: &str) -> &'static str {
    let counter = COUNTERS.iter().find(|(counter, _)| *counter == name);
    counter.map_or("docs/result.md has it", |(_, meaning)| meaning)
}

#[cfg(test)]
mod tests {
    use metronome_proto::{json::counts::Counts, v1};

    use super::*;

    #[test]
    fn each_label_has_its_own_paragraph() {
        for (index, (label, word, paragraph)) in LINES.into_iter().enumerate() {
            assert_eq!(label as usize, index, "{label:?}");
            assert!(!word.is_empty() && paragraph.ends_with('.'), "{label:?}");
        }
    }

    #[test]
    fn each_counter_of_both_ends_has_its_meaning_and_none_is_beside_them() {
        let counts = Counts::of_both_ends(&v1::Counts::default());
        let mut names: Vec<_> = counts.counters().iter().map(|(name, _)| *name).collect();
        let mut explained: Vec<_> = COUNTERS.iter().map(|(name, _)| *name).collect();
        // It follows from those of both ends.
        names.push("replies_unanswered");
        names.sort_unstable();
        names.dedup();
        explained.sort_unstable();
        assert_eq!(names, explained);
    }
}
