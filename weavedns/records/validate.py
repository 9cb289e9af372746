"""Whether names and record data that came from outside are sound. Never repairs anything."""

from __future__ import annotations

from collections.abc import Callable

from weavedns.records.record import RecordType

_MAX_NAME_BYTES = 255
_MAX_LABEL_BYTES = 63
_SRV_FIXED_BYTES = 6
_MX_FIXED_BYTES = 2
_IPV4_BYTES = 4
_IPV6_BYTES = 16


def is_name(name: bytes) -> bool:
    """Whether `name` is exactly one uncompressed wire name (RFC 1035 section 3.1) in lower case."""
    at, size = 0, len(name)
    if not 0 < size <= _MAX_NAME_BYTES or name != name.lower():
        return False
    while at < size:
        label = name[at]
        if label == 0:
            return at == size - 1
        if label > _MAX_LABEL_BYTES:
            return False
        at += label + 1
    return False


def is_rdata(rtype: int, rdata: bytes) -> bool:
    """Whether `rdata` is well formed for its type; data of a type that is not known here always is."""
    check = _CHECKS.get(rtype)
    return check is None or check(rdata)


def _is_strings(rdata: bytes) -> bool:
    at = 0
    while at < len(rdata):
        at += rdata[at] + 1
    return 0 < len(rdata) == at


def _is_target(rdata: bytes) -> bool:
    # Unlike the name of a record, a name in the data may have capital letters.
    return is_name(rdata.lower())


_CHECKS: dict[int, Callable[[bytes], bool]] = {
    RecordType.A: lambda rdata: len(rdata) == _IPV4_BYTES,
    RecordType.AAAA: lambda rdata: len(rdata) == _IPV6_BYTES,
    RecordType.NS: _is_target,
    RecordType.CNAME: _is_target,
    RecordType.PTR: _is_target,
    RecordType.MX: lambda rdata: _is_target(rdata[_MX_FIXED_BYTES:]),
    RecordType.SRV: lambda rdata: _is_target(rdata[_SRV_FIXED_BYTES:]),
    RecordType.TXT: _is_strings,
}
