"""The UDP listener: batches from one socket through the responder and back. Holds no rule about any query."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable

from weavedns.dns.access import Access
from weavedns.dns.batch import SLOTS, Address, Asker, Batch, open_batch
from weavedns.dns.responder import Heads, Responder
from weavedns.dns.stats import DnsStats
from weavedns.dns.wire import SLOT_BYTES

# After so many datagrams the event loop gets its turn: about a millisecond.
_DATAGRAMS_A_TURN = 4 * SLOTS
# While this many came at once, more are on their way: to look again costs less than a round of the event loop.
_BUSY = 4
_MAX_ASKERS = 4096
_BUFFER_BYTES = 4 * 1024 * 1024

# The careful path: packet, whether the asker may have it forwarded, and how to send a reply that comes later.
Careful = Callable[[bytes, bool, Callable[[bytes], None]], bytes | None]


class UdpListener:
    """Answers what comes in on one bound, non-blocking socket."""

    def __init__(
        self, sock: socket.socket, responder: Responder, access: Access, careful: Careful, stats: DnsStats
    ) -> None:
        self._sock = sock
        self._responder = responder
        self._access = access
        self._careful = careful
        self._stats = stats
        self._batch: Batch = open_batch(sock)
        # An asker's reply headers, which say whether it may have queries forwarded; an old verdict is dropped
        # when `access` has changed.
        self._askers: dict[Asker, Heads] = {}
        self._access_version = access.version
        enlarge_buffers(sock)

    def start(self) -> None:
        """Begin to answer."""
        asyncio.get_running_loop().add_reader(self._sock.fileno(), self._readable)

    def close(self) -> None:
        """Stop, and give the address back."""
        asyncio.get_running_loop().remove_reader(self._sock.fileno())
        self._sock.close()

    def _readable(self) -> None:
        batch, respond, stats = self._batch, self._responder.answer_slots, self._stats
        if self._access_version != self._access.version:
            self._access_version = self._access.version
            self._askers.clear()
        left = _DATAGRAMS_A_TURN
        while left > 0 and (sizes := batch.receive()):
            known = self._askers
            askers = batch.askers()
            try:
                heads = [known[asker] for asker in askers]
            except KeyError:
                heads = [known.get(asker) or self._learn(asker) for asker in askers]
            replies = respond(batch.slots, sizes, heads)
            stats.queries += len(replies)
            declined = replies.count(0)
            stats.answered += len(replies) - declined
            if declined:
                self._take_care(sizes, heads, replies)
            stats.unsent += batch.send(replies)
            left = left - len(sizes) if len(sizes) >= _BUSY else 0

    def _take_care(self, sizes: list[int], heads: list[Heads], replies: list[int]) -> None:
        """Let the careful path answer what the responder declined, into the same slots where it can at once."""
        batch = self._batch
        for slot, size in enumerate(replies):
            if size:
                continue
            packet = batch.slots.get(slot, sizes[slot])
            recursion = heads[slot] is self._responder.heads(recursion=True)
            reply = self._careful(packet, recursion, self._sender(batch.address(slot)))
            if reply and len(reply) <= SLOT_BYTES:
                batch.slots.put(slot, reply)
                replies[slot] = len(reply)

    def _sender(self, address: Address) -> Callable[[bytes], None]:
        def send(packet: bytes) -> None:
            try:
                self._sock.sendto(packet, address)
            except OSError:
                self._stats.unsent += 1

        return send

    def _learn(self, asker: Asker) -> Heads:
        if len(self._askers) >= _MAX_ASKERS:
            self._askers.clear()
        packed = asker.to_bytes(4, sys.byteorder) if isinstance(asker, int) else asker
        heads = self._responder.heads(recursion=self._access.may_forward(packed))
        self._askers[asker] = heads
        return heads


def enlarge_buffers(sock: socket.socket) -> None:
    """Make room for bursts: as much as root may have, else as much as the host allows."""
    for force, option in ((33, socket.SO_RCVBUF), (32, socket.SO_SNDBUF)):
        try:
            sock.setsockopt(socket.SOL_SOCKET, force, _BUFFER_BYTES)  # SO_RCVBUFFORCE, SO_SNDBUFFORCE (socket(7))
        except OSError:
            sock.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
