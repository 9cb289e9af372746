"""What upstreams said, for as long as they said it holds. Pure: the time is an argument, in seconds on one clock.

It must never keep a truncated answer, nor anything of an OPT: that is between two hops (RFC 6891 section 6.1.1).
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product

from weavedns.dns.message import Query, Reply, TtlField, ttl_fields
from weavedns.dns.opts import PlainOpts
from weavedns.dns.wire import HEADER_BYTES, MIN_QUERY_BYTES, MIN_UDP_BYTES, OPT_BYTES, RR_HEAD_BYTES, Flag, Rcode
from weavedns.records import names
from weavedns.records.record import RecordType

MAX_ENTRIES = 20_000
MAX_BYTES = 32 * 1024 * 1024
MAX_FAILURES = 1000
# RFC 8767 section 4: no TTL is believed beyond a week, and one with its highest bit set is such a long one.
MAX_TTL_S = 7 * 86400
# RFC 2308 section 5: what does not exist is asked for again after three hours at most.
MAX_NEGATIVE_TTL_S = 3 * 3600
# RFC 8767 section 5: an answer that nobody can renew is given for a day more, with this TTL.
MAX_STALE_S = 86400.0
STALE_TTL_S = 30
# RFC 9520 section 3.2: failures are remembered for a second at first, and longer as they go on.
FIRST_FAILURE_S = 1.0
MAX_FAILURE_S = 5.0

_AUTHORITY = 1
_SOA_MINIMUM_BYTES = 4
# What an entry takes beside the bytes of its message, and what each of its records does; measured, rounded up.
_ENTRY_BYTES = 750
_RECORD_BYTES = 80
_DO, _CD = 1, 2
_POINTER = 0xC0
_ADDRESSES: dict[int, int] = {RecordType.A: 4, RecordType.AAAA: 16}
_CACHED = (Rcode.NOERROR, Rcode.NXDOMAIN)


@dataclass(slots=True, eq=False)
class Entry:
    """One answer: as it came (`reply`), and as it is today (`body`, from after the question, `aged_s` later)."""

    key: bytes
    reply: Reply
    ttls: tuple[tuple[int, int], ...]  # where each TTL stands in the packet, and what it was
    stored_s: float
    expires_s: float
    heads: tuple[bytes, ...]  # a header from after the ID, by whether there is an OPT and whether AD is wanted
    body: bytes
    aged_s: int = 0
    used: bool = False
    # Where in `body` several addresses of one name stand, and the bytes of each, which take turns at coming first.
    turning: tuple[int, int, int] | None = None

    @property
    def size_bytes(self) -> int:
        """About how much memory it takes."""
        return _ENTRY_BYTES + 2 * (len(self.key) + len(self.reply.packet)) + _RECORD_BYTES * len(self.ttls)

    def aged(self, now: float) -> Reply:
        """The answer with its TTLs counted down to `now`, and its addresses in the order whose turn it is."""
        body = self.body_at(int(now - self.stored_s))
        return replace(self.reply, packet=self.reply.packet[: -len(body) or None] + body)

    def stale(self) -> Reply:
        """The answer as it is given when it has expired and nobody can renew it."""
        return self._with_ttls([(at, STALE_TTL_S) for at, _ in self.ttls])

    def body_at(self, elapsed_s: int) -> bytes:
        """What `body` is so long after it came; each time another of several addresses comes first."""
        body = self.body
        if self.turning:
            start, size, end = self.turning
            body = body[:start] + body[start + size : end] + body[start : start + size] + body[end:]
        if elapsed_s != self.aged_s:
            # Once a second at most. Addresses that turn have one size and one TTL, so it stands where it stood.
            self.aged_s = elapsed_s
            before = len(self.reply.packet) - len(body)
            body = _with_ttls(body, [(at - before, ttl_s - elapsed_s) for at, ttl_s in self.ttls])
        self.body = body
        return body

    def _with_ttls(self, ttls: Iterable[tuple[int, int]]) -> Reply:
        return replace(self.reply, packet=_with_ttls(self.reply.packet, ttls))


def _with_ttls(packet: bytes, ttls: Iterable[tuple[int, int]]) -> bytes:
    changed = bytearray(packet)
    for at, ttl_s in ttls:
        changed[at : at + 4] = max(ttl_s, 0).to_bytes(4, "big")
    return bytes(changed)


@dataclass(frozen=True, slots=True)
class Failure:
    """That nobody could answer: not asked again before `until_s`."""

    rcode: Rcode
    until_s: float
    lasts_s: float


class Cache:
    """Answers by question, bounded in number and in bytes; when full, those go that nobody asked for lately."""

    def __init__(self, *, max_entries: int = MAX_ENTRIES, max_bytes: int = MAX_BYTES) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        # `entries` is there to be looked at by others, not to be changed. The oldest come first, except that what was
        # used is put behind once more before it goes.
        self.entries: dict[bytes, Entry] = {}
        self.size_bytes = 0
        # Moves with each flush: what was asked before one must not be stored after it.
        self.generation = 0
        self._failures: dict[bytes, Failure] = {}
        self._opts = PlainOpts()

    def __len__(self) -> int:
        return len(self.entries)

    def answer(self, packet: bytes, now: float, *, withheld: Container[bytes] = ()) -> bytes | None:
        """The reply to a plain query, as it came over UDP, from someone who may have it forwarded; None otherwise.

        Names in `withheld` mean something else to some askers: they are not answered this way.
        """
        head = _PLAIN.get(packet[2:HEADER_BYTES])
        end = len(packet)
        if head is None or end < MIN_QUERY_BYTES:
            return None
        cd, kind_of_head, edns = head
        limit, opt, suffix = MIN_UDP_BYTES, b"", cd
        if edns:
            end -= OPT_BYTES
            limit, opt = self._opts[packet[end:]]
            if opt[7:8] == b"\x80":
                suffix |= _DO
        name = packet[HEADER_BYTES : end - 4].lower()
        key = name + packet[end - 4 : end]
        if suffix:
            key += bytes((suffix,))
        entry = self.entries.get(key)
        if entry is None or now >= entry.expires_s or name in withheld:
            return None
        elapsed_s = int(now - entry.stored_s)
        is_ready = elapsed_s == entry.aged_s and entry.turning is None
        body = entry.body if is_ready else entry.body_at(elapsed_s)
        reply = b"".join((packet[:2], entry.heads[kind_of_head], packet[HEADER_BYTES:end], body, opt))
        if len(reply) > limit:
            return None
        entry.used = True
        return reply

    def get(self, key: bytes, now: float) -> Entry | None:
        """The answer to a question if it still holds."""
        entry = self.entries.get(key)
        if entry is None or now >= entry.expires_s:
            return None
        entry.used = True
        return entry

    def get_stale(self, key: bytes, now: float) -> Entry | None:
        """The answer to a question even if it has expired, though not long ago; for when nobody can renew it."""
        entry = self.entries.get(key)
        if entry is None or now >= entry.expires_s + MAX_STALE_S:
            return None
        entry.used = True
        return entry

    def store(self, query: Query, reply: Reply, now: float) -> Entry | None:
        """Keep an answer and forget that the question failed; None when it is not one to keep."""
        key = key_of(query)
        self._failures.pop(key, None)
        self._remove(key)
        entry = _entry(key, query, reply, now)
        if entry is None or entry.size_bytes > self._max_bytes:
            return None
        room_bytes = self._max_bytes - entry.size_bytes
        while self.entries and (len(self.entries) >= self._max_entries or self.size_bytes > room_bytes):
            self._make_room(now)
        self.entries[key] = entry
        self.size_bytes += entry.size_bytes
        return entry

    def failure(self, key: bytes, now: float) -> Failure | None:
        """That a question could not be answered just now."""
        known = self._failures.get(key)
        return known if known and now < known.until_s else None

    def fail(self, key: bytes, rcode: Rcode, now: float) -> None:
        """Remember for a short time that nobody could answer a question (RFC 9520)."""
        before = self._failures.pop(key, None)
        lasts_s = min(before.lasts_s * 2, MAX_FAILURE_S) if before else FIRST_FAILURE_S
        if len(self._failures) >= MAX_FAILURES:
            del self._failures[next(iter(self._failures))]
        self._failures[key] = Failure(rcode, now + lasts_s, lasts_s)

    def flush(self, name: bytes | None = None) -> int:
        """Forget everything, or the answers for a name in lower case and for those under it; the number forgotten."""
        self.generation += 1
        keys = [key for key in self.entries if name is None or names.is_under(_name_of(key), name)]
        for key in keys:
            self._remove(key)
        self._failures = {
            key: failure
            for key, failure in self._failures.items()
            if name is not None and not names.is_under(_name_of(key), name)
        }
        return len(keys)

    def expire(self, now: float) -> None:
        """Ask for everything anew; what is there is kept for the case that nobody answers."""
        self.generation += 1
        self._failures.clear()
        for entry in self.entries.values():
            entry.expires_s = min(entry.expires_s, now)

    def _make_room(self, now: float) -> None:
        key, entry = next(iter(self.entries.items()))
        self._remove(key)
        if entry.used and now < entry.expires_s:
            entry.used = False
            self.entries[key] = entry
            self.size_bytes += entry.size_bytes

    def _remove(self, key: bytes) -> None:
        entry = self.entries.pop(key, None)
        if entry:
            self.size_bytes -= entry.size_bytes


def key_of(query: Query) -> bytes:
    """What answers are kept by: name in lower case, type, class, and one byte more when DO or CD is set."""
    suffix = (_DO if query.edns and query.edns.dnssec_ok else 0) | (_CD if query.flags & Flag.CD else 0)
    return query.name + query.question[-4:] + (bytes((suffix,)) if suffix else b"")


def _name_of(key: bytes) -> bytes:
    at = 0
    while key[at]:
        at += key[at] + 1
    return key[: at + 1]


def _entry(key: bytes, query: Query, reply: Reply, now: float) -> Entry | None:
    if reply.flags & Flag.TC or reply.rcode not in _CACHED:
        return None
    fields = [*ttl_fields(reply)]
    ttls = {field.at: min(field.ttl_s, MAX_TTL_S) for field in fields}
    if reply.rcode == Rcode.NXDOMAIN or not _has_answer(query.rtype, fields):
        soa = next((f for f in fields if f.section == _AUTHORITY and f.rtype == RecordType.SOA), None)
        if soa is None:
            return None
        # RFC 2308 section 5: not for longer than the SOA's own TTL and its last field say.
        minimum_s = int.from_bytes(reply.packet[soa.end - _SOA_MINIMUM_BYTES : soa.end], "big")
        ttls[soa.at] = min(ttls[soa.at], minimum_s, MAX_NEGATIVE_TTL_S)
    lifetime_s = min(ttls.values(), default=0)
    if not lifetime_s:
        return None
    start = HEADER_BYTES + len(query.question)
    end = reply.records[-1][2] if reply.records else start
    entry = Entry(
        key=key,
        reply=replace(reply, packet=reply.packet[:end]),
        ttls=tuple(ttls.items()),
        stored_s=now,
        expires_s=now + lifetime_s,
        heads=_heads(query, reply),
        body=reply.packet[start:end],
    )
    entry.reply = replace(reply, packet=_with_ttls(entry.reply.packet, entry.ttls))  # those that are believed
    entry.body = entry.reply.packet[start:]
    entry.turning = _turning(entry.body, reply, fields, start)
    return entry


def _turning(body: bytes, reply: Reply, fields: Sequence[TtlField], start: int) -> tuple[int, int, int] | None:
    """The addresses at the end of an answer section, if they are several of one name and alike but for the address.

    Others point into records with names, so those have to stay where they are.
    """
    last = next((field for field in reversed(fields) if not field.section), None)
    if last is None or last.rtype not in _ADDRESSES:
        return None
    spans = [(first - start, end - start) for section, first, end in reply.records if not section]
    size = spans[-1][1] - spans[-1][0]
    alike = body[spans[-1][0] : spans[-1][1] - _ADDRESSES[last.rtype]]
    first = spans[-1][0]
    for at, end in reversed(spans):
        if end - at != size or body[at : at + len(alike)] != alike:
            break
        first = at
    # The owner has to be a pointer: a name in full may be pointed at.
    is_pointer = alike[0] >= _POINTER and len(alike) == RR_HEAD_BYTES
    return (first, size, spans[-1][1]) if is_pointer and first != spans[-1][0] else None


def _has_answer(rtype: int, fields: Iterable[TtlField]) -> bool:
    return any(not f.section and rtype in (f.rtype, RecordType.ANY) for f in fields)


def _heads(query: Query, reply: Reply) -> tuple[bytes, ...]:
    counts = [0, 0, 0]
    for section, _, _ in reply.records:
        counts[section] += 1
    word = Flag.QR | Flag.RD | Flag.RA | query.flags & Flag.CD | reply.rcode
    heads = []
    authentic = reply.flags & Flag.AD
    # RFC 6840 section 5.8: AD is for those who show that they know it, by AD or by DO.
    unasked = authentic if query.edns and query.edns.dnssec_ok else 0
    for ad, edns in product((unasked, authentic), (0, 1)):
        numbers = (int(word | ad), 1, counts[0], counts[1], counts[2] + edns)
        heads.append(b"".join(number.to_bytes(2, "big") for number in numbers))
    return tuple(heads)


def _plain() -> dict[bytes, tuple[int, int, bool]]:
    """By what follows the ID of a plain query that wants recursion: its CD, which of an entry's heads, its OPT."""
    found = {}
    for ad, cd, edns in product((0, Flag.AD), (0, Flag.CD), (False, True)):
        word = int(Flag.RD | ad | cd).to_bytes(2, "big")
        head = (2 if ad else 0) + (1 if edns else 0)
        found[word + b"\0\1\0\0\0\0" + int(edns).to_bytes(2, "big")] = (_CD if cd else 0, head, edns)
    return found


_PLAIN = _plain()
