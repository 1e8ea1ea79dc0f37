"""The faults of the relay without a socket. Run by `python3 -m unittest`."""

import unittest

from lies import relay

FRAMES = [bytes([number]) * relay.FRAME_BYTES for number in range(8)]
STREAM = b"".join(FRAMES)


def passed(fault, chunks):
    """What a fault makes of a stream that comes in these chunks, a second apart, and its end."""
    parts = [part for second, chunk in enumerate([*chunks, b""]) for part in fault.take(chunk, float(second))]
    return parts, b"".join(data for _, data in parts if data)


class Faults(unittest.TestCase):
    def test_the_control_changes_nothing_however_the_stream_is_cut(self):
        for size in (1, 31, 32, 33, 1000):
            chunks = [STREAM[at:at + size] for at in range(0, len(STREAM), size)]
            self.assertEqual(passed(relay.Fault(), chunks)[1], STREAM)

    def test_a_change_is_at_its_frame_however_the_stream_is_cut(self):
        flipped = FRAMES[3][:16] + bytes([FRAMES[3][16] ^ 1]) + FRAMES[3][17:]
        expected = {
            relay.FlipBit: [*FRAMES[:3], flipped, *FRAMES[4:]],
            relay.Swap: [*FRAMES[:3], FRAMES[4], FRAMES[3], *FRAMES[5:]],
            relay.Repeat: [*FRAMES[:3], FRAMES[3], *FRAMES[3:]],
            relay.RepeatBytes: [*FRAMES[:3], FRAMES[3][:7], *FRAMES[3:]],
            relay.LeaveOut: [*FRAMES[:3], *FRAMES[4:]],
        }
        for fault, frames in expected.items():
            for size in (1, 31, 32, 33, 95, 96, 97, 1000):
                chunks = [STREAM[at:at + size] for at in range(0, len(STREAM), size)]
                parts, data = passed(fault(3), chunks)
                self.assertEqual(data, b"".join(frames), (fault, size))
                self.assertEqual(parts[-1][1], b"", "the end of the stream is passed on")

    def test_a_limit_passes_on_at_its_rate(self):
        parts, data = passed(relay.Limit(16), FRAMES)
        self.assertEqual(([at_s for at_s, _ in parts][:8], data), ([2, 4, 6, 8, 10, 12, 14, 16], STREAM))
        self.assertEqual([at_s for at_s, _ in passed(relay.Limit(64), FRAMES)[0]][:3], [0.5, 1.5, 2.5])

    def test_a_bunch_a_delay_and_a_hold_pass_on_at_their_instants(self):
        instants = lambda fault: [at_s for at_s, _ in passed(fault, FRAMES)[0]]  # noqa: E731
        self.assertEqual(instants(relay.Bunch(3.0)), [3, 3, 3, 6, 6, 6, 9, 9, 9])
        self.assertEqual(instants(relay.Delay(0.5)), [second + 0.5 for second in range(9)])
        self.assertEqual(instants(relay.Hold(2.0, 3.0)), [0, 1, 5, 5, 5, 5, 6, 7, 8])

    def test_a_break_ends_the_connection_in_its_place(self):
        parts, _ = passed(relay.Break(64), FRAMES)
        self.assertEqual([data is None for _, data in parts][:3], [False, True, True])


if __name__ == "__main__":
    unittest.main()
