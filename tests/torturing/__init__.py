"""The parts of tests/torture and tests/hostile: `processes` among `peers`, with `disruptions`, checked by `counters`."""
