"""The parts of tests/lies/run and clean: `cases` made by `agent_lies`, `relay` and `process_lies`, checked by `judging`."""
