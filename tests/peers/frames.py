"""Ethernet frames for the tests and capture files (pcap) that hold them."""

import ipaddress
import struct

ETHERTYPE_IPV4 = 0x0800
IPPROTO_TCP = 6
IPPROTO_UDP = 17
_PCAP_HEADER = struct.Struct("<IHHiIII")
_PCAP_RECORD = struct.Struct("<IIII")
_PCAP_MAGIC = 0xA1B2C3D4
_LINKTYPE_ETHERNET = 1
SNAPLEN_BYTES = 256 << 10


def mac(group, index):
    """A locally administered address: `group` tells the side, `index` the sender."""
    return struct.pack(">BBI", 2, group, index)


def checksum(data):
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _ipv4(protocol, payload, source, destination):
    header = bytearray(struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 0, 0x4000, 64,
                                   protocol, 0, source, destination))
    header[10:12] = struct.pack(">H", checksum(bytes(header)))
    return bytes(header) + payload


def _address(group, index):
    return ipaddress.IPv4Address((10 << 24) | (group << 20) | (index & 0xFFFFF)).packed


def filling(length, sequence):
    """Bytes that tell their frame and their place in it: a swap or a shift shows."""
    word = sequence * 2654435761 & 0xFFFFFFFF
    words = (length + 3) // 4
    values = ((word + 40503 * i) & 0xFFFFFFFF for i in range(words))
    return struct.pack(f">{words}I", *values)[:length]


def udp_frame(size, source, destination, sequence):
    """An Ethernet frame of `size` bytes (no FCS, as virtio has it), IPv4 and UDP.

    source and destination are (group, index) as in mac(). The UDP checksum is absent (0).
    """
    payload = filling(size - 42, sequence)
    udp = struct.pack(">HHHH", 1024 + source[1] % 4096, 4789, 8 + len(payload), 0) + payload
    return (mac(*destination) + mac(*source) + struct.pack(">H", ETHERTYPE_IPV4)
            + _ipv4(IPPROTO_UDP, udp, _address(*source), _address(*destination)))


def tcp_frame(size, source, destination, sequence):
    """An Ethernet frame of `size` bytes, IPv4 and TCP with a right checksum."""
    payload = filling(size - 54, sequence)
    addresses = _address(*source) + _address(*destination)
    tcp = bytearray(struct.pack(">HHIIBBHHH", 1024 + source[1] % 4096, 5001, sequence * len(payload)
                                & 0xFFFFFFFF, 0, 0x50, 0x10, 0xFFFF, 0, 0) + payload)
    pseudo = addresses + struct.pack(">BBH", 0, IPPROTO_TCP, len(tcp))
    tcp[16:18] = struct.pack(">H", checksum(pseudo + bytes(tcp)))
    return (mac(*destination) + mac(*source) + struct.pack(">H", ETHERTYPE_IPV4)
            + _ipv4(IPPROTO_TCP, bytes(tcp), addresses[:4], addresses[4:]))


def write_capture(path, frames):
    with open(path, "wb") as file:
        file.write(_PCAP_HEADER.pack(_PCAP_MAGIC, 2, 4, 0, 0, SNAPLEN_BYTES, _LINKTYPE_ETHERNET))
        for number, frame in enumerate(frames):
            file.write(_PCAP_RECORD.pack(0, number, len(frame), len(frame)) + frame)


def read_capture(path):
    """The frames of a capture file, in order; the last may be missing if cut short."""
    data = path.read_bytes()
    offset = _PCAP_HEADER.size
    frames = []
    while offset + _PCAP_RECORD.size <= len(data):
        length = _PCAP_RECORD.unpack_from(data, offset)[2]
        offset += _PCAP_RECORD.size
        if offset + length > len(data):
            break
        frames.append(data[offset:offset + length])
        offset += length
    return frames
