"""Server cookies (RFC 7873), made so that any server with the same secret knows them (RFC 9018). Pure."""

from __future__ import annotations

import hmac
from enum import Enum

SECRET_BYTES = 16
_CLIENT_BYTES = 8
_SERVER_BYTES = 16
# What a client may send: its own cookie, alone or followed by a server's (RFC 7873 section 4).
_SIZES = (_CLIENT_BYTES, *range(16, 41))
# Version 1 and the reserved bytes (RFC 9018 section 4).
_VERSION = b"\1\0\0\0"
_FUTURE_S = 300
_EXPIRES_S = 3600
_RENEWED_S = 1800
_MASK = (1 << 64) - 1


class Verdict(Enum):
    """What a cookie shows about the client that sent it."""

    NEW = "new"  # nothing: it has none of ours, or one that is too old
    KNOWN = "known"  # it receives what is sent to its address
    MALFORMED = "malformed"


class Cookies:
    """Makes and checks cookies with one secret of 16 bytes."""

    def __init__(self, secret: bytes) -> None:
        self._key = int.from_bytes(secret[:8], "little"), int.from_bytes(secret[8:SECRET_BYTES], "little")

    def answer(self, sent: bytes, client: bytes, now_s: int) -> tuple[Verdict, bytes]:
        """Judge the cookie that the client at this address (4 or 16 bytes) sent; the cookie to send back.

        `now_s` is the time of day in seconds since 1970: cookies outlive the server that made them.
        """
        if len(sent) not in _SIZES:
            return Verdict.MALFORMED, b""
        mine, server = sent[:_CLIENT_BYTES], sent[_CLIENT_BYTES:]
        if len(server) == _SERVER_BYTES and server[:1] == _VERSION[:1]:
            stamp = server[4:8]
            # RFC 1982 arithmetic: the stamp wraps round in 2106.
            age_s = (now_s - int.from_bytes(stamp, "big") + (1 << 31)) % (1 << 32) - (1 << 31)
            if -_FUTURE_S <= age_s <= _EXPIRES_S:
                right = self._hash(mine + server[:8] + client)
                if hmac.compare_digest(right, server[8:]):
                    return Verdict.KNOWN, sent if age_s <= _RENEWED_S else self._make(mine, client, now_s)
        return Verdict.NEW, self._make(mine, client, now_s)

    def _make(self, mine: bytes, client: bytes, now_s: int) -> bytes:
        head = mine + _VERSION + (now_s % (1 << 32)).to_bytes(4, "big")
        return head + self._hash(head + client)

    def _hash(self, data: bytes) -> bytes:
        return siphash(self._key, data).to_bytes(8, "little")


def siphash(key: tuple[int, int], data: bytes) -> int:
    """SipHash-2-4 (Aumasson, Bernstein 2012) with a key of two 64-bit words, both little-endian."""
    k0, k1 = key
    state = (k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D, k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573)
    padded = data + bytes(7 - len(data) % 8) + bytes((len(data) % 256,))
    for at in range(0, len(padded), 8):
        word = int.from_bytes(padded[at : at + 8], "little")
        v0, v1, v2, v3 = state
        v0, v1, v2, v3 = _round(*_round(v0, v1, v2, v3 ^ word))
        state = v0 ^ word, v1, v2, v3
    v0, v1, v2, v3 = state
    state = v0, v1, v2 ^ 0xFF, v3
    for _ in range(4):
        state = _round(*state)
    v0, v1, v2, v3 = state
    return v0 ^ v1 ^ v2 ^ v3


def _round(v0: int, v1: int, v2: int, v3: int) -> tuple[int, int, int, int]:
    v0 = v0 + v1 & _MASK
    v1 = _rotl(v1, 13) ^ v0
    v0 = _rotl(v0, 32)
    v2 = v2 + v3 & _MASK
    v3 = _rotl(v3, 16) ^ v2
    v0 = v0 + v3 & _MASK
    v3 = _rotl(v3, 21) ^ v0
    v2 = v2 + v1 & _MASK
    v1 = _rotl(v1, 17) ^ v2
    return v0, v1, _rotl(v2, 32), v3


def _rotl(word: int, bits: int) -> int:
    return word << bits & _MASK | word >> 64 - bits
