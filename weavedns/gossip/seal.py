"""Keys, and the sealing of datagrams: a fixed header that is authenticated, a body that is encrypted as well.

Knows no peer and no time: whether a sender may be listened to is for `session.py`. Never makes a key from weak
randomness: what is random is drawn from the source that is handed in.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256
from struct import Struct
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from weavedns.errors import PeerError
from weavedns.gossip.message import MAX_DATAGRAM_BYTES, MAX_NAME, PEER_NAME

MAGIC = b"WD"
PROTOCOL = 1
PLAIN = 0
KEY_BYTES = 32
TAG_BYTES = 16
SCRYPT_N = 2**15
SCRYPT_R = 8
SCRYPT_P = 1
# Peers times the boots and incarnations of each that are in use at a time.
MAX_CACHED_CIPHERS = 4_096
TERMS_BYTES = 4
_FIXED_BYTES = 5
_PREFIX_BYTES = _FIXED_BYTES + TERMS_BYTES
_NUMBERS = Struct(">QQQ")
_NUMBERS_BYTES = _NUMBERS.size
_NONCE_PAD = bytes(4)
_PEER_NAME = re.compile(PEER_NAME)


class Rejection(StrEnum):
    """Why a packet was not let in."""

    MALFORMED = "malformed"
    PLAINTEXT = "plaintext although this cluster has a password"
    ENCRYPTED = "encrypted although no password is set here"
    UNKNOWN_KEY = "sealed with another password, or for another --cluster"
    OTHER_VERSION = "of another version of the peer protocol: run the same release of weavedns on all hosts"
    FORGED = "forged or damaged"
    REPLAYED = "a repetition"
    CHALLENGED = "from a boot that has yet to prove itself"
    OTHER_TERMS = "of a cluster with other settings: all peers need the same --cluster, --domain and --range"
    TOO_MANY = "too many from one source"


class Header(NamedTuple):
    """Who sealed a packet: its name, incarnation and boot id, and the number of the packet."""

    sender: str
    incarnation: int
    boot: int
    counter: int


@dataclass(frozen=True, slots=True)
class Key:
    """A master key, and the byte by which packets say that they use it."""

    master: bytes
    number: int

    @classmethod
    def from_password(cls, password: str, cluster: str) -> Key:
        """Stretch a password with scrypt; takes a tenth of a second and 32 MiB."""
        salt = sha256(b"weavedns cluster " + cluster.encode()).digest()
        master = Scrypt(salt=salt, length=KEY_BYTES, n=SCRYPT_N, r=SCRYPT_R, p=SCRYPT_P).derive(password.encode())
        return cls.from_master(master)

    @classmethod
    def from_master(cls, master: bytes) -> Key:
        """A key from 32 secret bytes."""
        # Zero stands for plaintext.
        number = int.from_bytes(derive(master, b"weavedns key number")[:2], "big") % 255 + 1
        return cls(master, number)


@lru_cache(maxsize=4096)
def sender_name(raw: bytes) -> str | None:
    """The peer name in a header; None when it is not one."""
    name = raw.decode("latin-1")
    return name if len(name) <= MAX_NAME and _PEER_NAME.match(name) else None


def derive(master: bytes, info: bytes, *, salt: bytes | None = None) -> bytes:
    """32 bytes of HKDF-SHA256 (RFC 5869)."""
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt, info=info).derive(master)


@dataclass(frozen=True, slots=True)
class Keyring:
    """The keys that are valid: packets are sealed with the first and opened with any. None: plaintext."""

    keys: tuple[Key, ...] = ()

    @classmethod
    def from_passwords(cls, passwords: tuple[str, ...], cluster: str) -> Keyring:
        """One key for each password, the one to seal with first; raises PeerError when two are the same."""
        keys = tuple(Key.from_password(password, cluster) for password in passwords)
        if len(set(keys)) < len(keys):
            raise PeerError("the two passwords are the same: give one, or choose another new one")
        return cls(keys)

    def numbered(self, number: int) -> list[Key]:
        """The keys that go by `number`: by chance (1 in 255) two, and then each is tried."""
        return [key for key in self.keys if key.number == number]


def terms_digest(cluster: str, terms: Mapping[str, str]) -> bytes:
    """Four bytes by which datagrams of a cluster with other terms are told apart; no secret."""
    said = [cluster, *(part for term in sorted(terms.items()) for part in term)]
    return sha256(b"weavedns terms" + b"".join(b"\0" + each.encode() for each in said)).digest()[:TERMS_BYTES]


class Sealer:
    """Seals the datagrams of one sender and opens those of everybody who has the same `terms`."""

    def __init__(
        self, keyring: Keyring, sender: str, incarnation: int, boot: int, terms: bytes | None = None
    ) -> None:
        self._terms = terms_digest("weave", {}) if terms is None else terms
        self._keyring = keyring
        self._sender = sender
        self._boot = boot
        self._counter = 0
        self._ciphers: OrderedDict[bytes, ChaCha20Poly1305] = OrderedDict()
        self.restart(incarnation)

    @property
    def keyring(self) -> Keyring:
        """The keys that are valid now."""
        return self._keyring

    @property
    def secure(self) -> bool:
        """Whether there is a password."""
        return bool(self._keyring.keys)

    @property
    def room_bytes(self) -> int:
        """How long the body of a datagram may be."""
        return MAX_DATAGRAM_BYTES - len(self._prefix) - 8 - (TAG_BYTES if self.secure else 0)

    def restart(self, incarnation: int) -> None:
        """Seal as a new incarnation from here on; the counter goes on."""
        self._incarnation = incarnation
        key = self._keyring.keys[0] if self._keyring.keys else None
        name = self._sender.encode()
        self._prefix = b"".join(
            (
                MAGIC,
                bytes((PROTOCOL, key.number if key else PLAIN, len(name))),
                self._terms,
                name,
                incarnation.to_bytes(8, "big"),
                self._boot.to_bytes(8, "big"),
            )
        )
        self._cipher = self._cipher_for(key, self._prefix[_PREFIX_BYTES:]) if key else None

    def rekey(self, keyring: Keyring) -> None:
        """Seal and open with other keys from here on; as the counter goes on, a key may come back."""
        self._keyring = keyring
        self.restart(self._incarnation)

    def seal(self, body: bytes) -> bytes:
        """One datagram around a body."""
        self._counter += 1
        counter = self._counter.to_bytes(8, "big")
        header = self._prefix + counter
        if self._cipher is None:
            return header + body
        return header + self._cipher.encrypt(_NONCE_PAD + counter, body, header)

    def open(self, data: bytes) -> tuple[Header, bytes] | Rejection:
        """The header and the body of a datagram, when it was sealed with one of the keys."""
        if not _PREFIX_BYTES <= len(data) <= MAX_DATAGRAM_BYTES or data[:2] != MAGIC:
            return Rejection.MALFORMED
        if data[2] != PROTOCOL or data[_FIXED_BYTES:_PREFIX_BYTES] != self._terms:
            return Rejection.OTHER_VERSION if data[2] != PROTOCOL else Rejection.OTHER_TERMS
        number, size = data[3], data[4]
        end = _PREFIX_BYTES + size + _NUMBERS_BYTES
        sender = sender_name(data[_PREFIX_BYTES : _PREFIX_BYTES + size])
        if len(data) < end or sender is None:
            return Rejection.MALFORMED
        header = Header(sender, *_NUMBERS.unpack_from(data, end - _NUMBERS_BYTES))
        if (number == PLAIN) == self.secure:
            return Rejection.PLAINTEXT if self.secure else Rejection.ENCRYPTED
        body = self._decrypt(number, data, end) if self.secure else data[end:]
        return body if isinstance(body, Rejection) else (header, body)

    def _decrypt(self, number: int, data: bytes, end: int) -> bytes | Rejection:
        keys = self._keyring.numbered(number)
        who = data[_PREFIX_BYTES : end - 8]
        nonce = _NONCE_PAD + data[end - 8 : end]
        for key in keys:
            try:
                return self._cipher_for(key, who).decrypt(nonce, data[end:], data[:end])
            except InvalidTag:
                continue
        return Rejection.FORGED if keys else Rejection.UNKNOWN_KEY

    def _cipher_for(self, key: Key, who: bytes) -> ChaCha20Poly1305:
        index = key.master + who
        cipher = self._ciphers.get(index)
        if cipher is None:
            cipher = self._ciphers[index] = ChaCha20Poly1305(derive(key.master, b"weavedns datagram " + who))
            if len(self._ciphers) > MAX_CACHED_CIPHERS:
                self._ciphers.popitem(last=False)
        else:
            self._ciphers.move_to_end(index)
        return cipher
