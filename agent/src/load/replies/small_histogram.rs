//! The times of one client, by the layout of all distributions (proto/histogram.rs), in as much
//! memory as they need. Pure.
//!
//! A whole histogram has 27 KiB, so two of each of 10,000 clients would have half a gigabyte. The
//! times of one connection lie close together: here a histogram has only the blocks of 32 buckets
//! in which something lies, out of a pool that all clients of a run share and that does not grow
//! beyond [`BLOCKS_PER_CLIENT`]. A time for which no block is left makes that client's quantiles
//! unknown, never wrong.

use metronome_proto::histogram::{BUCKETS, beyond, bucket, is_known, shown_ns};

const BLOCK_BUCKETS: usize = 32;
const BLOCKS: usize = BUCKETS.div_ceil(BLOCK_BUCKETS);
/// Blocks that are allocated at once: 32 KiB.
const CHUNK_BLOCKS: usize = 256;

/// How many blocks of 128 bytes there are for each client of a run, for both of its histograms:
/// 8 KiB.
const BLOCKS_PER_CLIENT: usize = 64;
/// How many there are besides: all that a few clients can need.
const BLOCKS_BESIDES: usize = 4 * 2 * BLOCKS;

/// Counts of neighbouring buckets.
type Block = [u32; BLOCK_BUCKETS];

/// The blocks of all clients of a run. They do not move when their number grows.
#[derive(Debug)]
pub(crate) struct BlockPool {
    chunks: Vec<Box<[Block]>>,
    used: usize,
    blocks_max: usize,
}

impl BlockPool {
    /// An empty pool for so many clients.
    pub(crate) fn new(clients: usize) -> Self {
        Self {
            chunks: Vec::new(),
            used: 0,
            blocks_max: clients * BLOCKS_PER_CLIENT + BLOCKS_BESIDES,
        }
    }

    /// The number of a block of zeros, from 1. `None`: none is left.
    fn add(&mut self) -> Option<u32> {
        if self.used >= self.blocks_max {
            return None;
        }
        if self.used == self.chunks.len() * CHUNK_BLOCKS {
            let chunk = vec![[0; BLOCK_BUCKETS]; CHUNK_BLOCKS];
            self.chunks.push(chunk.into_boxed_slice());
        }
        self.used += 1;
        u32::try_from(self.used).ok()
    }

    #[inline]
    fn block(&self, number: u32) -> Option<&Block> {
        let at = (number as usize).checked_sub(1)?;
        self.chunks.get(at / CHUNK_BLOCKS)?.get(at % CHUNK_BLOCKS)
    }

    #[inline]
    fn block_mut(&mut self, number: u32) -> Option<&mut Block> {
        let at = (number as usize).checked_sub(1)?;
        let chunk = self.chunks.get_mut(at / CHUNK_BLOCKS)?;
        chunk.get_mut(at % CHUNK_BLOCKS)
    }
}

/// One distribution of one client.
#[derive(Debug)]
pub(crate) struct SmallHistogram {
    /// The block of each part of the layout; 0 where nothing lies.
    blocks: [u32; BLOCKS],
    count: u64,
    /// Whether every time has its bucket.
    is_whole: bool,
}

impl SmallHistogram {
    /// Without a time.
    pub(crate) fn new() -> Self {
        Self {
            blocks: [0; BLOCKS],
            count: 0,
            is_whole: true,
        }
    }

    /// All times recorded.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Counts one time, ns.
    #[inline]
    pub(crate) fn record(&mut self, value_ns: u64, pool: &mut BlockPool) {
        self.count += 1;
        self.is_whole &= self.count_in(bucket(value_ns), pool).is_some();
    }

    fn count_in(&mut self, index: usize, pool: &mut BlockPool) -> Option<()> {
        let number = self.blocks.get_mut(index / BLOCK_BUCKETS)?;
        if *number == 0 {
            *number = pool.add()?;
        }
        let count = &mut pool.block_mut(*number)?[index % BLOCK_BUCKETS];
        *count = count.checked_add(1)?;
        Some(())
    }

