"""The fast path: from a plain question about a name of ours straight to the reply. Declines all the rest.

It must never parse what it does not need, allocate what it can have ready, or answer anything differently from the
careful path (`resolver`), which takes whatever is declined here.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

from weavedns.dns.answers import A_IN, CNAME_IN, Answers, Found, tail
from weavedns.dns.compose import LEADING, compose
from weavedns.dns.rrset import Rotation
from weavedns.dns.slots import Slots
from weavedns.dns.stats import DnsStats
from weavedns.dns.tree import Node
from weavedns.dns.wire import (
    HEADER_BYTES,
    MAX_LABEL_BYTES,
    MAX_UDP_BYTES,
    MIN_QUERY_BYTES,
    MIN_UDP_BYTES,
    OPT,
    OPT_BYTES,
    QUESTION_FIXED_BYTES,
    SLOT_BYTES,
    Flag,
    Rcode,
    is_name,
    opt_reply,
)
from weavedns.records import names

_MAX_OPTS = 512
_OPT_TYPE = 41
_ARPA = b"\x04arpa\0"
# Types that need no thought; ANY, transfers and other meta types do.
_PLAIN_TYPES = frozenset(tail(rtype) for rtype in range(1, 128) if rtype != _OPT_TYPE)

_LEADING_TYPES = frozenset(map(tail, LEADING))
_NO_NEGATIVES: dict[int, bytes] = {}

_DECLINED = b"", b""


class _Nothing(bytes):
    """What no node is."""


# What a reply's header holds after the ID, by what a query's holds there: of a reply with one record, of one with
# none, of one that says that there is no such name, and of one with several records what stands before and after
# their count; last, something when an OPT follows the question.
Head = tuple[bytes, ...]
_ONE, _NONE, _NO_NAME, _BEFORE_COUNT, _AFTER_COUNT, _EDNS = range(6)
Heads = dict[bytes, Head]


class Responder:
    """Answers plain questions from `answers`; all its memory is made at the start."""

    def __init__(self, answers: Answers, stats: DnsStats | None = None) -> None:
        self._answers = answers
        self._stats = stats or DnsStats()
        self._heads = {recursion: _heads(recursion=recursion) for recursion in (False, True)}
        self._opts: dict[bytes, tuple[int, bytes]] = {}
        self._slot = Slots(1)
        # Most names that do not exist are one label under the domain: their authority sections by its length.
        below = len(answers.domain)
        negatives = {size: answers.authority.negative(below + size) for size in range(2, MAX_LABEL_BYTES + 2)}
        rest = HEADER_BYTES + below + QUESTION_FIXED_BYTES + OPT_BYTES
        self._one_label = {
            size: body
            for size, body in negatives.items()
            if below + size <= names.MAX_NAME_BYTES and rest + size + len(body) <= MIN_UDP_BYTES
        }

    def heads(self, *, recursion: bool) -> Heads:
        """The reply headers for an asker who may, or may not, have queries forwarded."""
        return self._heads[recursion]

    def answer(self, packet: bytes, *, recursion: bool) -> bytes | None:
        """The reply to a packet; None when it is one for the careful path."""
        if len(packet) > SLOT_BYTES:
            return None
        self._slot.put(0, packet)
        (size,) = self.answer_slots(self._slot, (len(packet),), (self._heads[recursion],))
        return self._slot.get(0, size) if size else None

    def answer_slots(self, slots: Slots, sizes: Iterable[int], askers: Iterable[Heads]) -> list[int]:
        """Turn each packet, `sizes[i]` bytes in slot `i`, into its reply in place; return the replies' sizes.

        A size of 0 means that the packet is as it was and one for the careful path. The common cases, an address and
        a name that does not exist, are written out in the loop: a call would cost a tenth of a packet's time.
        """
        memory, opt_of, select = slots.memory, self._opts.get, self._select
        get_node, domain, cuts = self._answers.nodes.get, self._answers.domain, self._answers.cuts
        get_negative = (_NO_NEGATIVES if self._answers.has_every_label else self._one_label).get
        domain_bytes, no_names = len(domain), 0
        # With parts of the domain handed to others, an address may be for them alone: that takes a closer look.
        address: type[bytes] = bytes if not cuts else _Nothing
        replies: list[int] = []
        reply = replies.append
        places = zip(slots.starts, slots.headers, slots.names, sizes, askers, strict=False)
        for at, after_id, name_at, size, heads in places:
            head = heads.get(memory[after_id])
            if head is None or size < MIN_QUERY_BYTES:
                reply(0)
                continue
            end, limit, opt = at + size, MIN_UDP_BYTES, b""
            if head[_EDNS]:
                end -= OPT_BYTES
                given = memory[end : at + size]
                limit, opt = opt_of(given) or self._opt(given)
                if not limit or end - at < MIN_QUERY_BYTES:
                    reply(0)
                    continue
            name_end = end - QUESTION_FIXED_BYTES
            name = memory[name_at:name_end].lower()
            kind = memory[name_end:end]
            node = get_node(name)
            if node.__class__ is address and kind == A_IN:
                header, body = head[_ONE], node
            elif (
                node is None
                and kind == A_IN
                and name[0] + 1 == (label := len(name) - domain_bytes)
                and name[label:] == domain
                and (negative := get_negative(label))
            ):
                header, body = head[_NO_NAME], negative
                no_names += 1
            else:
                try:
                    header, body = select(name, kind, node, head, limit - (end - at) - len(opt))
                except Exception:  # noqa: BLE001 - the others of the batch go on; the careful path fails too, and tells
                    header, body = _DECLINED
                if not header:
                    reply(0)
                    continue
            if opt:
                body += opt
            stop = end + len(body)
            memory[after_id] = header
            memory[end:stop] = body
            reply(stop - at)
        self._stats.nxdomain += no_names
        return replies

    def _select(self, name: bytes, kind: bytes, node: Node | None, head: Head, room: int) -> tuple[bytes, bytes]:
        """The header and the records of a reply; an empty header when the packet is one for the careful path.

        `room` is how many bytes of records fit.
        """
        authority = self._answers.authority
        if node is None and is_name(name) and (found := self._answers.find(name)):
            node, authority = found.node, found.authority
            if node is None and kind in _PLAIN_TYPES and not found.cut:
                self._stats.nxdomain += 1
                return _fitting(head[_NO_NAME], authority.negative(len(name)), room)
        if node is None or kind not in _PLAIN_TYPES or (self._answers.cuts and self._is_handed_over(name)):
            return _DECLINED
        if isinstance(node, bytes):
            header, body = (head[_ONE], node) if kind == A_IN else (head[_NONE], authority.negative(len(name)))
            return _fitting(header, body, room)
        rrset = node.get(kind)
        if CNAME_IN in node if rrset is None else kind != A_IN and kind in _LEADING_TYPES:
            return self._composed(name, kind, Found(node, authority), head, room)
        if isinstance(rrset, Rotation):
            ready = rrset.size_bytes <= room
            return (head[_BEFORE_COUNT] + rrset.count + head[_AFTER_COUNT], rrset.next()) if ready else _DECLINED
        header, body = (head[_ONE], rrset) if rrset else (head[_NONE], authority.negative(len(name)))
        return _fitting(header, body, room)

    def _is_handed_over(self, name: bytes) -> bool:
        return names.is_under(name, self._answers.domain) and bool(self._answers.cut_above(name))

    def _composed(self, name: bytes, kind: bytes, found: Found, head: Head, room: int) -> tuple[bytes, bytes]:
        """As `_select`, for what is more than an RRset: aliases, and targets whose addresses are added."""
        made = compose(self._answers, found, name, int.from_bytes(kind[:2], "big"))
        kept, is_cut = made.sections.fit(room)
        # What only UDP leaves out, TCP has room for.
        is_whole = kept.counts == made.sections.counts
        if made.outside or is_cut or not is_whole or made.rcode == Rcode.SERVFAIL:
            return _DECLINED
        self._stats.nxdomain += made.rcode == Rcode.NXDOMAIN
        before, after = head[_BEFORE_COUNT], head[_AFTER_COUNT]
        answers, authorities, additional = kept.counts
        counts = answers, authorities, additional + after[-1]
        header = bytes((before[0], before[1] | made.rcode)) + before[2:]
        return header + b"".join(count.to_bytes(2, "big") for count in counts), bytes(kept)

    def _opt(self, given: bytes) -> tuple[int, bytes]:
        """The size limit that a plain OPT sets, and the OPT that answers it; a limit of 0 when it is not plain."""
        if len(given) != OPT_BYTES:
            return 0, b""
        root, rtype, size, _, version, flags, rdlength = OPT.unpack(given)
        if root or rtype != _OPT_TYPE or version or rdlength:
            return 0, b""
        if len(self._opts) >= _MAX_OPTS:
            self._opts.clear()
        made = min(max(size, MIN_UDP_BYTES), MAX_UDP_BYTES), opt_reply(dnssec_ok=bool(flags & 0x8000))
        self._opts[given] = made
        return made


def _fitting(header: bytes, body: bytes, room: int) -> tuple[bytes, bytes]:
    return (header, body) if len(body) <= room else _DECLINED


def _heads(*, recursion: bool) -> Heads:
    """All headers of plain queries: RD, AD and CD as they like, one question, and no record or one OPT at most."""
    heads: dict[bytes, Head] = {}
    for rd, ad, cd, edns in product((0, Flag.RD), (0, Flag.AD), (0, Flag.CD), (False, True)):
        extra = int(edns).to_bytes(2, "big")
        flags = Flag.QR | Flag.AA | rd | cd | (Flag.RA if recursion else 0)
        ok, nx = (int(flags | rcode).to_bytes(2, "big") for rcode in (Rcode.NOERROR, Rcode.NXDOMAIN))
        query = int(rd | ad | cd).to_bytes(2, "big") + b"\0\1\0\0\0\0" + extra
        heads[query] = (
            ok + b"\0\1\0\1\0\0" + extra,
            ok + b"\0\1\0\0\0\1" + extra,
            nx + b"\0\1\0\0\0\1" + extra,
            ok + b"\0\1",
            b"\0\0" + extra,
            b"\1" if edns else b"",
        )
    return heads
