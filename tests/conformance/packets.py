"""Packets for servers, byte by byte, and what came back taken apart without any library's help."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

DEADLINE_S = 10.0
QR, AA, TC, RD, RA, Z, AD, CD = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080, 0x0040, 0x0020, 0x0010
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADVERS = 0, 1, 2, 3, 4, 5, 16
A, NS, CNAME, SOA, PTR, MX, TXT, AAAA, SRV, OPT, ANY = 1, 2, 5, 6, 12, 15, 16, 28, 33, 41, 255
IN, CH = 1, 3
NSID, ECS, EXPIRE, COOKIE, KEEPALIVE, PADDING, EDE = 3, 8, 9, 10, 11, 12, 15
IDENT = 0x1234
Address = tuple[str, int]


def name(text: str) -> bytes:
    """A name in wire form, its letters as they are given."""
    labels = [label for label in text.encode().split(b".") if label]
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\0"


def question(text: str, rtype: int = A, rclass: int = IN) -> bytes:
    return name(text) + struct.pack("!HH", rtype, rclass)


def message(*sections: Iterable[bytes], flags: int = RD, ident: int = IDENT, opcode: int = 0) -> bytes:
    """A message of up to four sections, each a row of questions or records; the counts follow from them."""
    rows = [list(section) for section in sections]
    counts = [len(row) for row in rows] + [0] * (4 - len(rows))
    head = struct.pack("!6H", ident, flags | opcode << 11, *counts)
    return head + b"".join(part for row in rows for part in row)


def query(
    text: str,
    rtype: int = A,
    rclass: int = IN,
    *,
    opt: bytes = b"",
    flags: int = RD,
    ident: int = IDENT,
    opcode: int = 0,
) -> bytes:
    asked = [question(text, rtype, rclass)]
    return message(asked, (), (), [opt] if opt else (), flags=flags, ident=ident, opcode=opcode)


def option(code: int, data: bytes = b"") -> bytes:
    return struct.pack("!HH", code, len(data)) + data


def edns(*options: bytes, size: int = 1232, version: int = 0, flags: int = 0, owner: bytes = b"\0") -> bytes:
    """An OPT record; `flags` has DO as its highest bit."""
    data = b"".join(options)
    return owner + struct.pack("!HHBBHH", OPT, size, 0, version, flags, len(data)) + data


@dataclass(frozen=True)
class Record:
    """A record as it stood in a message."""

    owner: str
    rtype: int
    rclass: int
    ttl_s: int
    data: bytes
    message: bytes = field(repr=False)
    at: int  # where in the message the data starts

    @property
    def text(self) -> str:
        """The name that the data starts with; the whole data where it is of a type that is a name."""
        found, end = read_name(self.message, self.at)
        assert self.rtype == SOA or end == self.at + len(self.data)
        return found


@dataclass(frozen=True)
class Reply:
    """A reply taken apart to its last byte."""

    raw: bytes
    id: int
    flags: int
    question: bytes
    answer: list[Record]
    authority: list[Record]
    additional: list[Record] = field(default_factory=list)

    @property
    def opts(self) -> list[Record]:
        return [record for record in self.additional if record.rtype == OPT]

    @property
    def rcode(self) -> int:
        return self.flags & 0xF | (self.opts[0].ttl_s >> 24 << 4 if self.opts else 0)

    @property
    def options(self) -> dict[int, bytes]:
        """The options of its OPT, each of which stands there once."""
        found: dict[int, bytes] = {}
        data = self.opts[0].data if self.opts else b""
        while data:
            code, size = struct.unpack_from("!HH", data)
            assert code not in found
            assert len(data) >= 4 + size
            found[code], data = data[4 : 4 + size], data[4 + size :]
        return found

    @property
    def ede(self) -> int | None:
        """The code of its extended error."""
        data = self.options.get(EDE)
        return None if data is None else int.from_bytes(data[:2], "big")

    @property
    def addresses(self) -> list[str]:
        return [socket.inet_ntoa(record.data) for record in self.answer if record.rtype == A]


def read(raw: bytes) -> Reply:
    """Take a reply apart; fails where it is not well-formed or has bytes behind its end."""
    ident, flags, questions, *counts = struct.unpack_from("!6H", raw)
    assert flags & QR
    assert not flags & Z
    assert questions in {0, 1}
    at = 12
    if questions:
        _, at = read_name(raw, at)
        at += 4
    asked = raw[12:at]
    sections: list[list[Record]] = []
    for count in counts:
        sections.append([])
        for _ in range(count):
            record, at = _read_record(raw, at)
            sections[-1].append(record)
    assert at == len(raw)
    return Reply(raw, ident, flags, asked, *sections)


def read_name(raw: bytes, at: int) -> tuple[str, int]:
    """The name at a place, and where it ends; pointers lead only backwards."""
    labels: list[str] = []
    end = 0
    while size := raw[at]:
        if size >= 0xC0:
            to = int.from_bytes(raw[at : at + 2], "big") & 0x3FFF
            assert to < at
            end = end or at + 2
            at = to
        else:
            assert size < 64
            labels.append(raw[at + 1 : at + 1 + size].decode("latin-1"))
            at += 1 + size
    return ".".join(labels) + ".", end or at + 1


def _read_record(raw: bytes, at: int) -> tuple[Record, int]:
    owner, at = read_name(raw, at)
    rtype, rclass, ttl_s, size = struct.unpack_from("!HHIH", raw, at)
    end = at + 10 + size
    assert end <= len(raw)
    return Record(owner, rtype, rclass, ttl_s, raw[at + 10 : end], raw, at + 10), end


# Transports


def udp(packet: bytes, server: Address, *, source: str = "127.0.0.1") -> Reply:
    """Ask over UDP; only what comes from the address that was asked counts."""
    with datagrams(server, source=source) as sock:
        sock.send(packet)
        return read(sock.recv(65535))


def tcp(packet: bytes, server: Address, *, source: str = "127.0.0.1") -> Reply:
    with stream(server, source=source) as sock:
        sock.sendall(framed(packet))
        return read(receive(sock))


def datagrams(server: Address, *, source: str = "127.0.0.1") -> socket.socket:
    """A socket that takes nothing from anywhere else."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(DEADLINE_S)
    sock.bind((source, 0))
    sock.connect(server)
    return sock


def stream(server: Address, *, source: str = "127.0.0.1", timeout_s: float = DEADLINE_S) -> socket.socket:
    return socket.create_connection(server, timeout_s, source_address=(source, 0))


def framed(packet: bytes) -> bytes:
    return len(packet).to_bytes(2, "big") + packet


def receive(sock: socket.socket) -> bytes:
    """The next message of a stream."""
    size = int.from_bytes(exactly(sock, 2), "big")
    return exactly(sock, size)


def exactly(sock: socket.socket, count: int) -> bytes:
    got = bytearray()
    while len(got) < count:
        more = sock.recv(count - len(got))
        if not more:
            raise ConnectionError(f"the stream ended after {len(got)} of {count} bytes")
        got += more
    return bytes(got)


def is_closed(sock: socket.socket, within_s: float) -> bool:
    """Whether the other side ends the stream in time, whatever it still sends."""
    deadline = time.monotonic() + within_s
    with contextlib.suppress(TimeoutError):
        while (left := deadline - time.monotonic()) > 0:
            sock.settimeout(left)
            try:
                if not sock.recv(65536):
                    return True
            except ConnectionError:
                return True
    return False


TRANSPORTS = {"udp": udp, "tcp": tcp}
