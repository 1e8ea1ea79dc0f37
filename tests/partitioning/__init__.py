"""The parts of tests/partition: cells, the router between the hosts, the course of a cell, and how it is judged."""
