"""Domain names: text to wire form and back, suffix tests, reverse names. Never looks anything up.

A name is held as the bytes it has on the wire (RFC 1035 section 3.1), in lower case, so that the bytes of a
query can be compared with it directly. Length bytes are below 64 and so untouched by ``bytes.lower``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address

from weavedns.errors import RecordError

MAX_NAME_BYTES = 255
MAX_LABEL_BYTES = 63
ROOT = b"\0"

_HOST_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?", re.IGNORECASE)
_PLAIN = re.compile(r"[!#-\[\]-~]+")  # printable ASCII without blank, quote and backslash
_ESCAPE = re.compile(r"\\(\d{3}|.)", re.DOTALL)
_IN_ADDR = b"\x07in-addr\x04arpa\0"
_IP6 = b"\x03ip6\x04arpa\0"
_IPV4_LABELS = 4
_IPV6_LABELS = 32


def parse(text: str, origin: bytes = ROOT) -> bytes:
    """Read a name in master-file form (RFC 1035 section 5.1); a name without a final dot is put under `origin`.

    Raises RecordError for an empty label, a label over 63 bytes, a name over 255 bytes, or a character that
    must be escaped.
    """
    if text == ".":
        return ROOT
    if not text:
        raise RecordError("the name is empty; give a name such as redis")
    absolute = text.endswith(".") and not text.endswith("\\.")
    body = text[:-1] if absolute else text
    if "\\" in body:
        labels = [_unescape(label, text) for label in _split_escaped(body)]
    else:
        labels = [_plain_label(label, text) for label in body.split(".")]
    return _join(labels, ROOT if absolute else origin, text)


def parse_host(text: str, domain: bytes) -> bytes:
    """Read a host name that a person typed: a single label is put under `domain`, anything else must be in it.

    Raises RecordError when the name is malformed, has characters that a host name cannot have (RFC 1123
    section 2.1, with the underscore let in), or lies outside `domain`.
    """
    if not text.isascii():
        raise RecordError(f"{text!r} has letters outside ASCII; write it in its xn-- form")
    name = parse(text, domain if "." not in text else ROOT)
    if not is_under(name, domain) or name == domain:
        zone = render(domain)
        raise RecordError(f"{text} is outside the domain {zone}; write {text.split('.', maxsplit=1)[0]}.{zone}")
    for label in text.rstrip(".").split("."):
        if not _HOST_LABEL.fullmatch(label):
            raise RecordError(f"{text!r} is no host name; use letters, digits, '-' and '_' between the dots")
    return name


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


def reverse_zone(network: IPv4Network) -> bytes:
    """The smallest in-addr.arpa zone, cut at a whole octet, that covers `network`."""
    octets = str(network.network_address).split(".")[: network.prefixlen // 8]
    return parse(".".join([*reversed(octets), "in-addr.arpa"]))


def address_of(name: bytes) -> IPv4Address | IPv6Address | None:
    """The address that a reverse name stands for; None when it is no complete reverse name."""
    labels = list(labels_of(name))[:-2]
    try:
        if name.endswith(_IN_ADDR) and len(labels) == _IPV4_LABELS:
            return IPv4Address(b".".join(reversed(labels)).decode("ascii"))
        if name.endswith(_IP6) and len(labels) == _IPV6_LABELS and all(len(label) == 1 for label in labels):
            return IPv6Address(int(b"".join(reversed(labels)), 16))
    except ValueError:
        pass
    return None


def _join(labels: list[bytes], suffix: bytes, text: str) -> bytes:
    name = b"".join(bytes((len(label),)) + label for label in labels).lower() + suffix
    if len(name) > MAX_NAME_BYTES:
        raise RecordError(f"{text[:40]!r}... is {len(name)} bytes long; a name has at most {MAX_NAME_BYTES}")
    return name


def _plain_label(label: str, text: str) -> bytes:
    if not label:
        raise RecordError(f"{text!r} has an empty label; put one dot between labels")
    if len(label) > MAX_LABEL_BYTES:
        raise RecordError(f"the label {label[:20]!r}... is over {MAX_LABEL_BYTES} bytes long; shorten it")
    if not _PLAIN.fullmatch(label):
        raise RecordError(f"{text!r} has a character that no name can have; escape it as \\DDD")
    return label.encode("ascii")


def _split_escaped(body: str) -> list[str]:
    return re.findall(r"(?:[^.\\]|\\.)+|(?<=\.)(?=\.|$)|^(?=\.)", body, re.DOTALL)


def _unescape(label: str, text: str) -> bytes:
    out = bytearray()
    at = 0
    while at < len(label):
        if label[at] == "\\":
            match = _ESCAPE.match(label, at)
            if match is None or (match[1].isdigit() and (len(match[1]) < 3 or int(match[1]) > 255)):  # noqa: PLR2004
                raise RecordError(f"{text!r} has a broken escape; write \\DDD with DDD at most 255")
            out.append(int(match[1]) if match[1].isdigit() else ord(match[1]) & 0xFF)
            at = match.end()
        else:
            out += _plain_label(label[at], text)
            at += 1
    if not 0 < len(out) <= MAX_LABEL_BYTES:
        raise RecordError(f"{text!r} has a label of {len(out)} bytes; labels have 1 to {MAX_LABEL_BYTES}")
    return bytes(out)


def _escape(label: bytes) -> str:
    if label.isalnum():
        return label.decode("ascii")
    return "".join(_escape_byte(byte) for byte in label)


def _escape_byte(byte: int) -> str:
    char = chr(byte)
    if char in '.\\"();@$':
        return "\\" + char
    return char if "!" <= char <= "~" else f"\\{byte:03d}"
