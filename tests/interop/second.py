"""A second implementation of the peer protocol's bytes, written from docs/protocol.md alone.

It must import nothing of this project: what it can do, the document says. It keeps no rules and sends nothing: it
makes and reads datagrams, hellos, frames and messages, which are lists here.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

# "Messages in datagrams", "Streams".
PING, ACK, NACK, PING_REQUEST, ALIVE, SUSPECT, DEAD, LEAVE, NAME_TAKEN, CHANGES, PULL, ADVERT = range(1, 13)
REQUEST, REPLY, CHALLENGE, CHALLENGE_ANSWER, WHOLE = range(13, 18)
OPEN, REFUSE, VECTOR, SNAPSHOT_START, SNAPSHOT_PART, SNAPSHOT_END, DONE = range(32, 39)
PUT_RECORD, DROP_RECORD, PUT_FACT, DROP_FACT = range(1, 5)
JOIN, SYNC, PROBE = range(3)


# msgpack, as much of it as is used.


def pack(value: Any) -> bytes:
    match value:
        case bool():
            return b"\xc3" if value else b"\xc2"
        case int():
            return struct.pack(">BQ", 0xCF, value)
        case str():
            raw = value.encode()
            return struct.pack(">BH", 0xDA, len(raw)) + raw
        case bytes():
            return struct.pack(">BI", 0xC6, len(value)) + value
        case list():
            return struct.pack(">BH", 0xDC, len(value)) + b"".join(map(pack, value))
        case dict():
            return struct.pack(">BH", 0xDE, len(value)) + b"".join(
                pack(each) for pair in value.items() for each in pair
            )
    raise TypeError(value)


def unpack(data: bytes) -> Any:
    value, end = _unpack(data, 0)
    if end != len(data):
        raise ValueError("bytes are left")
    return value


def _unpack(data: bytes, at: int) -> tuple[Any, int]:
    code = data[at]
    at += 1
    if code < 0x80:
        return code, at
    if 0x90 <= code < 0xA0 or code in {0xDC, 0xDD}:
        count, at = (code & 15, at) if code < 0xA0 else _number(data, at, 2 << (code - 0xDC))
        return _several(data, at, count)
    if 0x80 <= code < 0x90 or code in {0xDE, 0xDF}:
        count, at = (code & 15, at) if code < 0x90 else _number(data, at, 2 << (code - 0xDE))
        both, at = _several(data, at, 2 * count)
        return dict(zip(both[::2], both[1::2], strict=True)), at
    if 0xA0 <= code < 0xC0:
        return data[at : at + code - 0xA0].decode(), at + code - 0xA0
    return _scalar(data, at, code)


def _several(data: bytes, at: int, count: int) -> tuple[list[Any], int]:
    items = []
    for _ in range(count):
        item, at = _unpack(data, at)
        items.append(item)
    return items, at


def _scalar(data: bytes, at: int, code: int) -> tuple[Any, int]:
    if code in {0xC2, 0xC3}:
        return code == 0xC3, at
    if 0xCC <= code <= 0xCF:
        return _number(data, at, 1 << (code - 0xCC))
    first = 0xC4 if code < 0xC7 else 0xD9
    size, at = _number(data, at, 1 << (code - first))
    raw = data[at : at + size]
    return (raw if first == 0xC4 else raw.decode()), at + size


def _number(data: bytes, at: int, size: int) -> tuple[int, int]:
    return int.from_bytes(data[at : at + size], "big"), at + size


# "Keys".


def hkdf(secret: bytes, info: bytes, salt: bytes = bytes(32)) -> bytes:
    return hmac.digest(hmac.digest(salt, secret, "sha256"), info + b"\x01", "sha256")


def master_of(password: str, cluster: str = "weave") -> bytes:
    salt = hashlib.sha256(b"weavedns cluster " + cluster.encode()).digest()
    return hashlib.scrypt(password.encode(), salt=salt, n=2**15, r=8, p=1, maxmem=2**26, dklen=32)


def key_number(master: bytes) -> int:
    return int.from_bytes(hkdf(master, b"weavedns key number")[:2], "big") % 255 + 1


# "Datagrams", the terms.


def terms_digest(terms: dict[str, str], cluster: str = "weave") -> bytes:
    text = b"weavedns terms\0" + cluster.encode()
    for name in sorted(terms):
        text += b"\0" + name.encode() + b"\0" + terms[name].encode()
    return hashlib.sha256(text).digest()[:4]


# "Records".


def mark(owner: str, incarnation: int, version: int) -> int:
    text = owner.encode() + b"\0" + struct.pack(">QQ", incarnation, version)
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


@dataclass
class Second:
    """One peer's bytes; `master` is None without a password."""

    name: str
    host: str
    port: int
    incarnation: int
    boot: int
    master: bytes | None = None
    counter: int = 0
    rebuttal: int = 0
    terms: dict[str, str] = field(default_factory=dict)

    @property
    def alive(self) -> list[Any]:
        return [ALIVE, self.name, self.host, self.port, self.incarnation, self.boot, self.rebuttal]

    # "Datagrams".

    def datagram(self, *messages: list[Any]) -> bytes:
        self.counter += 1
        header = self._start(b"WD", terms_digest(self.terms)) + struct.pack(
            ">QQQ", self.incarnation, self.boot, self.counter
        )
        body = pack(list(messages))
        if self.master is None:
            return header + body
        key = self._datagram_key(self.name, self.incarnation, self.boot)
        return header + ChaCha20Poly1305(key).encrypt(struct.pack(">4xQ", self.counter), body, header)

    def open(self, data: bytes) -> tuple[tuple[str, int, int, int], list[list[Any]]]:
        assert len(data) <= 1400
        size = data[4]
        end = 9 + size + 24
        name = data[9 : 9 + size].decode("ascii")
        incarnation, boot, counter = struct.unpack(">QQQ", data[9 + size : end])
        assert data[:4] == b"WD\x01" + bytes((self._number,))
        assert data[5:9] == terms_digest(self.terms)
        body = data[end:]
        if self.master is not None:
            key = self._datagram_key(name, incarnation, boot)
            body = ChaCha20Poly1305(key).decrypt(struct.pack(">4xQ", counter), body, data[:end])
        return (name, incarnation, boot, counter), unpack(body)

    @property
    def _number(self) -> int:
        return 0 if self.master is None else key_number(self.master)

    def _start(self, magic: bytes, terms: bytes = b"") -> bytes:
        raw = self.name.encode()
        return magic + bytes((1, self._number, len(raw))) + terms + raw

    def _datagram_key(self, name: str, incarnation: int, boot: int) -> bytes:
        assert self.master is not None
        info = b"weavedns datagram " + name.encode() + struct.pack(">QQ", incarnation, boot)
        return hkdf(self.master, info)


