"""The frames of the static run against independent figures. Run by `python3 -m unittest`."""

import unittest

from torturing import handshake


class Frames(unittest.TestCase):
    def test_the_checksum_is_the_one_of_rfc_3720(self):
        self.assertEqual(handshake.crc32c(bytes(32)), 0x8A9136AA)
        self.assertEqual(handshake.crc32c(bytes(range(32))), 0x46DD794E)
        self.assertEqual(handshake.crc32c(b"123456789"), 0xE3069283)

    def test_every_frame_has_32_bytes_and_no_two_kinds_share_a_tag(self):
        client = handshake.Client(bytes(32), 3)
        frames = [client.challenge(), client.hello(), client.hello_ack(), client.end(9), client.end_ack(9), client.packet(7, 1)]
        frames.append(client.start(5_000, 20))
        frames.append(handshake.refusal(handshake.LATE))
        frames.append(handshake.probe(3))
        self.assertEqual({len(frame) for frame in frames}, {handshake.FRAME_BYTES})
        self.assertEqual(len({frame[16:] for frame in frames}), len(frames))
        self.assertEqual(handshake.refusal(handshake.HELLO_REFUSED), b"\xb1\x4d\x15\x02\x02" + bytes(27))
        self.assertNotEqual(handshake.Client(bytes(32), 4).hello()[16:], frames[0][16:])

    def test_a_start_has_the_client_its_offset_and_its_start(self):
        frame = handshake.Client(bytes(32), 3).start(0x1122, 0x33)
        self.assertEqual(frame[:16], bytes.fromhex("b14d1700 03000000 3300000000000000"))
        self.assertEqual(frame[16:28], bytes.fromhex("2211000000000000 00000000"))
        self.assertEqual(int.from_bytes(frame[28:], "little"), handshake.crc32c(frame[:28]))

    def test_frames_of_a_size_have_their_checksum_behind_28_bytes_and_a_reply_has_32(self):
        client = handshake.RunClient(bytes(32), 1, 0, 3, packet_bytes=200)
        self.assertEqual({len(frame) for frame in (client.packet(7, 1), client.start(5), client.end(9))}, {200})
        packet = client.packet(7, 0x1122, handshake.ECHO, 5)
        self.assertEqual(int.from_bytes(packet[28:32], "little"), handshake.crc32c(packet[:28] + bytes(168)))
        reply = handshake.reply(packet)
        self.assertEqual((len(reply), reply[:4], reply[4:28]), (32, b"\xb1\x4d\x18\0", packet[4:28]))
        self.assertEqual(int.from_bytes(reply[28:], "little"), handshake.crc32c(reply[:28]))

    def test_the_key_of_a_connection_is_made_of_both_challenges(self):
        client = handshake.Client(bytes(32), 3)
        before = client.hello()
        self.assertTrue(client.is_challenged_by(handshake.challenge(b"n" * 16)))
        self.assertNotEqual(client.hello(), before)
        hello = client.hello()
        self.assertTrue(client.is_challenged_by(handshake.challenge(b"m" * 16)))
        self.assertNotEqual(client.hello(), hello)
        self.assertFalse(client.is_challenged_by(handshake.challenge(bytes(16))), "no nonce is zero")
        self.assertFalse(client.is_challenged_by(handshake.refusal(handshake.LATE)))


if __name__ == "__main__":
    unittest.main()
