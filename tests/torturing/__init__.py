"""The parts of tests/torture: `processes` under `trouble`, among `peers`, whose `books` are checked."""
