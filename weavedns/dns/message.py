"""Messages as a whole: taking queries apart with all their oddities, and putting replies together. Decides nothing.

The only place of this package that uses dnslib: it reads the records of an unusual query.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dnslib import RR, DNSBuffer, DNSError
from dnslib.buffer import BufferError as DnslibBufferError
from dnslib.label import DNSLabelError

from weavedns.dns import opts, wire
from weavedns.dns.sections import NOTHING, Sections
from weavedns.dns.wire import HEADER, HEADER_BYTES, Ede, Flag, Rcode
from weavedns.errors import WireError
from weavedns.records.record import RecordType

# No query of good faith has more; each costs time to read.
MAX_QUERY_RECORDS = 8
_DO = 0x8000
_POINTER_BITS = 0xC0
_RR_FIXED_BYTES = wire.RR_FIXED.size
_ADDITIONAL = 2
# Plain numbers, as arithmetic with enumerations takes ten times as long.
_QR, _TC = int(Flag.QR), int(Flag.TC)
_ECHOED = int(Flag.RD | Flag.CD) | wire.OPCODE_MASK << wire.OPCODE_SHIFT


@dataclass(frozen=True, slots=True)
class Edns:
    """What the OPT record of a query says (RFC 6891 section 6.1)."""

    size_bytes: int
    version: int
    dnssec_ok: bool
    cookie: bytes | None = None  # RFC 7873, as it was sent
    nsid: bool = False  # RFC 5001: it asks who we are


@dataclass(frozen=True, slots=True)
class Query:
    """A query taken apart; `question` is its question section as it was sent, `name` the same name in lower case.

    `fault` is the code of the error that it is to be answered with instead, when it cannot be taken at its word;
    `question` is empty then if there is none to give back, and in a query that wants no more than a cookie. `options`
    go into the OPT of every reply to it.
    """

    id: int
    flags: int
    question: bytes = b""
    name: bytes = b""
    rtype: int = 0
    rclass: int = 0
    edns: Edns | None = None
    fault: Rcode = Rcode.NOERROR
    options: bytes = b""

    @property
    def udp_limit_bytes(self) -> int:
        """The size that a UDP reply may have."""
        if self.edns is None:
            return wire.MIN_UDP_BYTES
        return min(max(self.edns.size_bytes, wire.MIN_UDP_BYTES), wire.MAX_UDP_BYTES)


def parse_query(packet: bytes) -> Query | None:
    """Take a query apart; None for what must not be answered at all: runts and replies (RFC 8906)."""
    if len(packet) < HEADER_BYTES:
        return None
    ident, flags, questions, *records = HEADER.unpack_from(packet)
    if flags & Flag.QR:
        return None
    fault = Rcode.NOTIMP if (flags >> wire.OPCODE_SHIFT) & wire.OPCODE_MASK else Rcode.NOERROR
    question = read_question(packet) if questions == 1 else b""
    if (questions and not question) or sum(records) > MAX_QUERY_RECORDS:
        return Query(ident, flags, question, fault=fault or Rcode.FORMERR)
    edns = None
    try:
        edns = _read_edns(packet, HEADER_BYTES + len(question), records)
    except WireError:
        fault = fault or Rcode.FORMERR
    if not questions:
        # RFC 7873 section 5.4: who wants but a cookie asks nothing.
        wants_cookie = edns is not None and edns.cookie is not None
        fault = fault or (Rcode.NOERROR if wants_cookie else Rcode.FORMERR)
        return Query(ident, flags, rclass=wire.CLASS_IN, edns=edns, fault=fault)
    rtype = int.from_bytes(question[-4:-2], "big")
    rclass = int.from_bytes(question[-2:], "big")
    return Query(ident, flags, question, question[:-4].lower(), rtype, rclass, edns, fault)


def read_question(packet: bytes) -> bytes:
    """The bytes of a message's first question; empty when it is cut short or malformed."""
    at = HEADER_BYTES
    while at < min(len(packet), HEADER_BYTES + wire.MAX_NAME_BYTES) and packet[at]:
        at += packet[at] + 1
    stop = at + 1 + wire.QUESTION_FIXED_BYTES
    question = packet[HEADER_BYTES:stop]
    return question if stop <= len(packet) and wire.is_name(question[:-4]) else b""


