"""Metronome against the real programs that its users have: docs/peers.md."""
