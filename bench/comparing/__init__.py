"""The parts of bench/compare: `comparisons` of metronome with `subjects`, reported as ratios in a `table`."""
