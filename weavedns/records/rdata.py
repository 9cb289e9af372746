"""Record data: presentation form to wire form and back, a pair of functions for each type. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address

from weavedns.errors import RecordError
from weavedns.records import names
from weavedns.records.record import RecordType, type_name

MAX_RDATA_BYTES = 65535 - 512
MAX_STRING_BYTES = 255
_MAX_U16 = 65535
_SRV_FIXED_BYTES = 6
_MX_FIXED_BYTES = 2
_SOA_NUMBERS = 5
_SOA_FIXED_BYTES = 4 * _SOA_NUMBERS
_MAX_U32 = 2**32 - 1
_MAX_BYTE = 255
_GENERIC = r"\#"

Parser = Callable[[Sequence[str], bytes], bytes]
Renderer = Callable[[bytes], str]


def parse(rtype: int, fields: Sequence[str], origin: bytes) -> bytes:
    r"""Read record data given as its fields in master-file form; names without a final dot go under `origin`.

    Any type also takes the generic form ``\# LENGTH HEX`` (RFC 3597 section 5). Raises RecordError.
    """
    if fields and fields[0] == _GENERIC:
        return check(rtype, _parse_generic(fields[1:]))
    parser = _PARSERS.get(rtype)
    if parser is None:
        raise RecordError(rf"{type_name(rtype)} data cannot be written this way; use the generic form \# LENGTH HEX")
    return parser(fields, origin)


def render(rtype: int, rdata: bytes) -> str:
    """Write record data in master-file form, names with their final dot; unknown types in the generic form."""
    renderer = _RENDERERS.get(rtype)
    return renderer(rdata) if renderer else rf"\# {len(rdata)} {rdata.hex()}".rstrip()


def check(rtype: int, raw: bytes) -> bytes:
    """Return wire data, names in it in lower case, when it is what this type holds; else raise RecordError."""
    size = _SIZES.get(rtype)
    if size is not None and len(raw) != size:
        raise RecordError(f"{raw[:40].hex()!r} is no {type_name(rtype)} data; that has {size} bytes")
    fixed = _BYTES_BEFORE_NAME.get(rtype)
    if fixed is not None:
        return raw[:fixed] + names.check_wire(raw[fixed:])
    if rtype == RecordType.SOA:
        ns_bytes = _name_bytes(raw)
        ns, mailbox = raw[:ns_bytes], raw[ns_bytes:-_SOA_FIXED_BYTES]
        return names.check_wire(ns) + names.check_wire(mailbox) + raw[-_SOA_FIXED_BYTES:]
    if rtype == RecordType.TXT:
        at = 0
        while at < len(raw):
            at += raw[at] + 1
        if not raw or at != len(raw):
            raise RecordError(f"{raw[:40].hex()!r} is no TXT data; each string needs its length before it")
    return raw


def srv(priority: int, weight: int, port: int, target: bytes) -> bytes:
    """The data of an SRV record (RFC 2782); `target` in wire form."""
    return b"".join(_u16(value) for value in (priority, weight, port)) + target


def _u16(value: int) -> bytes:
    if not 0 <= value <= _MAX_U16:
        raise RecordError(f"{value} is out of range; give a number from 0 to {_MAX_U16}")
    return value.to_bytes(2, "big")


def _number(text: str, most: int = _MAX_U16) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", text):
        raise RecordError(f"{text!r} is no number; give one from 0 to {most}")
    return int(text)


def _u32(value: int) -> bytes:
    if value > _MAX_U32:
        raise RecordError(f"{value} is out of range; give a number from 0 to {_MAX_U32}")
    return value.to_bytes(4, "big")


def _name_bytes(raw: bytes) -> int:
    """How many bytes the name has that wire data starts with, or seems to have."""
    at = 0
    while at < len(raw) and raw[at]:
        at += raw[at] + 1
    return at + 1


def _take(fields: Sequence[str], what: str) -> Sequence[str]:
    if len(fields) != len(what.split()):
        raise RecordError(f"{' '.join(fields)!r} is not what this type needs: {what}")
    return fields


def _parse_a(fields: Sequence[str], _: bytes) -> bytes:
    (text,) = _take(fields, "ADDRESS")
    try:
        return IPv4Address(text).packed
    except ValueError:
        raise RecordError(f"{text!r} is no IPv4 address; write one such as 10.2.1.7") from None


def _parse_aaaa(fields: Sequence[str], _: bytes) -> bytes:
    (text,) = _take(fields, "ADDRESS")
    try:
        # A scope (fe80::1%eth0) means nothing outside its own host.
        return IPv6Address(text.replace("%", "no scope")).packed
    except ValueError:
        raise RecordError(f"{text!r} is no IPv6 address; write one such as 2001:db8::7") from None


def _parse_name(fields: Sequence[str], origin: bytes) -> bytes:
    (text,) = _take(fields, "NAME")
    return names.parse(text, origin)


def _parse_soa(fields: Sequence[str], origin: bytes) -> bytes:
    ns, mailbox, *numbers = _take(fields, "MNAME RNAME SERIAL REFRESH RETRY EXPIRE MINIMUM")
    hosts = [names.parse(text, origin) for text in (ns, mailbox)]
    return b"".join([*hosts, *(_u32(_number(text, _MAX_U32)) for text in numbers)])


def _parse_mx(fields: Sequence[str], origin: bytes) -> bytes:
    preference, exchange = _take(fields, "PREFERENCE NAME")
    return _u16(_number(preference)) + names.parse(exchange, origin)


def _parse_srv(fields: Sequence[str], origin: bytes) -> bytes:
    priority, weight, port, target = _take(fields, "PRIORITY WEIGHT PORT NAME")
    return srv(_number(priority), _number(weight), _number(port), names.parse(target, origin))


def _parse_txt(fields: Sequence[str], _: bytes) -> bytes:
    if not fields:
        raise RecordError("a TXT record needs at least one string")
    parts = []
    for text in fields:
        raw = _unescape(text)
        if len(raw) > MAX_STRING_BYTES:
            raise RecordError(f"{text[:20]!r}... is {len(raw)} bytes long; split it at {MAX_STRING_BYTES}")
        parts.append(bytes((len(raw),)) + raw)
    return _bounded(b"".join(parts))


def _parse_generic(fields: Sequence[str]) -> bytes:
    digits = "".join(fields[1:])
    if fields and re.fullmatch(r"[0-9]{1,5}", fields[0]) and re.fullmatch(r"(?:[0-9A-Fa-f]{2})*+", digits):
        raw = bytes.fromhex(digits)
        if len(raw) == int(fields[0]):
            return _bounded(raw)
    raise RecordError(rf"'\# {' '.join(fields)}' is no generic data; write \# LENGTH HEX, LENGTH in bytes")


def _bounded(raw: bytes) -> bytes:
    if len(raw) > MAX_RDATA_BYTES:
        raise RecordError(f"the data is {len(raw)} bytes long; a record holds at most {MAX_RDATA_BYTES}")
    return raw


def _unescape(text: str) -> bytes:
    def byte(match: re.Match[bytes]) -> bytes:
        escaped = match[1]
        if not escaped.isdigit():
            if not escaped:
                raise RecordError(f"{text!r} ends with a backslash; write it twice to mean itself")
            return escaped
        if len(escaped) < 3 or int(escaped) > _MAX_BYTE:  # noqa: PLR2004 - three digits, as RFC 1035 says
            raise RecordError(f"{text!r} has a broken escape; write \\DDD with DDD at most 255")
        return bytes((int(escaped),))

    try:
        raw = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise RecordError(f"{text!r} has a character that is none; write it as \\DDD") from None
    return re.sub(rb"\\(\d{1,3}|.|$)", byte, raw, flags=re.DOTALL) if b"\\" in raw else raw


def _render_name(rdata: bytes) -> str:
    return "." if rdata == names.ROOT else names.render(rdata) + "."


def _render_soa(rdata: bytes) -> str:
    ns, mailbox = rdata[: _name_bytes(rdata)], rdata[_name_bytes(rdata) : -_SOA_FIXED_BYTES]
    starts = range(len(rdata) - _SOA_FIXED_BYTES, len(rdata), 4)
    numbers = [str(int.from_bytes(rdata[at : at + 4], "big")) for at in starts]
    return " ".join([_render_name(ns), _render_name(mailbox), *numbers])


def _render_mx(rdata: bytes) -> str:
    return f"{int.from_bytes(rdata[:2], 'big')} {_render_name(rdata[_MX_FIXED_BYTES:])}"


def _render_srv(rdata: bytes) -> str:
    numbers = " ".join(str(int.from_bytes(rdata[at : at + 2], "big")) for at in (0, 2, 4))
    return f"{numbers} {_render_name(rdata[_SRV_FIXED_BYTES:])}"


def _render_txt(rdata: bytes) -> str:
    parts, at = [], 0
    while at < len(rdata):
        size = rdata[at]
        parts.append('"' + "".join(_text_byte(byte) for byte in rdata[at + 1 : at + 1 + size]) + '"')
        at += 1 + size
    return " ".join(parts)


def _text_byte(byte: int) -> str:
    char = chr(byte)
    if char in '"\\':
        return "\\" + char
    return char if " " <= char <= "~" else f"\\{byte:03d}"


_PARSERS: dict[int, Parser] = {
    RecordType.A: _parse_a,
    RecordType.AAAA: _parse_aaaa,
    RecordType.NS: _parse_name,
    RecordType.CNAME: _parse_name,
    RecordType.SOA: _parse_soa,
    RecordType.PTR: _parse_name,
    RecordType.MX: _parse_mx,
    RecordType.SRV: _parse_srv,
    RecordType.TXT: _parse_txt,
}
_RENDERERS: dict[int, Renderer] = {
    RecordType.A: lambda rdata: str(IPv4Address(rdata)),
    RecordType.AAAA: lambda rdata: str(IPv6Address(rdata)),
    RecordType.NS: _render_name,
    RecordType.CNAME: _render_name,
    RecordType.SOA: _render_soa,
    RecordType.PTR: _render_name,
    RecordType.MX: _render_mx,
    RecordType.SRV: _render_srv,
    RecordType.TXT: _render_txt,
}
_SIZES: dict[int, int] = {RecordType.A: 4, RecordType.AAAA: 16}
_BYTES_BEFORE_NAME: dict[int, int] = {
    RecordType.NS: 0,
    RecordType.CNAME: 0,
    RecordType.PTR: 0,
    RecordType.MX: _MX_FIXED_BYTES,
    RecordType.SRV: _SRV_FIXED_BYTES,
}
