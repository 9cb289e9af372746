"""Ready-made RRsets: the bytes of an answer section, in an order that turns. Never looks anything up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from weavedns.dns.wire import RR_FIXED, rr_head

MAX_COUNT = 65535
_OWNER_BYTES = 2
_HEAD_BYTES = _OWNER_BYTES + RR_FIXED.size


class Rotation:
    """An RRset of several records, given each time in the next order (or always in the same one).

    The records stand twice in a row, so each order is one slice: twice the memory whatever their number.
    """

    __slots__ = ("_doubled", "_starts", "_turn", "count", "size_bytes")

    def __init__(self, bodies: Sequence[bytes], *, turning: bool = True) -> None:
        whole = b"".join(bodies)
        self.size_bytes = len(whole)
        self.count = len(bodies).to_bytes(2, "big")
        self._doubled = whole + whole if turning else whole
        self._starts = _starts(bodies) if turning else range(1)
        self._turn = 0

    def next(self) -> bytes:
        """The records in the order whose turn it is."""
        turn = self._turn
        start = self._starts[turn]
        turn += 1
        self._turn = turn if turn < len(self._starts) else 0
        return self._doubled[start : start + self.size_bytes]


# Nearly every RRset has one record, and then its bytes are all there is to it.
RRset = bytes | Rotation


def build(rtype: int, ttl_s: int, rdatas: Iterable[bytes], *, turning: bool = True) -> RRset:
    """The RRset of these data, in this order, each once."""
    bodies = [rr_head(rtype, ttl_s, len(rdata)) + rdata for rdata in dict.fromkeys(rdatas)]
    if len(bodies) == 1:
        return bodies[0]
    return Rotation(bodies[:MAX_COUNT], turning=turning)


def records(body: bytes) -> Iterator[bytes]:
    """The records of an answer section made here, one by one."""
    at = 0
    while at < len(body):
        *_, size = RR_FIXED.unpack_from(body, at + _OWNER_BYTES)
        end = at + _HEAD_BYTES + size
        yield body[at:end]
        at = end


def _starts(bodies: Sequence[bytes]) -> Sequence[int]:
    size = len(bodies[0])
    if all(len(body) == size for body in bodies):
        return range(0, size * len(bodies), size)
    starts, at = [], 0
    for body in bodies:
        starts.append(at)
        at += len(body)
    return tuple(starts)