@dataclass
class Stream:
    """One side of a stream: "Streams" of the document."""

    peer: Second
    dials: bool
    hello: bytes = b""
    theirs: bytes = b""
    sent: int = 0
    received: int = 0
    left: bytes = b""
    keys: tuple[bytes, bytes] | None = None
    secret: X25519PrivateKey = field(default_factory=X25519PrivateKey.generate)

    def __post_init__(self) -> None:
        me = self.peer
        public = b"" if me.master is None else self.secret.public_key().public_bytes_raw()
        self.hello = me._start(b"WS") + struct.pack(">QQ", me.incarnation, me.boot) + public

    def frame(self, message: list[Any]) -> bytes:
        body = pack(message)
        if self.keys is None:
            return struct.pack(">I", len(body)) + body
        length = struct.pack(">I", len(body) + 16)
        nonce = self.sent.to_bytes(12, "big")
        self.sent += 1
        return length + ChaCha20Poly1305(self.keys[0]).encrypt(nonce, body, length)

    def read(self, data: bytes) -> list[list[Any]]:
        self.left += data
        if not self.theirs and not self._read_hello():
            return []
        messages = []
        while len(self.left) >= 4 and len(self.left) >= 4 + (size := int.from_bytes(self.left[:4], "big")):
            length, body, self.left = self.left[:4], self.left[4 : 4 + size], self.left[4 + size :]
            if self.keys is not None:
                nonce = self.received.to_bytes(12, "big")
                self.received += 1
                body = ChaCha20Poly1305(self.keys[1]).decrypt(nonce, body, length)
            messages.append(unpack(body))
        return messages

    def _read_hello(self) -> bool:
        if len(self.left) < 5:
            return False
        assert self.left[:4] == b"WS\x01" + self.hello[3:4]
        end = 5 + self.left[4] + 16 + (32 if self.peer.master is not None else 0)
        if len(self.left) < end:
            return False
        self.theirs, self.left = self.left[:end], self.left[end:]
        if self.peer.master is not None:
            shared = self.secret.exchange(X25519PublicKey.from_public_bytes(self.theirs[-32:]))
            both = self.hello + self.theirs if self.dials else self.theirs + self.hello
            info = b"weavedns stream " + hashlib.sha256(both).digest()
            initiator = hkdf(shared, info + b" initiator", self.peer.master)
            responder = hkdf(shared, info + b" responder", self.peer.master)
            self.keys = (initiator, responder) if self.dials else (responder, initiator)
        return True


# "Kind ipam": questions and answers in parts.

PUT, GET = 1, 2
PART_BYTES = 900


def question_parts(number: int, question: list[Any]) -> list[bytes]:
    """The bodies of the Requests that carry a question."""
    raw = pack(question)
    parts = [raw[at : at + PART_BYTES] for at in range(0, len(raw), PART_BYTES)]
    return [pack([PUT, number, index, len(parts), part]) for index, part in enumerate(parts)]


def further_part(number: int, index: int) -> bytes:
    """The body of the Request for one more part of the answer."""
    return pack([GET, number, index])


@dataclass
class Answering:
    """The other end: what comes of questions, and the answers' parts that are still to be fetched."""

    answer: Callable[[list[Any]], list[Any]]
    coming: dict[int, dict[int, bytes]] = field(default_factory=dict)
    answers: dict[int, list[bytes]] = field(default_factory=dict)

    def asked(self, body: bytes) -> bytes:
        what, number, index, *more = unpack(body)
        if what == PUT:
            count, data = more
            parts = self.coming.setdefault(number, {})
            parts[index] = data
            assert len(data) == PART_BYTES or index == count - 1
            if len(parts) < count:
                return b""
            del self.coming[number]
            raw = pack(self.answer(unpack(b"".join(parts[at] for at in range(count)))))
            self.answers[number] = [raw[at : at + PART_BYTES] for at in range(0, len(raw), PART_BYTES)]
            index = 0
        return pack([len(self.answers[number]), self.answers[number][index]])
