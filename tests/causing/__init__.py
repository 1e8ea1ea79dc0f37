"""The parts of tests/causes: `cases` made by `causes` in the systems of `trials`, and checked by `judging`."""
