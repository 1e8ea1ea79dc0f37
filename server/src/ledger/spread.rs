//! Spread: (read − due) of a packet above the least of its client in the last 5 to 10 s. It needs no
//! common clock: the difference of two clocks is in both and falls out. Pure.
//!
//! The least is kept in two buckets, that of the present window of 5 s and that of the window
//! before; a window begins at a multiple of 5 s of the time of reading. However long nothing came,
//! a rotation is one step.
//!
//! Where (read − due) falls, packets were delayed for longer than their spread shows: a path that
//! holds everything for 2 s and then lets it go at once makes it fall all the time, and each packet
//! sets the least. So there are *marks*. A mark is set where the least has fallen by more than
//! 100 ms since the last mark. Each packet before a mark was above that mark's least, since the
//! least was not yet as low; so when the next mark is set, each of them is more than 100 ms above
//! it. Those of them whose spread does not show it are *understated*. Each is counted once, and
//! none that is not: what lies between the last two marks, or before a rotation, is not found.
//!
//! (Read − due) is a signed difference of wrapping 64-bit numbers, since the zeros of two clocks may
//! lie anywhere.

/// Window of the least, ns.
const WINDOW_NS: u64 = 5_000_000_000;

/// How far above the least a packet must be for its spread to count as understated, ns.
pub(super) const UNDERSTATED_NS: u64 = 100_000_000;

/// No packet: above every (read − due).
const NONE: i64 = i64::MAX;

/// Words of it in the ledger.
pub(super) const WORDS: usize = 7;

/// The least (read − due) of a client, ever and of late.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Spread {
    /// Of all packets, ns.
    least_ns: i64,
    /// When the present window began, ns of the time of reading.
    window_ns: u64,
    /// Of the present window, and of the one before, ns.
    window_least_ns: i64,
    before_least_ns: i64,
    /// The least of the two when the last mark was set, or when the window began.
    mark_ns: i64,
    /// Packets of this window whose spread shows at most 100 ms: those since the mark …
    since_mark: u64,
    /// … and those before it that are not counted.
    before_mark: u64,
}

/// What one packet has shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Shown {
    /// How far the packet is above the least, ns.
    pub(super) spread_ns: u64,
    /// Packets before it of which it shows that their spread is understated.
    pub(super) understated: u64,
}

impl Default for Spread {
    fn default() -> Self {
        Self {
            least_ns: NONE,
            window_ns: 0,
            window_least_ns: NONE,
            before_least_ns: NONE,
            mark_ns: NONE,
            since_mark: 0,
            before_mark: 0,
        }
    }
}

impl Spread {
    /// The least (read − due) of all packets, ns.
    pub(super) fn least_ns(&self) -> Option<i64> {
        (self.least_ns != NONE).then_some(self.least_ns)
    }

    /// Packets that are kept for a mark to come.
    pub(super) fn kept(&self) -> u64 {
        self.since_mark.saturating_add(self.before_mark)
    }

    /// A batch was read at `read_ns`: begins a new window if the last one is over.
    #[inline]
    pub(super) fn begin_batch(&mut self, read_ns: u64) {
        let elapsed_ns = read_ns.saturating_sub(self.window_ns);
        if elapsed_ns >= WINDOW_NS {
            self.rotate(elapsed_ns);
        }
    }

    #[cold]
    fn rotate(&mut self, elapsed_ns: u64) {
        self.before_least_ns = if elapsed_ns < 2 * WINDOW_NS {
            self.window_least_ns
        } else {
            NONE
        };
        self.window_least_ns = NONE;
        // At most the time of reading.
        self.window_ns += elapsed_ns - elapsed_ns % WINDOW_NS;
        self.mark_ns = self.before_least_ns;
        (self.since_mark, self.before_mark) = (0, 0);
    }

    /// Takes a packet of the batch that was begun.
    #[inline]
    pub(super) fn take(&mut self, read_ns: u64, due_ns: u64) -> Shown {
        let delay_ns = read_ns.wrapping_sub(due_ns).cast_signed();
        let mut understated = 0;
        if delay_ns < self.window_least_ns {
            self.window_least_ns = delay_ns;
            if delay_ns < self.before_least_ns {
                understated = self.fall(delay_ns);
            }
        }
        let least_ns = self.window_least_ns.min(self.before_least_ns);
        let spread_ns = delay_ns.wrapping_sub(least_ns).cast_unsigned();
        if spread_ns <= UNDERSTATED_NS {
            self.since_mark = self.since_mark.wrapping_add(1);
        }
        Shown {
            spread_ns,
            understated,
        }
    }

    /// The least of the two windows falls.
    #[inline]
    fn fall(&mut self, least_ns: i64) -> u64 {
        self.least_ns = self.least_ns.min(least_ns);
        if least_ns >= self.mark_ns.saturating_sub(UNDERSTATED_NS.cast_signed()) {
            return 0;
        }
        let understated = self.before_mark;
        (self.before_mark, self.since_mark) = (self.since_mark, 0);
        self.mark_ns = least_ns;
        understated
    }

    #[inline]
    pub(super) fn to_words(self) -> [u64; WORDS] {
        [
            to_word(self.least_ns),
            self.window_ns,
            to_word(self.window_least_ns),
            to_word(self.before_least_ns),
            to_word(self.mark_ns),
            self.since_mark,
            self.before_mark,
        ]
    }

    pub(super) fn from_words(words: [u64; WORDS]) -> Self {
        let [
            least,
            window_ns,
            window_least,
            before_least,
            mark,
            since_mark,
            before_mark,
        ] = words;
        Self {
            least_ns: from_word(least),
            window_ns,
            window_least_ns: from_word(window_least),
            before_least_ns: from_word(before_least),
            mark_ns: from_word(mark),
            since_mark,
            before_mark,
        }
    }
}

/// So that a word of 0 is [`NONE`].
fn to_word(least_ns: i64) -> u64 {
    (least_ns ^ NONE).cast_unsigned()
}

fn from_word(word: u64) -> i64 {
    word.cast_signed() ^ NONE
}
