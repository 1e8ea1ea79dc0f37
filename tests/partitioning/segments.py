"""TCP segments in IPv4 packets, as far as a router that counts and resets connections needs them. Pure."""

import dataclasses
import struct

FIN, SYN, RST, ACK = 1, 2, 4, 16

VERSION_4, TCP, HEADER_BYTES = 4, 6, 20
TIME_TO_LIVE = 64
SEQUENCES = 1 << 32


@dataclasses.dataclass(frozen=True)
class Segment:
    """An end is a pair of the address, four bytes, and the port."""

    source: tuple
    destination: tuple
    flags: int
    sequence: int
    acknowledged: int
    payload_bytes: int


def parse(packet):
    """The segment in a packet; None where it has none that is whole."""
    if len(packet) < 2 * HEADER_BYTES or packet[0] >> 4 != VERSION_4 or packet[9] != TCP:
        return None
    header = (packet[0] & 15) * 4
    if len(packet) < header + HEADER_BYTES:
        return None
    source, destination, sequence, acknowledged, rest = struct.unpack_from("!HHIIH", packet, header)
    payload_bytes = struct.unpack_from("!H", packet, 2)[0] - header - (rest >> 12) * 4
    return Segment((packet[12:16], source), (packet[16:20], destination), rest & 63, sequence, acknowledged, payload_bytes)


def reset_of(segment):
    """The packet that resets the connection at the sender of a segment, as a firewall that rejects sends it (RFC 9293,
    3.10.7.1); None for a reset."""
    if segment.flags & RST:
        return None
    if segment.flags & ACK:
        sequence, acknowledged, flags = segment.acknowledged, 0, RST
    else:
        taken = segment.payload_bytes + bool(segment.flags & SYN) + bool(segment.flags & FIN)
        sequence, acknowledged, flags = 0, (segment.sequence + taken) % SEQUENCES, RST | ACK
    return build(segment.destination, segment.source, flags, sequence, acknowledged)


def build(source, destination, flags, sequence, acknowledged, payload=b""):
    """A packet with both checksums."""
    tcp = struct.pack("!HHIIHHHH", source[1], destination[1], sequence, acknowledged, 5 << 12 | flags, 0, 0, 0)
    pseudo = source[0] + destination[0] + struct.pack("!HH", TCP, len(tcp) + len(payload))
    tcp = tcp[:16] + checksum(pseudo + tcp + payload) + tcp[18:]
    length = HEADER_BYTES + len(tcp) + len(payload)
    ip = struct.pack("!BBHHHBBH", VERSION_4 << 4 | 5, 0, length, 0, 0, TIME_TO_LIVE, TCP, 0) + source[0] + destination[0]
    return ip[:10] + checksum(ip) + ip[12:] + tcp + payload


def checksum(data):
    """The sum of RFC 1071; 0 over data that has its right sum within."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", total ^ 0xFFFF)
