"""The messages when an executable under test does not start. Run by `python3 -m unittest`."""

import os
import pathlib
import tempfile
import unittest
from unittest import mock

from torturing import processes


class Start(unittest.TestCase):
    """Against shell scripts in the place of the server."""

    def start(self, script):
        """Starts a system whose server is this script."""
        with tempfile.TemporaryDirectory() as folder:
            server = pathlib.Path(folder) / "metronome-server"
            server.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
            os.chmod(server, 0o700)
            processes.Metronome(folder, folder, workers=1, max_clients=1)

    def test_a_server_that_hangs_before_its_ready_line_is_ended_and_named(self):
        with mock.patch.object(processes, "DEADLINE_S", 1), self.assertRaisesRegex(SystemExit, "ended with -9"):
            self.start("exec sleep 600")

    def test_a_server_that_ends_at_once_is_named_with_its_status(self):
        with self.assertRaisesRegex(SystemExit, "metronome-server did not start: it ended with 7"):
            self.start("exit 7")


if __name__ == "__main__":
    unittest.main()
