"""Frames of the data port as a client writes them, implemented from docs/protocol.md alone.

A client with a key file belongs to the static run: run 0, agent 0, whose key is derived from the key file. Each
of its connections begins with a challenge from either side, which make the key of this connection. The key of any
other run comes over the control stream.
"""

import hashlib
import hmac
import secrets
import struct

FRAME_BYTES = 32
MAGIC = b"\xb1\x4d"
PACKET, HELLO, HELLO_ACK, END, END_ACK, REFUSAL, CHALLENGE, START, REPLY, PROBE, PROBE_REPLY = range(11)
FULL, HELLO_REFUSED, LATE, PROTOCOL = 1, 2, 3, 5
# The client index in the hello of the connection that carries an agent's probes.
PROBE_CLIENT = 65535
ECHO = 1
HANDSHAKE_VERSION = 2
NONCE_BYTES = 16

LABELS = {HELLO: b"hello", HELLO_ACK: b"hello-ack", END: b"end", END_ACK: b"end-ack"}


class RunClient:
    """One client of a run: the frames that it sends and those that it must receive. `rest` is what follows the header
    of each frame that it sends behind its hello: zeros, as many as the size of its packets asks for."""

    def __init__(self, key, run, agent, client, attempt=1, packet_bytes=FRAME_BYTES):
        self.client, self.key, self.rest = client, key, bytes(packet_bytes - FRAME_BYTES)
        self.fields = struct.pack("<BHHQ", attempt, agent, client, run)

    def hello(self):
        return self.authenticated(HELLO, self.fields)

    def hello_ack(self):
        return self.authenticated(HELLO_ACK, self.fields)

    def end(self, sent):
        return self.authenticated(END, struct.pack("<5xQ", sent), self.rest) + self.rest

    def end_ack(self, received):
        return self.authenticated(END_ACK, struct.pack("<5xQ", received))

    def start(self, start_ns, offset_ns=0):
        """From where the due times count; the run starts so much earlier. A client of the static run sends none."""
        frame = head(START) + struct.pack("<BIQQ4x", 0, self.client, offset_ns, start_ns)
        return self.checked(frame)

    def packet(self, sequence, due_ns, flags=0, lateness_ns=0):
        frame = head(PACKET) + struct.pack("<BIQQI", flags, self.client, sequence, due_ns, lateness_ns)
        return self.checked(frame)

    def checked(self, frame):
        return frame + struct.pack("<I", crc32c(frame + self.rest)) + self.rest

    def authenticated(self, kind, fields, rest=b""):
        frame = head(kind) + fields
        label = b"metronome " + LABELS[kind] + b" v1"
        return frame + mac(self.key, label + head(HELLO) + self.fields + frame + rest)[:16]


class Client(RunClient):
    """One client of the static run: its hello is good once both sides have challenged."""

    def __init__(self, secret, client, attempt=1):
        super().__init__(mac(secret, b"metronome key v1" + struct.pack("<QH", 0, 0)), 0, 0, client, attempt)
        self.static_key, self.nonce = self.key, secrets.token_bytes(NONCE_BYTES)

    def challenge(self):
        return challenge(self.nonce)

    def is_challenged_by(self, frame):
        """Takes the server's challenge; whether it is one."""
        nonce = frame[-NONCE_BYTES:]
        self.key = mac(self.static_key, b"metronome connection v2" + self.nonce + nonce)
        return frame == challenge(nonce) and any(nonce)


def head(kind):
    return MAGIC + bytes([1 << 4 | kind])


def refusal(code):
    return (head(REFUSAL) + bytes([code, HANDSHAKE_VERSION])).ljust(FRAME_BYTES, b"\0")


def reply(packet):
    """What the server sends for a packet that asks for a reply."""
    frame = head(REPLY) + b"\0" + packet[4:28]
    return frame + struct.pack("<I", crc32c(frame))


def probe(sequence):
    frame = head(PROBE) + struct.pack("<5xQ12x", sequence)
    return frame + struct.pack("<I", crc32c(frame))


def challenge(nonce):
    return (head(CHALLENGE) + bytes([HANDSHAKE_VERSION])).ljust(FRAME_BYTES - NONCE_BYTES, b"\0") + nonce


def mac(key, data):
    return hmac.new(key, data, hashlib.sha256).digest()


def crc32c(data):
    """RFC 3720, appendix B.4: the polynomial 0x1EDC6F41, reflected."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def table():
    rows = list(range(256))
    for _ in range(8):
        rows = [row >> 1 ^ (0x82F63B78 if row & 1 else 0) for row in rows]
    return rows


TABLE = table()
