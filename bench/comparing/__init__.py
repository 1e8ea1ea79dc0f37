"""The parts of bench/compare: `comparisons` of metronome with `subjects`, told by ratios in a `table`."""
