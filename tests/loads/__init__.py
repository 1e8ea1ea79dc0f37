"""The parts of tests/loads/check: due times by a `reference`, what a `reader` saw of an agent, and what `judging` makes of it."""