    /// The quantile of so many millionths, ns, as every distribution shows it. `None` where so few
    /// times do not give it, or where they did not all find room.
    pub(crate) fn quantile_ns(&self, ppm: u32, pool: &BlockPool) -> Option<u64> {
        if !self.is_whole || self.count == 0 || !is_known(ppm, self.count) {
            return None;
        }
        let beyond = beyond(ppm, self.count);
        let mut above = 0;
        for (part, number) in self.blocks.iter().enumerate().rev() {
            let Some(block) = pool.block(*number) else {
                continue;
            };
            for (within, count) in block.iter().enumerate().rev() {
                above += u64::from(*count);
                if above > beyond {
                    return Some(shown_ns(part * BLOCK_BUCKETS + within));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use metronome_proto::histogram::Histogram;
    use proptest::prelude::*;

    use super::*;

    const P99: u32 = 990_000;

    /// What a whole histogram shows for the same times.
    fn expected(values: &[u64], ppm: u32) -> Option<u64> {
        let mut histogram = Histogram::default();
        values.iter().for_each(|value| histogram.record(*value));
        let count = histogram.count();
        let index = histogram.bucket_below(beyond(ppm, count))?;
        is_known(ppm, count).then(|| shown_ns(index))
    }

    proptest! {
        #[test]
        fn a_quantile_is_that_of_the_whole_histogram(
            clients in prop::collection::vec(
                prop::collection::vec((0..64_u32, any::<u64>()), 0..1_200), 1..4,
            ),
            ppm in 1..1_000_000_u32,
        ) {
            let mut pool = BlockPool::new(clients.len());
            let clients: Vec<Vec<u64>> = clients
                .into_iter()
                .map(|values| values.into_iter().map(|(bits, value)| value >> bits).collect())
                .collect();
            let mut histograms: Vec<_> = clients.iter().map(|_| SmallHistogram::new()).collect();
            let longest = clients.iter().map(Vec::len).max().unwrap_or(0);
            for n in 0..longest {
                for (histogram, values) in histograms.iter_mut().zip(&clients) {
                    if let Some(value) = values.get(n) {
                        histogram.record(*value, &mut pool);
                    }
                }
            }
            for (histogram, values) in histograms.iter().zip(&clients) {
                prop_assert_eq!(histogram.count(), values.len() as u64);
                for ppm in [ppm, P99] {
                    prop_assert_eq!(histogram.quantile_ns(ppm, &pool), expected(values, ppm));
                }
            }
        }
    }

    #[test]
    fn the_p99_is_not_known_below_a_thousand_times() {
        let (mut pool, mut histogram) = (BlockPool::new(1), SmallHistogram::new());
        (0..999).for_each(|value| histogram.record(value, &mut pool));
        assert_eq!(histogram.quantile_ns(P99, &pool), None);
        histogram.record(999, &mut pool);
        assert_eq!(histogram.quantile_ns(P99, &pool), Some(991));
    }

    #[test]
    fn a_client_without_room_for_a_time_has_no_quantile_and_the_others_have_theirs() {
        let mut pool = BlockPool {
            blocks_max: 1,
            ..BlockPool::new(1)
        };
        let (mut first, mut second) = (SmallHistogram::new(), SmallHistogram::new());
        for _ in 0..1000 {
            first.record(5, &mut pool);
        }
        for value in [5; 1000] {
            second.record(value, &mut pool);
        }
        assert_eq!((first.count(), second.count()), (1000, 1000));
        assert_eq!(first.quantile_ns(P99, &pool), Some(0));
        assert_eq!(second.quantile_ns(P99, &pool), None);
    }

    #[test]
    fn ten_thousand_clients_stay_below_a_hundred_megabytes() {
        let clients = 10_000;
        let blocks = BlockPool::new(clients).blocks_max * size_of::<Block>();
        let histograms = 2 * clients * size_of::<SmallHistogram>();
        assert!(blocks + histograms < 95_000_000, "{blocks} {histograms}");
    }

    #[test]
    fn a_few_clients_have_room_for_times_of_every_length() {
        let mut pool = BlockPool::new(4);
        let mut histograms: Vec<_> = (0..8).map(|_| SmallHistogram::new()).collect();
        for histogram in &mut histograms {
            for index in 0..BUCKETS {
                histogram.record(shown_ns(index), &mut pool);
            }
            assert!(histogram.is_whole);
        }
    }
}
