"""The reader takes the packets of clients that follow docs/protocol.md, and nothing else."""

import socket
import threading
import unittest

from loads import reader
from torturing import handshake

SECRET = bytes(range(32))


def received(sock):
    frame = b""
    while len(frame) < handshake.FRAME_BYTES:
        data = sock.recv(handshake.FRAME_BYTES - len(frame))
        if not data:
            raise ConnectionError("closed")
        frame += data
    return frame


def converse(port, client, due_ns, ending, split):
    """One client from its challenge to its end."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(client.challenge())
        assert client.is_challenged_by(received(sock))
        sock.sendall(client.hello())
        assert received(sock) == client.hello_ack()
        sent = b"".join(client.packet(sequence, due) for sequence, due in enumerate(due_ns))
        for at in range(0, len(sent), split):
            sock.sendall(sent[at : at + split])
        sock.sendall(ending(client))
        assert received(sock) == client.end_ack(len(due_ns))


def read(clients, split=32, ending=None):
    ending = ending or (lambda client: client.end(len(clients[client.client])))
    with reader.listener() as listening:
        port = listening.getsockname()[1]

        def send(number, due_ns):
            try:
                converse(port, handshake.Client(SECRET, number), due_ns, ending, split)
            except ConnectionError:
                pass

        threads = [threading.Thread(target=send, args=pair) for pair in enumerate(clients)]
        for thread in threads:
            thread.start()
        try:
            return reader.read_all(listening, SECRET, len(clients), 30, lambda: any(thread.is_alive() for thread in threads))
        finally:
            listening.close()
            for thread in threads:
                thread.join()


class Reading(unittest.TestCase):
    def test_packets_have_their_due_times_and_stamps_that_rise(self):
        clients = [[100, 250, 250, 999], [7], []]
        for split in (32, 5, 77):
            found = {tuple(packet.client for packet in of): of for of in read(clients, split)}
            self.assertEqual([packet.due_ns for packet in found[0, 0, 0, 0]], clients[0])
            self.assertEqual([packet.due_ns for packet in found[1,]], clients[1])
            self.assertEqual(found[()], [])
            stamps = [packet.stamp_ns for packet in found[0, 0, 0, 0]]
            self.assertEqual(stamps, sorted(stamps))

    def test_an_end_that_counts_otherwise_is_strange(self):
        with self.assertRaisesRegex(reader.Strange, "another frame was expected"):
            read([[1, 2]], ending=lambda client: client.end(3))

    def test_a_connection_that_closes_without_an_end_is_strange(self):
        with self.assertRaisesRegex(reader.Strange, "without an end"):
            read([[1, 2]], ending=self.leave)

    def leave(self, client):
        raise ConnectionError

    def test_another_key_is_strange(self):
        client = handshake.Client(bytes(32), 0)
        mine, its = socket.socketpair()
        with mine, its:
            mine.setblocking(False)
            connection = reader.Connection(mine, SECRET)
            its.sendall(client.challenge())
            connection.read()
            self.assertTrue(client.is_challenged_by(received(its)))
            its.sendall(client.hello())
            with self.assertRaisesRegex(reader.Strange, "another frame was expected"):
                connection.read()

    def test_a_sender_that_ends_without_a_connection_is_waited_for_no_longer(self):
        with reader.listener() as listening, self.assertRaisesRegex(TimeoutError, "opened 0 of 1"):
            reader.read_all(listening, SECRET, 1, 30, lambda: False)


if __name__ == "__main__":
    unittest.main()
