"""The fast path: from a plain question about a name of ours straight to the reply. Declines all the rest.

It must never parse what it does not need, allocate what it can have ready, or answer anything differently from the
careful path (`resolver`), which takes whatever is declined here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product
from mmap import mmap

from weavedns.dns.answers import A_IN, CNAME_IN, Answers, Found, tail
from weavedns.dns.rrset import RRset
from weavedns.dns.stats import DnsStats
from weavedns.dns.tree import Node
from weavedns.dns.wire import (
    MAX_UDP_BYTES,
    MIN_QUERY_BYTES,
    MIN_UDP_BYTES,
    OPT,
    OPT_BYTES,
    SLOT_BYTES,
    Flag,
    Rcode,
    is_name,
    opt_reply,
)

_MAX_OPTS = 512
_OPT_TYPE = 41
_ARPA = b"\x04arpa\0"
# Types that need no thought; ANY, transfers and other meta types do.
_PLAIN_TYPES = frozenset(tail(rtype) for rtype in range(1, 128) if rtype != _OPT_TYPE)

_DECLINED = b"", b""

# What a reply's header holds after the ID, by what a query's holds there. Of a reply with one record, of one with
# none, and of one that says that there is no such name; the flags alone and the count of additional records, for
# a reply with several records; whether an OPT follows the question.
Head = tuple[bytes, bytes, bytes, bytes, bytes, bool]
Heads = Mapping[bytes, Head]


class Responder:
    """Answers plain questions from `answers`; all its memory is made at the start."""

    def __init__(self, answers: Answers, stats: DnsStats | None = None) -> None:
        self._answers = answers
        self._stats = stats or DnsStats()
        self._heads = {recursion: _heads(recursion=recursion) for recursion in (False, True)}
        self._opts: dict[bytes, tuple[int, bytes]] = {}
        self._slot = mmap(-1, SLOT_BYTES)
        # Most names that do not exist are one label under the domain: their authority section by name length.
        below = len(answers.domain) + 1
        self._one_label = {below + size: answers.authority.negative(below + size) for size in range(1, 64)}

    def heads(self, *, recursion: bool) -> Heads:
        """The reply headers for an asker who may, or may not, have queries forwarded."""
        return self._heads[recursion]

    def answer(self, packet: bytes, *, recursion: bool) -> bytes | None:
        """The reply to a packet; None when it is one for the careful path."""
        size = len(packet)
        if size > SLOT_BYTES:
            return None
        self._slot[:size] = packet
        (size,) = self.answer_slots(self._slot, (0,), (size,), (self._heads[recursion],))
        return self._slot[:size] if size else None

    # One loop without calls for the common cases: every call would cost a twentieth of the packet's time.
    def answer_slots(
        self, memory: mmap, offsets: Iterable[int], sizes: Iterable[int], askers: Iterable[Heads]
    ) -> list[int]:
        """Turn each packet, `sizes[i]` bytes at `offsets[i]`, into its reply in place; return the replies' sizes.

        A size of 0 means that the packet is as it was and one for the careful path.
        """
        domain, get_node, one_label = self._answers.domain, self._answers.nodes.get, self._one_label
        get_opt, plain_types, below = self._opts.get, _PLAIN_TYPES, len(self._answers.domain) + 1
        replies: list[int] = []
        for at, size, heads in zip(offsets, sizes, askers, strict=False):
            head = heads.get(memory[at + 2 : at + 12])
            if head is None or size < MIN_QUERY_BYTES:
                replies.append(0)
                continue
            header, _, no_name, _, _, edns = head
            end, limit = at + size, MIN_UDP_BYTES
            if edns:
                end -= OPT_BYTES
                given = memory[end : at + size]
                limit, opt = get_opt(given) or self._opt(given)
            kind = memory[end - 4 : end]
            name = memory[at + 12 : end - 4].lower()
            node = get_node(name)
            body: bytes | None
            if kind == A_IN and node.__class__ is bytes:
                body = node  # type: ignore[assignment]  # the test above is isinstance, only faster
            elif (
                node is None
                and kind in plain_types
                and (body := one_label.get(len(name)))
                and name[0] + below == len(name)
                and name.endswith(domain)
            ):
                header = no_name
                self._stats.nxdomain += 1
            else:
                header, body = self._select(name, kind, node, head)
            if edns:
                body += opt
            stop = end + len(body)
            if stop - at > limit or not header:
                replies.append(0)
                continue
            memory[at + 2 : at + 12] = header
            memory[end:stop] = body
            replies.append(stop - at)
        return replies

    def _select(self, name: bytes, kind: bytes, node: Node | None, head: Head) -> tuple[bytes, bytes]:
        """The header and the records of a reply; an empty header when the packet is one for the careful path."""
        one, none, no_name, flags, extra, _ = head
        rrset: RRset | None = None
        if kind not in _PLAIN_TYPES or (node is None and not is_name(name)):
            return _DECLINED
        found = self._answers.find(name) if node is None else Found(node, self._answers.authority)
        if found is None:
            return _DECLINED
        if found.node is None:
            self._stats.nxdomain += 1
            return no_name, found.authority.negative(len(name))
        if not isinstance(found.node, bytes):
            rrset = found.node.get(kind) or found.node.get(CNAME_IN)
        elif kind == A_IN:
            rrset = found.node
        if rrset is None:
            return none, found.authority.negative(len(name))
        if isinstance(rrset, bytes):
            return one, rrset
        return b"".join((flags, b"\0\1", rrset.count, b"\0\0", extra)), rrset.next()

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


def _heads(*, recursion: bool) -> dict[bytes, Head]:
    """All headers of plain queries: RD, AD and CD as they like, one question, and no record or one OPT at most."""
    heads = {}
    for rd, ad, cd, edns in product((0, Flag.RD), (0, Flag.AD), (0, Flag.CD), (False, True)):
        extra = int(edns).to_bytes(2, "big")
        flags = Flag.QR | Flag.AA | rd | cd | (Flag.RA if recursion else 0)
        ok, nx = (int(flags | rcode).to_bytes(2, "big") for rcode in (Rcode.NOERROR, Rcode.NXDOMAIN))
        query = int(rd | ad | cd).to_bytes(2, "big") + b"\0\1\0\0\0\0" + extra
        heads[query] = (
            ok + b"\0\1\0\1\0\0" + extra,
            ok + b"\0\1\0\0\0\1" + extra,
            nx + b"\0\1\0\0\0\1" + extra,
            ok,
            extra,
            edns,
        )
    return heads