def build_reply(
    query: Query,
    sections: Sections = NOTHING,
    *,
    limit_bytes: int,
    rcode: Rcode = Rcode.NOERROR,
    flags: int = 0,
    ede: tuple[Ede, str] | None = None,
) -> bytes:
    """A reply of at most `limit_bytes`: records that do not fit are left out whole, and TC says so.

    `flags` are those that the server adds (AA, RA). The OPT record stands last, and only when the query had one.
    """
    opt = _opt(query, rcode, ede)
    kept, cut = sections.fit(limit_bytes - HEADER_BYTES - len(query.question) - len(opt))
    word = _QR | query.flags & _ECHOED | flags | (_TC if cut else 0) | rcode & 0xF
    answers, authorities, additional = kept.counts
    counts = (1 if query.question else 0, answers, authorities, additional + (1 if opt else 0))
    return b"".join((HEADER.pack(query.id, word, *counts), query.question, bytes(kept), opt))


def build_upstream_query(query: Query, ident: int, *, edns: bool = True) -> bytes:
    """The same question for an upstream, with an OPT of our own: OPT is hop by hop (RFC 6891 section 6.1.1)."""
    dnssec_ok = query.edns is not None and query.edns.dnssec_ok
    # AD asks whether the answer is authentic (RFC 6840 section 5.7): the next asker may want to know.
    flags = Flag.RD | Flag.AD | query.flags & Flag.CD
    opt = wire.opt_reply(dnssec_ok=dnssec_ok) if edns else b""
    return HEADER.pack(ident, flags, 1, 0, 0, 1 if opt else 0) + query.question + opt


@dataclass(frozen=True, slots=True)
class Reply:
    """An upstream's reply: its header, and where its records stand."""

    packet: bytes
    flags: int
    rcode: int
    has_opt: bool
    records: tuple[tuple[int, int, int], ...]  # section from 0 to 2, first byte, end


def parse_reply(packet: bytes, query: Query, ident: int) -> Reply:
    """Take apart what came from an upstream; raises WireError unless it answers `query` (RFC 5452 section 9.1)."""
    flags, end, counts = _check_reply(packet, query, ident)
    rcode, records, opt = flags & 0xF, [], None
    try:
        for section, rtype, start, stop in walk(packet, end, counts):
            if rtype == RecordType.OPT:
                opt = start
                rcode |= packet[start + 5] << 4
            elif opt is None:
                # What stands behind the OPT can point behind it, and is never needed.
                records.append((section, start, stop))
    except WireError:
        # A cut message may end anywhere; that it was cut is all there is to know.
        if not flags & Flag.TC:
            raise
        records = []
    return Reply(packet, flags, rcode, opt is not None, tuple(records))


@dataclass(frozen=True, slots=True)
class TtlField:
    """The TTL of one record of a reply: the record's section, type and end, where the TTL stands, and what it is."""

    section: int
    rtype: int
    at: int
    ttl_s: int
    end: int


def ttl_fields(reply: Reply) -> Iterator[TtlField]:
    """Yield the TTL of each record that a reply has besides its OPT."""
    for section, start, end in reply.records:
        fixed = skip_name(reply.packet, start)
        rtype, _, ttl_s, _ = wire.RR_FIXED.unpack_from(reply.packet, fixed)
        yield TtlField(section, rtype, fixed + 4, ttl_s, end)


def relay(query: Query, reply: Reply, *, limit_bytes: int, flags: int, ede: tuple[Ede, str] | None = None) -> bytes:
    """An upstream's reply as our own: the asker's ID, question and OPT; never AA; cut at `limit_bytes` if need be."""
    opt = _opt(query, reply.rcode, ede)
    start = HEADER_BYTES + len(query.question)
    counts = [0, 0, 0]
    end, tc = start, reply.flags & Flag.TC
    for section, _, stop in reply.records:
        if stop + len(opt) > limit_bytes:
            tc |= Flag.TC if section != _ADDITIONAL else 0
            break
        counts[section] += 1
        end = stop
    # RFC 6840 section 5.8: AD is for those who show that they know it, by AD or by DO.
    knows_ad = query.flags & Flag.AD or (query.edns and query.edns.dnssec_ok)
    word = Flag.QR | query.flags & (Flag.RD | Flag.CD) | (reply.flags & Flag.AD if knows_ad else 0) | flags
    word |= tc | reply.rcode & 0xF
    counts[_ADDITIONAL] += 1 if opt else 0
    head = HEADER.pack(query.id, word, 1, *counts)
    return head + query.question + reply.packet[start:end] + opt


