"""A row of slots for packets in one block of memory, which the kernel, the responder and the batches share."""

from __future__ import annotations

from mmap import mmap

from weavedns.dns.wire import HEADER_BYTES, SLOT_BYTES

_ID_BYTES = 2


class Slots:
    """Room for `count` packets, and where each packet's parts stand, reckoned once.

    An mmap because its slices are bytes, which a dict can be asked for at once; a bytearray's would be copied twice.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.memory = mmap(-1, count * SLOT_BYTES)
        self.starts = list(range(0, count * SLOT_BYTES, SLOT_BYTES))
        self.headers = [slice(at + _ID_BYTES, at + HEADER_BYTES) for at in self.starts]  # but for the ID
        self.names = [at + HEADER_BYTES for at in self.starts]

    def get(self, slot: int, size: int) -> bytes:
        """The first `size` bytes of a slot."""
        at = self.starts[slot]
        return self.memory[at : at + size]

    def put(self, slot: int, packet: bytes) -> None:
        """Write a packet, of SLOT_BYTES at most, into a slot."""
        at = self.starts[slot]
        self.memory[at : at + len(packet)] = packet
