"""Domain names: text to wire form and back, suffix tests, reverse names. Never looks anything up.

A name is held as the bytes it has on the wire (RFC 1035 section 3.1), in lower case, so that the bytes of a
query can be compared with it directly. Length bytes are below 64 and so untouched by ``bytes.lower``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from itertools import takewhile

from weavedns.errors import RecordError

MAX_NAME_BYTES = 255
MAX_LABEL_BYTES = 63
ROOT = b"\0"

_HOST_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?", re.IGNORECASE)
_PLAIN = re.compile(r"[!#-\[\]-~]+")  # printable ASCII without blank, quote and backslash
_ESCAPED_OR_PLAIN = re.compile(r"\\([0-9]{3})|\\([ -/:-~])|([!#-\[\]-~])")
_HEX_DIGIT_LABEL = re.compile(rb"[0-9a-f]")
# Every byte may be written as \DDD.
_MAX_NAME_CHARS = 4 * MAX_NAME_BYTES
_IN_ADDR = b"\x07in-addr\x04arpa\0"
_IP6 = b"\x03ip6\x04arpa\0"
_IPV4_LABELS = 4
_IPV6_LABELS = 32
_MAX_BYTE = 255


def parse(text: str, origin: bytes = ROOT) -> bytes:
    """Read a name in master-file form (RFC 1035 section 5.1): ``@`` is `origin`, and a name without a final dot is
    put under it.

    Raises RecordError for an empty label, a label over 63 bytes, a name over 255 bytes, or a character that
    must be escaped.
    """
    if text == ".":
        return ROOT
    if text == "@":
        return origin
    if not text:
        raise RecordError("the name is empty; give a name such as redis")
    if len(text) > _MAX_NAME_CHARS:
        raise RecordError(f"{text[:40]!r}... is too long; a name has at most {MAX_NAME_BYTES} bytes")
    labels = _escaped_labels(text) if "\\" in text else [_plain_label(label, text) for label in text.split(".")]
    absolute = not labels[-1]
    if absolute:
        labels.pop()
    for label in labels:
        if not label:
            raise RecordError(f"{text!r} has an empty label; put one dot between labels")
        if len(label) > MAX_LABEL_BYTES:
            raise RecordError(
                f"the label {label[:20].decode('latin-1')!r}... is over {MAX_LABEL_BYTES} bytes; shorten it"
            )
    return _join(labels, ROOT if absolute else origin, text)


def parse_host(text: str, domain: bytes) -> bytes:
    """Read a host name that a person typed: a single label is put under `domain`, anything else must be in it.

    Raises RecordError when the name is malformed, has characters that a host name cannot have (RFC 1123
    section 2.1, with the underscore let in), or lies outside `domain`.
    """
    if not text.isascii():
        raise RecordError(f"{text!r} has letters outside ASCII; write it in its xn-- form")
    if any(label and not _HOST_LABEL.fullmatch(label) for label in text.split(".")):
        raise RecordError(f"{text!r} is no host name; use letters, digits, '-' and '_' between the dots")
    name = parse(text, domain if "." not in text else ROOT)
    zone = render(domain)
    if name == domain:
        raise RecordError(f"{text!r} is the domain itself; give a name in it, such as redis.{zone}")
    if not is_under(name, domain):
        labels = [_escape(label) for label in labels_of(name)] or ["redis"]
        # A service's name begins with its service and protocol (RFC 2782).
        service = list(takewhile(lambda label: label.startswith("_"), labels))
        inside = ".".join([*labels[: len(service) + 1], zone])
        raise RecordError(f"{text!r} is outside the domain {zone}; write {inside}")
    return name


def parse_owner(text: str, domain: bytes) -> bytes:
    """As `parse_host`, and the first label may be ``*``, which stands for every name there that does not exist."""
    if not text.startswith("*"):
        return parse_host(text, domain)
    rest = text[2:] if text.startswith("*.") else ""
    if text != "*" and not rest:
        raise RecordError(f"{text!r} is no name; a wildcard is '*' alone before the first dot, as in *.apps")
    below = domain if not rest or rest.rstrip(".") == render(domain) else parse_host(rest, domain)
    return _join([b"*"], below, text)


def render(name: bytes) -> str:
    """Write a name as text, without the final dot (the root is ``.``), escaped as RFC 1035 section 5.1 says."""
    if name == ROOT:
        return "."
    return ".".join(_escape(label) for label in labels_of(name))


def labels_of(name: bytes) -> Iterator[bytes]:
    """Yield the labels of a valid wire name, leftmost first, without the root."""
    at = 0
    while size := name[at]:
        yield name[at + 1 : at + 1 + size]
        at += 1 + size


def parent(name: bytes) -> bytes:
    """The name without its first label; the root's parent is the root."""
    return name[name[0] + 1 :] or ROOT


