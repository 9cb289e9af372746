"""The numbers of the DNS message format (RFC 1035, 2671, 6891, 8914). Holds no state and no rule."""

from __future__ import annotations

import struct
from enum import IntEnum, IntFlag

HEADER_BYTES = 12
QUESTION_FIXED_BYTES = 4
MIN_QUERY_BYTES = HEADER_BYTES + 1 + QUESTION_FIXED_BYTES
MAX_NAME_BYTES = 255
MAX_LABEL_BYTES = 63
MAX_UDP_BYTES = 1232  # what we advertise and send at most (RFC 9715)
MIN_UDP_BYTES = 512
MAX_TCP_BYTES = 65535
OPT_BYTES = 11
# Room for any plain query and its reply over UDP. No power of two: slots would fight for the same cache lines.
SLOT_BYTES = 2048 + 64
CLASS_IN = 1
CLASS_IN_BYTES = b"\0\1"
OPCODE_SHIFT = 11
OPCODE_MASK = 0xF
# An owner name that is the name of the question, as a compression pointer (RFC 1035 section 4.1.4).
QUESTION_POINTER = b"\xc0\x0c"
POINTER_MARK = 0xC000
MAX_POINTER = 0x3FFF

HEADER = struct.Struct("!HHHHHH")
RR_FIXED = struct.Struct("!HHIH")  # type, class, TTL, data length
RR_HEAD_BYTES = len(QUESTION_POINTER) + RR_FIXED.size  # of a record whose owner is a pointer
OPT = struct.Struct("!BHHBBHH")  # root, type, payload size, extended RCODE, version, flags, data length


class Flag(IntFlag):
    """The bits of a header's second word, apart from the opcode and the RCODE."""

    QR = 0x8000
    AA = 0x0400
    TC = 0x0200
    RD = 0x0100
    RA = 0x0080
    AD = 0x0020
    CD = 0x0010


class Rcode(IntEnum):
    """Response codes; BADVERS needs an OPT to be said."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5
    BADVERS = 16


class Ede(IntEnum):
    """Extended errors (RFC 8914)."""

    OTHER = 0
    NOT_READY = 14
    STALE = 3
    CACHED_ERROR = 13
    PROHIBITED = 18
    STALE_NXDOMAIN = 19
    NOT_AUTHORITATIVE = 20
    NOT_SUPPORTED = 21
    NO_REACHABLE_AUTHORITY = 22
    NETWORK_ERROR = 23


def rr_head(rtype: int, ttl_s: int, size_bytes: int) -> bytes:
    """A record's bytes before its data, with the question's name as its owner."""
    return QUESTION_POINTER + RR_FIXED.pack(rtype, CLASS_IN, ttl_s, size_bytes)


def opt_reply(dnssec_ok: bool, extended_rcode: int = 0, options: bytes = b"") -> bytes:
    """The OPT record of a reply (RFC 6891 section 6.1): our size, version 0, DO as it was asked."""
    flags = 0x8000 if dnssec_ok else 0
    return OPT.pack(0, 41, MAX_UDP_BYTES, extended_rcode, 0, flags, len(options)) + options


def is_name(data: bytes) -> bool:
    """Whether these bytes are one whole uncompressed name (RFC 1035 section 3.1)."""
    size, at = len(data), 0
    if not 0 < size <= MAX_NAME_BYTES:
        return False
    while at < size and data[at]:
        if data[at] > MAX_LABEL_BYTES:
            return False
        at += data[at] + 1
    return at == size - 1
