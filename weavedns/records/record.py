"""Record and the record types by name and number. Holds no state."""

from __future__ import annotations

import re
from enum import IntEnum, StrEnum

from msgspec import Struct

from weavedns.errors import RecordError

MAX_TTL_S = 2**31 - 1
_TYPE_NUMBER = re.compile(r"TYPE([0-9]{1,5})")
_MAX_TYPE = 65535


class RecordType(IntEnum):
    """The record types that have a name here (IANA registry); others are TYPEnnn (RFC 3597)."""

    A = 1
    NS = 2
    CNAME = 5
    SOA = 6
    PTR = 12
    MX = 15
    TXT = 16
    AAAA = 28
    SRV = 33
    OPT = 41
    ANY = 255


class Origin(StrEnum):
    """Where a record came from."""

    CONTAINER = "container"
    ADDED = "added"
    ZONE = "zone"
    PEER = "peer"
    ALIAS = "alias"  # a container's as well, but not the name that it goes by


class Record(Struct, frozen=True, eq=False, gc=False):
    """One resource record and whom it belongs to.

    Two records are equal when owner, holder, name, type and data are: that is the key under which it is
    replicated. `holder` is the full container ID, or names the zone file or the store that the record goes
    away with. `name` is in wire form and lower case, `rdata` in wire form without compression. `healthy` is false
    while the container's health check says so.

    A record holds nothing that could hold it, so Python's collector of cycles need not look at one: with 100,000 of
    them every full collection would keep queries waiting.
    """

    owner: str
    holder: str
    name: bytes
    rtype: int
    rdata: bytes
    ttl_s: int
    origin: Origin
    healthy: bool = True

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Record):
            return NotImplemented
        return (
            self.name == other.name
            and self.rdata == other.rdata
            and self.rtype == other.rtype
            and self.holder == other.holder
            and self.owner == other.owner
        )

    def __ne__(self, other: object) -> bool:
        # The base class has one of its own, which looks at every field.
        return not self == other

    def __hash__(self) -> int:
        return hash((self.name, self.rdata, self.rtype, self.holder, self.owner))


def type_code(text: str) -> int:
    """The number of a record type given by name or as TYPEnnn; raises RecordError for anything else."""
    upper = text.upper() if text.isascii() else text
    if upper in RecordType.__members__:
        return int(RecordType[upper])
    match = _TYPE_NUMBER.fullmatch(upper)
    if match and int(match[1]) <= _MAX_TYPE:
        return int(match[1])
    raise RecordError(f"{text!r} is no record type; use A, AAAA, SRV and so on, or TYPEnnn")


def type_name(code: int) -> str:
    """The name of a record type, TYPEnnn when it has none here (RFC 3597 section 5)."""
    try:
        return RecordType(code).name
    except ValueError:
        return f"TYPE{code}"


def check_ttl(ttl_s: int) -> int:
    """Return `ttl_s` when it is a TTL (RFC 2181 section 8), else raise RecordError."""
    if not 0 <= ttl_s <= MAX_TTL_S:
        raise RecordError(f"{ttl_s} is no TTL; give seconds from 0 to {MAX_TTL_S}")
    return ttl_s
