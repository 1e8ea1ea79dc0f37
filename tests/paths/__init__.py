"""The parts of tests/path."""
