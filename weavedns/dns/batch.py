"""Datagrams in and out of the kernel, many at a time. Reads none of them.

A batch is a row of slots of one block of memory. `MmsgBatch` fills and empties all slots with one system call each
way; `PlainBatch` does the same one by one, for systems where that is not to be had.
"""

from __future__ import annotations

import ctypes
import errno
import socket
import struct
import sys
import time
from array import array
from collections.abc import Callable, Sequence
from mmap import mmap
from typing import Any, Protocol

from weavedns.dns.slots import Slots
from weavedns.dns.wire import SLOT_BYTES

SLOTS = 64
# So many at once are a crowd, of which more is on its way unless the batch is nearly full.
_CROWD = range(SLOTS // 4, SLOTS - SLOTS // 8)
_PAUSE_S = 0.00003
_ADDRESS_BYTES = 32
_IPV4_ADDRESS_BYTES = 16
_IPV6_ADDRESS_BYTES = 28
# struct iovec, and struct mmsghdr (a msghdr and the length), of 64-bit Linux.
_IOVEC = struct.Struct("@PN")
_MMSGHDR = struct.Struct("@PI4xPNPNi4xI4x")
_MMSGHDR_LENGTH = 56  # where its length stands
_IPV6_ADDRESS = struct.Struct("@8x16s8x")
_SUPPORTED = sys.platform == "linux" and ctypes.sizeof(ctypes.c_void_p) == 8  # noqa: PLR2004

# Who sent a datagram: the address as a number in the machine's byte order for IPv4, its bytes for IPv6.
Asker = int | bytes
Address = tuple[Any, ...]
SystemCall = Callable[..., int]


class Batch(Protocol):
    """What `udp` needs of a batch."""

    slots: Slots

    def receive(self) -> list[int]:
        """Take what waits in the socket, up to SLOTS datagrams: their sizes. Empty when nothing waits."""

    def askers(self) -> Sequence[Asker]:
        """Who sent each of the datagrams last received."""

    def address(self, slot: int) -> Address:
        """The socket address of the sender of the datagram in a slot."""

    def send(self, sizes: Sequence[int]) -> int:
        """Send back the first `sizes[i]` bytes of each slot, none where that is 0; the number not sent."""


def open_batch(sock: socket.socket) -> Batch:
    """The fastest kind of batch that works here, on a bound and non-blocking socket."""
    if _SUPPORTED:
        # PyDLL keeps the interpreter's lock: these calls never wait, and a thread that reads a large zone file would
        # otherwise take the lock at each of them, and keep a batch waiting three times.
        libc = ctypes.PyDLL(None, use_errno=True)
        if hasattr(libc, "recvmmsg") and hasattr(libc, "sendmmsg"):
            batch = MmsgBatch(sock, libc.recvmmsg, libc.sendmmsg)
            if batch.works():
                return batch
    return PlainBatch(sock)


def gather(count: int, awaited: Callable[[], bool]) -> None:
    """After a batch of `count`, let the rest of a crowd come, so that it fills the next batch.

    As network cards do it (interrupt moderation): a pause of less than 0.1 ms, which only those meet who ask together
    with many others, takes a tenth off the CPU time of each query. A few at a time are never kept waiting, nor is
    anything else that is to be done, if the processor is `awaited`.
    """
    if count in _CROWD and not awaited():
        time.sleep(_PAUSE_S)


class MmsgBatch:
    """A batch by recvmmsg(2) and sendmmsg(2)."""

    def __init__(self, sock: socket.socket, recvmmsg: SystemCall, sendmmsg: SystemCall) -> None:
        self._fd = sock.fileno()
        self._is_ipv4 = sock.family == socket.AF_INET
        self._recvmmsg, self._sendmmsg = recvmmsg, sendmmsg
        self._count = 0
        self.slots = Slots(SLOTS)
        self._addresses = mmap(-1, SLOTS * _ADDRESS_BYTES)
        # Two sets of headers: what the kernel writes into one and we into the other never has to be put back.
        self._in, self._in_iovecs = self._headers()
        self._out, self._out_iovecs = self._headers()
        self._in_at = ctypes.c_void_p(_address_of(self._in))
        out_at = _address_of(self._out)
        self._out_at = [ctypes.c_void_p(out_at + slot * _MMSGHDR.size) for slot in range(SLOTS)]
        self._in_sizes = memoryview(self._in).cast("I")[_MMSGHDR_LENGTH // 4 :: _MMSGHDR.size // 4]
        self._out_sizes = memoryview(self._out_iovecs).cast("Q")[1::2]
        self._ipv4_numbers = memoryview(self._addresses).cast("I")[1 :: _ADDRESS_BYTES // 4]

    def works(self) -> bool:
        """Whether the kernel, or a sandbox around us, lets these calls through. Takes nothing out of the socket."""
        got = self._recvmmsg(self._fd, self._in_at, 1, socket.MSG_DONTWAIT | socket.MSG_PEEK, None)
        return got >= 0 or ctypes.get_errno() == errno.EAGAIN

    def receive(self) -> list[int]:
        """As `Batch.receive`."""
        self._count = max(0, self._recvmmsg(self._fd, self._in_at, SLOTS, socket.MSG_DONTWAIT, None))
        return self._in_sizes[: self._count].tolist()

    def askers(self) -> Sequence[Asker]:
        """As `Batch.askers`."""
        if self._is_ipv4:
            return self._ipv4_numbers[: self._count].tolist()
        return [asker for (asker,) in _IPV6_ADDRESS.iter_unpack(self._addresses[: self._count * _ADDRESS_BYTES])]

    def address(self, slot: int) -> Address:
        """As `Batch.address`."""
        raw = self._addresses[slot * _ADDRESS_BYTES : (slot + 1) * _ADDRESS_BYTES]
        port = int.from_bytes(raw[2:4], "big")
        if self._is_ipv4:
            return socket.inet_ntop(socket.AF_INET, raw[4:8]), port
        flow, scope = int.from_bytes(raw[4:8], "big"), int.from_bytes(raw[24:28], sys.byteorder)
        return socket.inet_ntop(socket.AF_INET6, raw[8:24]), port, flow, scope

    def send(self, sizes: Sequence[int]) -> int:
        """As `Batch.send`."""
        count = len(sizes)
        self._out_sizes[:count] = memoryview(array("Q", sizes))
        if 0 not in sizes:
            return self._send_run(0, count)
        unsent, start = 0, 0
        for slot, size in enumerate((*sizes, 0)):
            if not size:
                unsent += self._send_run(start, slot)
                start = slot + 1
        return unsent

    def _send_run(self, start: int, stop: int) -> int:
        unsent = 0
        while start < stop:
            sent = self._sendmmsg(self._fd, self._out_at[start], stop - start, socket.MSG_DONTWAIT)
            if sent > 0:
                start += sent
            elif (error := ctypes.get_errno()) == errno.EAGAIN:
                return unsent + stop - start
            elif error != errno.EINTR:
                # This one cannot be sent (a firewall rule, no route); the ones behind it may be.
                unsent += 1
                start += 1
        return unsent

    def _headers(self) -> tuple[mmap, mmap]:
        headers, iovecs = mmap(-1, SLOTS * _MMSGHDR.size), mmap(-1, SLOTS * _IOVEC.size)
        slots_at, addresses_at, iovecs_at = map(_address_of, (self.slots.memory, self._addresses, iovecs))
        address_size = _IPV4_ADDRESS_BYTES if self._is_ipv4 else _IPV6_ADDRESS_BYTES
        for slot, offset in enumerate(self.slots.starts):
            _IOVEC.pack_into(iovecs, slot * _IOVEC.size, slots_at + offset, SLOT_BYTES)
            address_at, iovec_at = addresses_at + slot * _ADDRESS_BYTES, iovecs_at + slot * _IOVEC.size
            fields = (address_at, address_size, iovec_at, 1, 0, 0, 0, 0)
            _MMSGHDR.pack_into(headers, slot * _MMSGHDR.size, *fields)
        return headers, iovecs


class PlainBatch:
    """A batch by recvfrom(2) and sendto(2), one datagram a call."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._is_ipv4 = sock.family == socket.AF_INET
        self.slots = Slots(SLOTS)
        self._rooms = [memoryview(self.slots.memory)[at : at + SLOT_BYTES] for at in self.slots.starts]
        self._addresses: list[Address] = []

    def receive(self) -> list[int]:
        """As `Batch.receive`."""
        sizes: list[int] = []
        self._addresses = []
        for room in self._rooms:
            try:
                size, address = self._sock.recvfrom_into(room)
            except OSError:  # nothing more waits, or the interface went away
                break
            sizes.append(size)
            self._addresses.append(address)
        return sizes

    def askers(self) -> Sequence[Asker]:
        """As `Batch.askers`."""
        if self._is_ipv4:
            packed = (socket.inet_aton(address[0]) for address in self._addresses)
            return [int.from_bytes(address, sys.byteorder) for address in packed]
        return [socket.inet_pton(socket.AF_INET6, address[0].partition("%")[0]) for address in self._addresses]

    def address(self, slot: int) -> Address:
        """As `Batch.address`."""
        return self._addresses[slot]

    def send(self, sizes: Sequence[int]) -> int:
        """As `Batch.send`."""
        unsent = 0
        for room, size, address in zip(self._rooms, sizes, self._addresses, strict=False):
            try:
                if size:
                    self._sock.sendto(room[:size], address)
            except OSError:
                unsent += 1
        return unsent


def _address_of(block: mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(block))
