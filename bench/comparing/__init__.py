"""The parts of bench/compare: `subjects` run `programs`, `figures` says what came of it, `table` writes it down."""
