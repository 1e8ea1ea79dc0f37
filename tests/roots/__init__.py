"""The parts of tests/fresh and tests/package: a root folder of Debian that has nothing else, and commands in it."""
