"""A vhost-user front-end in a few lines: one queue pair on split rings in one memory file.

Layouts and message numbers: the vhost-user specification; virtio 1.2, 2.7.
"""

import mmap
import os
import socket
import struct

GET_FEATURES, SET_FEATURES, SET_OWNER, SET_MEM_TABLE = 1, 2, 3, 5
SET_VRING_NUM, SET_VRING_ADDR, SET_VRING_BASE = 8, 9, 10
SET_VRING_KICK, SET_VRING_CALL = 12, 13

VERSION_1 = 1 << 32
MEMORY_BYTES = 1 << 20
RING_BYTES = 1 << 16
RING_SIZE = 64
USER = 0x7F0000000000


class FrontEnd:
    """Without protocol features, so that both rings are enabled by SET_FEATURES."""

    def __init__(self, path):
        self.memory_fd = os.memfd_create("guest")
        os.ftruncate(self.memory_fd, MEMORY_BYTES)
        self.memory = mmap.mmap(self.memory_fd, MEMORY_BYTES)
        self.kick = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(2)]
        self.call = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(2)]
        self.connection = socket.socket(socket.AF_UNIX)
        self.connection.connect(str(path))

    def send(self, request, payload=b"", fds=()):
        socket.send_fds(self.connection, [struct.pack("=III", request, 1, len(payload)) + payload],
                        fds)

    def start(self):
        self.send(GET_FEATURES)
        self.connection.recv(20)
        self.send(SET_OWNER)
        self.send(SET_FEATURES, struct.pack("=Q", VERSION_1))
        self.send(SET_MEM_TABLE, struct.pack("=IIQQQQ", 1, 0, 0, MEMORY_BYTES, USER, 0),
                  [self.memory_fd])
        for ring in range(2):
            at = USER + ring * RING_BYTES
            self.send(SET_VRING_NUM, struct.pack("=II", ring, RING_SIZE))
            self.send(SET_VRING_BASE, struct.pack("=II", ring, 0))
            self.send(SET_VRING_ADDR, struct.pack("=IIQQQQ", ring, 0, at, at + 8192, at + 4096, 0))
            self.send(SET_VRING_CALL, struct.pack("=Q", ring), [self.call[ring]])
            self.send(SET_VRING_KICK, struct.pack("=Q", ring), [self.kick[ring]])

    def offer(self, ring, address, length, device_writes):
        """Makes one buffer available, the first of its ring, and kicks."""
        at = ring * RING_BYTES
        self.memory[at:at + 16] = struct.pack("=QIHH", address, length, 2 if device_writes else 0, 0)
        self.memory[at + 4096:at + 4102] = struct.pack("=HHH", 0, 1, 0)
        os.eventfd_write(self.kick[ring], 1)

    def truncate(self, size):
        """From here on `memory` must not be touched behind it."""
        os.ftruncate(self.memory_fd, size)

    def close(self):
        self.connection.close()
        self.memory.close()
        for fd in (self.memory_fd, *self.kick, *self.call):
            os.close(fd)
