import os
import socket
import time
import unittest

from partitioning import cells, router, segments
from partitioning.segments import ACK, SYN

BENCHCTL, SERVER, AGENT = (bytes([10, 231, 0, last]) for last in (1, 2, 3))


class RouterTest(unittest.TestCase):
    """The devices are one end each of a pair of sockets; packets are taken one by one, without the thread."""

    def setUp(self):
        self.pairs = {address: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for address in (BENCHCTL, SERVER, AGENT)}
        for pair in self.pairs.values():
            for end in pair:
                end.setblocking(False)
                self.addCleanup(end.close)
        devices = {address: pair[0].fileno() for address, pair in self.pairs.items()}
        self.router = router.Router(devices, SERVER, BENCHCTL)

    def send(self, source, destination, flags=ACK, sequence=100, payload=b""):
        packet = segments.build(source, destination, flags, sequence, 1, payload)
        self.router.take(packet, segments.parse(packet), time.monotonic())
        return packet

    def received(self, address):
        try:
            return os.read(self.pairs[address][1].fileno(), 1 << 16)
        except BlockingIOError:
            return None

    def test_each_link_is_cut_alone(self):
        ends = {cells.BENCHCTL: (BENCHCTL, 50051), cells.CONTROL: (AGENT, 50051), cells.DATA: (AGENT, 8888)}
        for cut in cells.LINKS:
            self.router.cut(cells.Cell((cut,), cells.DROP, cells.RUNNING))
            for link, (host, port) in ends.items():
                self.send((host, 40000), (SERVER, port))
                self.send((SERVER, port), (host, 40000))
                self.assertEqual(self.received(SERVER) is None, link == cut)
                self.assertEqual(self.received(host) is None, link == cut)

    def test_what_the_server_sends_is_lost_one_way(self):
        self.router.cut(cells.Cell((cells.DATA,), cells.ONE_WAY, cells.RUNNING))
        packet = self.send((AGENT, 40000), (SERVER, 8888))
        self.assertEqual(self.received(SERVER), packet)
        self.send((SERVER, 8888), (AGENT, 40000))
        self.assertIsNone(self.received(AGENT))

    def test_a_reset_goes_back_to_the_sender(self):
        self.router.cut(cells.Cell((cells.DATA,), cells.RESET, cells.RUNNING))
        self.send((AGENT, 40000), (SERVER, 8888))
        self.assertIsNone(self.received(SERVER))
        self.assertTrue(segments.parse(self.received(AGENT)).flags & segments.RST)

    def test_what_is_held_passes_later_or_when_it_is_mended(self):
        self.router.cut(cells.Cell((cells.DATA,), cells.DELAY, cells.RUNNING))
        packet = self.send((AGENT, 40000), (SERVER, 8888))
        self.router.release()
        self.assertIsNone(self.received(SERVER))
        self.router.mend()
        self.router.release()
        self.assertEqual(self.received(SERVER), packet)
        self.assertGreaterEqual(self.router.passed_again_s[cells.DATA], self.router.mended_s)

    def test_a_slow_link_sends_at_its_rate_and_loses_what_would_wait_for_too_long(self):
        self.router.cut(cells.Cell((cells.DATA,), cells.SLOW, cells.RUNNING))
        begun_s = time.monotonic()
        for _ in range(40):
            packet = self.send((AGENT, 40000), (SERVER, 8888), payload=b"." * 1460)
        self.assertIsNone(self.received(SERVER))
        in_time = int(cells.SLOW_BYTES_PER_S * cells.SLOW_WAIT_S_MAX / len(packet))
        self.assertIn(len(self.router.held), (in_time, in_time + 1))
        self.assertGreaterEqual(self.router.held[0][0], begun_s + len(packet) / cells.SLOW_BYTES_PER_S)
        self.send((SERVER, 8888), (AGENT, 40000))
        self.assertIsNotNone(self.received(AGENT))

    def test_the_first_packet_that_passes_again_is_that_of_the_first_cut_link(self):
        self.router.cut(cells.Cell((cells.CONTROL, cells.DATA), cells.DROP, cells.RUNNING))
        self.router.mend()
        self.send((BENCHCTL, 40000), (SERVER, 50051))
        cut = (cells.CONTROL, cells.DATA)
        self.assertEqual(self.router.first_passed_again_s(cut), self.router.mended_s)
        self.send((AGENT, 40000), (SERVER, 8888))
        self.send((AGENT, 40000), (SERVER, 50051))
        first_s = self.router.passed_again_s[cells.DATA]
        self.assertGreater(first_s, self.router.passed_again_s[cells.BENCHCTL])
        self.assertGreater(self.router.passed_again_s[cells.CONTROL], first_s)
        self.assertEqual(self.router.first_passed_again_s(cut), first_s)

    def test_the_load_of_a_client_is_counted_once_and_what_is_lost_has_not_passed(self):
        start = (1 << 32) - 33
        self.send((AGENT, 40000), (SERVER, 8888), SYN, start)
        # Of the first 32 bytes the last are numbered from 0 again; 64 come twice.
        for sequence, payload in ((start + 1, 32), (start + 33, 64), (start + 33, 64)):
            self.send((AGENT, 40000), (SERVER, 8888), ACK, sequence % (1 << 32), b"." * payload)
        self.router.cut(cells.Cell((cells.DATA,), cells.DROP, cells.RUNNING))
        self.send((AGENT, 40000), (SERVER, 8888), ACK, (start + 97) % (1 << 32), b"." * 32)
        (flow,) = self.router.flows.values()
        self.assertEqual((flow.emitted, flow.passed), (128, 96))
        self.assertEqual([count for _, count in flow.fresh], [32, 64, 32])


if __name__ == "__main__":
    unittest.main()
