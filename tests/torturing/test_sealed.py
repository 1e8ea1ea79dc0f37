"""The frames of the standing run against figures from elsewhere. Run by `python3 -m unittest`."""

import unittest

from torturing import sealed


class Frames(unittest.TestCase):
    def test_the_checksum_is_the_one_of_rfc_3720(self):
        self.assertEqual(sealed.crc32c(bytes(32)), 0x8A9136AA)
        self.assertEqual(sealed.crc32c(bytes(range(32))), 0x46DD794E)
        self.assertEqual(sealed.crc32c(b"123456789"), 0xE3069283)

    def test_every_frame_has_32_bytes_and_no_two_kinds_share_a_tag(self):
        client = sealed.Client(bytes(32), 3)
        frames = [client.hello(), client.hello_ack(), client.end(9), client.end_ack(9), client.packet(7, 1)]
        frames.append(sealed.refusal(sealed.LATE))
        self.assertEqual({len(frame) for frame in frames}, {sealed.FRAME_BYTES})
        self.assertEqual(len({frame[16:] for frame in frames}), len(frames))
        self.assertEqual(sealed.refusal(sealed.HELLO_REFUSED), b"\xb1\x4d\x15\x02" + bytes(28))
        self.assertNotEqual(sealed.Client(bytes(32), 4).hello()[16:], frames[0][16:])


if __name__ == "__main__":
    unittest.main()