def _check_reply(packet: bytes, query: Query, ident: int) -> tuple[int, int, list[int]]:
    """The flags of a reply, where its records start, and how many each section has."""
    if len(packet) < HEADER_BYTES:
        raise WireError("shorter than a header")
    got, flags, questions, *counts = HEADER.unpack_from(packet)
    if got != ident or not flags & Flag.QR or (flags >> wire.OPCODE_SHIFT) & wire.OPCODE_MASK:
        raise WireError("no reply to this query")
    if not questions and flags & 0xF not in {Rcode.NOERROR, Rcode.NXDOMAIN}:
        # A server that did not get as far as the question, such as one from before EDNS.
        return flags, len(packet), [0, 0, 0]
    end = HEADER_BYTES + len(query.question)
    name, kind = packet[HEADER_BYTES : end - 4].lower(), packet[end - 4 : end]
    if questions != 1 or name != query.name or kind != query.question[-4:]:
        raise WireError("a reply to another question")
    return flags, end, counts


def _read_edns(packet: bytes, at: int, counts: Iterable[int]) -> Edns | None:
    """The OPT among a query's records; raises WireError for a broken record, a misplaced OPT or two of them."""
    buffer = DNSBuffer(packet)
    buffer.offset = at
    found: list[Edns] = []
    for section, count in enumerate(counts):
        for _ in range(count):
            start = buffer.offset
            try:
                record = RR.parse(buffer)
            except (DNSError, DNSLabelError, DnslibBufferError, UnicodeDecodeError) as exc:
                # The last is what dnslib lets out of a CAA record whose tag is no text.
                raise WireError("a record of the query cannot be read") from exc
            if record.rtype != RecordType.OPT:
                continue
            if found or section != _ADDITIONAL or record.rname.label:
                raise WireError("an OPT that must not be there")
            options = opts.read_options(packet[start + wire.OPT_BYTES : buffer.offset])
            found.append(
                Edns(
                    size_bytes=record.rclass,
                    version=(record.ttl >> 16) & 0xFF,
                    dnssec_ok=bool(record.ttl & _DO),
                    cookie=options.get(opts.COOKIE),
                    nsid=opts.NSID in options,
                )
            )
    return found[0] if found else None


def _opt(query: Query, rcode: int, ede: tuple[Ede, str] | None) -> bytes:
    """The OPT of a reply; none when the query had none."""
    if query.edns is None:
        return b""
    extended = opts.option(opts.EDE, ede[0].to_bytes(2, "big") + ede[1].encode()) if ede else b""
    return wire.opt_reply(query.edns.dnssec_ok, rcode >> 4, query.options + extended)


def walk(packet: bytes, at: int, counts: Iterable[int]) -> Iterator[tuple[int, int, int, int]]:
    """Yield section, type, first byte and end of each record."""
    for section, count in enumerate(counts):
        for _ in range(count):
            fixed = skip_name(packet, at)
            if fixed + _RR_FIXED_BYTES > len(packet):
                raise WireError("a record is cut short")
            rtype, _, _, size = wire.RR_FIXED.unpack_from(packet, fixed)
            end = fixed + _RR_FIXED_BYTES + size
            if end > len(packet):
                raise WireError("a record's data is cut short")
            yield section, rtype, at, end
            at = end


def skip_name(packet: bytes, at: int) -> int:
    """Where a name in a message ends; raises WireError when it does not."""
    while at < len(packet):
        size = packet[at]
        if size & _POINTER_BITS == _POINTER_BITS:
            return at + 2
        if not size:
            return at + 1
        if size & _POINTER_BITS:
            break
        at += size + 1
    raise WireError("a name is cut short")
