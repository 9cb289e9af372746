"""Packets gone wrong in every way: bent copies of good ones, the same for the same seed. Sends nothing."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from tests.conformance import packets as p

EDGES = (0, 1, 2, 0x3F, 0x40, 0x7F, 0x80, 0xBF, 0xC0, 0xC1, 0xFE, 0xFF)
_COOKIE = p.option(p.COOKIE, bytes(range(8)))
_TEXTS = (
    "redis.weave.local",
    "nope.weave.local",
    "many.weave.local",
    "weave.local",
    "redis",
    "1.0.2.10.in-addr.arpa",
)
_RECORD = p.name("redis.weave.local") + b"\0\1\0\1\0\0\0\1\0\4\x0a\2\0\1"
# Data of the types that libraries have opinions of.
_FANCY = [
    b"\xc0\x0c" + rtype.to_bytes(2, "big") + b"\0\1\0\0\0\1" + len(data).to_bytes(2, "big") + data
    for rtype in (p.NS, p.SOA, p.MX, p.TXT, 29, p.SRV, 35, 43, 46, 47, 48, 52, 65, 257)
    for data in (b"\0\5\3abc\3def\0", b"\0\1\xc0\x0c" + bytes(24))
]
SEEDS: tuple[bytes, ...] = (
    # Names of others come without RD for the most part: what is forwarded is somebody else's time.
    *(p.query(text, flags=0) for text in (*_TEXTS, "www.example.org")),
    *(p.query(text, rtype, flags=0, opt=p.edns()) for text in _TEXTS for rtype in (p.A, p.ANY, p.TXT, p.PTR)),
    *(p.query(text, opcode=opcode, flags=0) for text in _TEXTS[:2] for opcode in (2, 4, 5)),
    p.query("redis.weave.local", flags=0, opt=p.edns(_COOKIE, p.option(p.NSID), p.option(p.PADDING, bytes(64)))),
    p.query("redis.weave.local", flags=0, opt=p.edns(_COOKIE + bytes(16), version=1, flags=0x8000)),
    p.query("text.weave.local", p.TXT, p.CH, flags=0),
    p.query("weave.local", 252, flags=0),
    p.query(".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 49, "weave.local"]), flags=0),
    p.query(".".join("x" * 120) + ".local", flags=0),
    p.message([p.question("redis.weave.local")], [_RECORD], [_RECORD], [_RECORD, p.edns()], flags=0),
    p.message([p.question("redis.weave.local")] * 3, flags=0),
    *(p.message([p.question("redis.weave.local")], (), (), [record], flags=0) for record in _FANCY),
    p.query("www.example.org", opt=p.edns()),
)


def mutants(count: int, seed: int) -> Iterator[bytes]:
    """So many packets, one in sixteen of them nothing but noise."""
    dice = random.Random(seed)
    pick, roll = dice.choice, dice.random
    for number in range(count):
        if number % 16 == 0:
            yield dice.randbytes(int(roll() * 80))
            continue
        packet = bytearray(pick(SEEDS))
        pick(_WAYS)(packet, dice)
        if roll() < 0.3:
            pick(_WAYS)(packet, dice)
        yield bytes(packet[:4096])


def _at(packet: bytearray, dice: random.Random) -> int:
    return int(dice.random() * len(packet))


def _flip(packet: bytearray, dice: random.Random) -> None:
    if packet:
        packet[_at(packet, dice)] ^= 1 << int(dice.random() * 8)


def _edge(packet: bytearray, dice: random.Random) -> None:
    if packet:
        packet[_at(packet, dice)] = dice.choice(EDGES)


def _count(packet: bytearray, dice: random.Random) -> None:
    """A count of records that is a lie."""
    at = dice.choice((4, 6, 8, 10))
    packet[at : at + 2] = dice.choice((b"\0\0", b"\0\1", b"\0\2", b"\0\x09", b"\xff\xff"))


def _flags(packet: bytearray, dice: random.Random) -> None:
    packet[2:4] = dice.randbytes(2)


def _cut(packet: bytearray, dice: random.Random) -> None:
    del packet[_at(packet, dice) :]


def _drop(packet: bytearray, dice: random.Random) -> None:
    at = _at(packet, dice)
    del packet[at : at + 1 + int(dice.random() * 8)]


def _insert(packet: bytearray, dice: random.Random) -> None:
    at = _at(packet, dice)
    packet[at:at] = dice.randbytes(1 + int(dice.random() * 8))


def _repeat(packet: bytearray, dice: random.Random) -> None:
    at = _at(packet, dice)
    packet += packet[at:] * (1 + int(dice.random() * 8))


def _graft(packet: bytearray, dice: random.Random) -> None:
    """Half of one packet and half of another."""
    other = dice.choice(SEEDS)
    packet[_at(packet, dice) :] = other[int(dice.random() * len(other)) :]


def _point(packet: bytearray, dice: random.Random) -> None:
    """A compression pointer, to anywhere at all."""
    at = _at(packet, dice)
    packet[at : at + 2] = (0xC000 | int(dice.random() * 0x100)).to_bytes(2, "big")


_WAYS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    *(_flip, _edge, _count, _flags, _cut, _drop, _insert, _repeat, _graft, _point),
)
