"""The UDP listener: batches from one socket through the responder and back. Holds no rule about any query."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable, Sequence

from weavedns.dns.access import Access
from weavedns.dns.batch import SLOTS, Address, Asker, Batch, gather, open_batch
from weavedns.dns.responder import Heads, Responder
from weavedns.dns.stats import DnsStats
from weavedns.dns.wire import SLOT_BYTES

# After so many datagrams the event loop gets its turn: about a millisecond.
_DATAGRAMS_A_TURN = 4 * SLOTS
# While this many came at once, more are on their way: to look again costs less than a round of the event loop.
_BUSY = 4
_MAX_ASKERS = 4096
_BUFFER_BYTES = 4 * 1024 * 1024

# The careful path: packet, the asker's address of 4 or 16 bytes, and how to send a reply that comes later.
Careful = Callable[[bytes, bytes, Callable[[bytes], None]], bytes | None]
# The reply to a packet that was forwarded before, for who may have it forwarded; None when there is none at hand.
Cached = Callable[[bytes], bytes | None]
# What is told of each reply while that is wanted: the reply and who gets it.
Watch = Callable[[bytes, Address], None]
_NO_HEADS: Heads = {}


class UdpListener:
    """Answers what comes in on one bound, non-blocking socket."""

    def __init__(
        self,
        sock: socket.socket,
        responder: Responder,
        access: Access,
        careful: Careful,
        stats: DnsStats,
        *,
        cached: Cached = lambda _: None,
        awaited: Callable[[], bool] = lambda: False,
    ) -> None:
        self._sock = sock
        self._responder = responder
        self._access = access
        self._careful = careful
        self._cached = cached
        self._awaited = awaited
        self._stats = stats
        self._batch: Batch = open_batch(sock)
        # An asker's reply headers, which say whether it may have queries forwarded; an old verdict is dropped
        # when `access` has changed.
        self._askers: dict[Asker, Heads] = {}
        self._access_version = access.version
        self._watch: Watch | None = None
        self._emit = self._batch.send
        enlarge_buffers(sock)

    def start(self) -> None:
        """Begin to answer."""
        asyncio.get_running_loop().add_reader(self._sock.fileno(), self.answer_waiting)

    def close(self) -> None:
        """Stop, and give the address back."""
        asyncio.get_running_loop().remove_reader(self._sock.fileno())
        self._sock.close()

    def watch(self, watch: Watch | None) -> None:
        """Tell of every reply from now on, or no more; without, replies go out as if there were no such thing."""
        self._watch = watch
        self._emit = self._emit_watched if watch else self._batch.send

    def answer_waiting(self) -> bool:
        """Answer what has come, but not for longer than a turn of the event loop; whether more may be waiting."""
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
                self._take_care(sizes, askers, heads, replies)
            stats.unsent += self._emit(replies)
            if len(sizes) < _BUSY:
                break
            left -= len(sizes)
            gather(len(sizes), self._awaited)
        return left <= 0

    def _take_care(
        self, sizes: Sequence[int], askers: Sequence[Asker], heads: Sequence[Heads], replies: list[int]
    ) -> None:
        """Answer what the responder declined, into the same slots where it can be at once.

        Only who may have queries forwarded gets what was forwarded before.
        """
        batch, cached, forwarding = self._batch, self._cached, self._responder.heads(recursion=True)
        slots, hits = batch.slots, 0
        for slot, answered in enumerate(replies):
            if answered:
                continue
            packet = slots.get(slot, sizes[slot])
            reply = cached(packet) if heads[slot] is forwarding else None
            if reply:
                hits += 1
            else:
                reply = self._careful(packet, _packed(askers[slot]), self._sender(batch.address(slot)))
            if reply and len(reply) <= SLOT_BYTES:
                slots.put(slot, reply)
                replies[slot] = len(reply)
        self._stats.cached += hits

    def _sender(self, address: Address) -> Callable[[bytes], None]:
        def send(packet: bytes) -> None:
            if not packet:
                return
            if self._watch:
                self._watch(packet, address)
            try:
                self._sock.sendto(packet, address)
            except OSError:
                self._stats.unsent += 1

        return send

    def _emit_watched(self, sizes: Sequence[int]) -> int:
        batch = self._batch
        for slot, size in enumerate(sizes):
            if size and self._watch:
                self._watch(batch.slots.get(slot, size), batch.address(slot))
        return batch.send(sizes)

    def _learn(self, asker: Asker) -> Heads:
        if len(self._askers) >= _MAX_ASKERS:
            self._askers.clear()
        address = _packed(asker)
        heads = self._responder.heads(recursion=self._access.may_forward(address))
        # Without heads every packet is declined, and the careful path says why.
        self._askers[asker] = heads if self._access.may_ask(address) else _NO_HEADS
        return self._askers[asker]


def _packed(asker: Asker) -> bytes:
    return asker.to_bytes(4, sys.byteorder) if isinstance(asker, int) else asker


def enlarge_buffers(sock: socket.socket) -> None:
    """Make room for bursts: as much as root may have, else as much as the host allows."""
    for force, option in ((33, socket.SO_RCVBUF), (32, socket.SO_SNDBUF)):
        try:
            sock.setsockopt(socket.SOL_SOCKET, force, _BUFFER_BYTES)  # SO_RCVBUFFORCE, SO_SNDBUFFORCE (socket(7))
        except OSError:
            sock.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
