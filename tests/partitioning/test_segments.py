import unittest

from partitioning import segments
from partitioning.segments import ACK, FIN, RST, SYN

HERE, THERE = (b"\x0a\xe7\x00\x01", 40000), (b"\x0a\xe7\x00\x02", 8888)


def segment(flags, sequence=7, acknowledged=0, payload=b""):
    return segments.parse(segments.build(HERE, THERE, flags, sequence, acknowledged, payload))


class SegmentsTest(unittest.TestCase):
    def test_what_is_built_is_parsed(self):
        expected = segments.Segment(HERE, THERE, ACK, 7, 9, 5)
        self.assertEqual(segment(ACK, 7, 9, b"12345"), expected)

    def test_both_checksums_are_right(self):
        packet = segments.build(HERE, THERE, ACK, 7, 9, b"12345")
        self.assertEqual(segments.checksum(packet[:20]), b"\0\0")
        pseudo = HERE[0] + THERE[0] + bytes([0, 6, 0, len(packet) - 20])
        self.assertEqual(segments.checksum(pseudo + packet[20:]), b"\0\0")

    def test_what_is_no_whole_segment_of_version_4_is_none(self):
        packet = segments.build(HERE, THERE, ACK, 7, 9)
        other = [b"", packet[:39], bytes([0x65]) + packet[1:], packet[:9] + b"\x11" + packet[10:],
                 bytes([0x4F]) + packet[1:]]
        for of in other:
            self.assertIsNone(segments.parse(of), of)

    def test_a_reset_takes_the_place_that_its_receiver_expects(self):
        reset = segments.parse(segments.reset_of(segment(ACK, 7, 9, b"12345")))
        self.assertEqual((reset.source, reset.destination), (THERE, HERE))
        self.assertEqual((reset.flags, reset.sequence), (RST, 9))

    def test_the_reset_of_an_opening_acknowledges_it(self):
        reset = segments.parse(segments.reset_of(segment(SYN, 0xFFFFFFFF)))
        self.assertEqual((reset.flags, reset.acknowledged), (RST | ACK, 0))
        reset = segments.parse(segments.reset_of(segment(FIN, 7, payload=b"12")))
        self.assertEqual((reset.flags, reset.acknowledged), (RST | ACK, 10))

    def test_a_reset_is_not_answered(self):
        self.assertIsNone(segments.reset_of(segment(RST)))
        self.assertIsNone(segments.reset_of(segment(RST | ACK)))


if __name__ == "__main__":
    unittest.main()