def is_under(name: bytes, zone: bytes) -> bool:
    """Whether `name` is `zone` or below it, label by label."""
    start = len(name) - len(zone)
    if not name.endswith(zone):
        return False
    at = 0
    while at < start:
        at += name[at] + 1
    return at == start


def reverse(address: IPv4Address | IPv6Address) -> bytes:
    """The name whose PTR records stand for `address` (RFC 1035 section 3.5, RFC 3596 section 2.5)."""
    return parse(address.reverse_pointer)


def address_of(name: bytes) -> IPv4Address | IPv6Address | None:
    """The address that a reverse name stands for; None when it is no complete reverse name."""
    if is_under(name, _IN_ADDR):
        labels = list(labels_of(name))[:-2]
        try:
            return IPv4Address(b".".join(reversed(labels)).decode("ascii")) if len(labels) == _IPV4_LABELS else None
        except ValueError:
            return None
    if is_under(name, _IP6):
        labels = list(labels_of(name))[:-2]
        if len(labels) == _IPV6_LABELS and all(map(_HEX_DIGIT_LABEL.fullmatch, labels)):
            return IPv6Address(int(b"".join(reversed(labels)), 16))
    return None


def check_wire(raw: bytes) -> bytes:
    """Return `raw` in lower case when it is exactly one uncompressed name (RFC 1035 section 3.1), else raise."""
    at = 0
    while at < len(raw) and 0 < raw[at] <= MAX_LABEL_BYTES:
        at += raw[at] + 1
    if at != len(raw) - 1 or raw[at] or len(raw) > MAX_NAME_BYTES:
        raise RecordError(f"{raw[:40].hex()} is no name in wire form; write the name as text")
    return raw.lower()


def _join(labels: list[bytes], suffix: bytes, text: str) -> bytes:
    name = b"".join(bytes((len(label),)) + label for label in labels).lower() + suffix
    if len(name) > MAX_NAME_BYTES:
        raise RecordError(f"{text[:40]!r}... is {len(name)} bytes long; a name has at most {MAX_NAME_BYTES}")
    return name


def _plain_label(label: str, text: str) -> bytes:
    if label and not _PLAIN.fullmatch(label):
        raise RecordError(f"{text!r} has a character that no name can have; escape it as \\DDD")
    return label.encode("ascii")


def _escaped_labels(text: str) -> list[bytes]:
    """Split at the dots that are not escaped; the last label is empty when the name ends with one."""
    labels = [bytearray()]
    at = 0
    while at < len(text):
        match = _ESCAPED_OR_PLAIN.match(text, at)
        if match is None or (match[1] and int(match[1]) > _MAX_BYTE):
            raise RecordError(f"{text!r} has a broken escape; write \\DDD with DDD at most 255")
        if match[3] == ".":
            labels.append(bytearray())
        else:
            labels[-1].append(int(match[1]) if match[1] else ord(match[2] or match[3]))
        at = match.end()
    return [bytes(label) for label in labels]


def _escape(label: bytes) -> str:
    if label.isalnum():
        return label.decode("ascii")
    return "".join(_escape_byte(byte) for byte in label)


def _escape_byte(byte: int) -> str:
    char = chr(byte)
    if char in '.\\"();@$':
        return "\\" + char
    return char if "!" <= char <= "~" else f"\\{byte:03d}"
