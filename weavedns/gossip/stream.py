"""One stream's bytes: the handshake, then frames, sealed when there is a password. Never knows what a frame means.

With a password each side sends a fresh X25519 key; the frame keys come from that exchange and the master key
together, so a recording cannot be opened by somebody who learns the password later.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from weavedns.errors import PeerWireError
from weavedns.gossip.message import MAX_FIRST_FRAME_BYTES, MAX_FRAME_BYTES, MAX_NAME
from weavedns.gossip.seal import PLAIN, PROTOCOL, TAG_BYTES, Header, Key, Keyring, Rejection, derive, sender_name

STREAM_MAGIC = b"WS"
PUBLIC_BYTES = 32
LENGTH_BYTES = 4
# Magic, protocol, key number and the length of the name; then incarnation and boot id, then the public key.
_PREFIX_BYTES = 5
_NUMBERS_BYTES = 16
_NONCE_BYTES = 12


class RefusedError(PeerWireError):
    """The other side's handshake cannot be answered; `why` says it."""

    def __init__(self, why: Rejection) -> None:
        super().__init__(f"the stream is {why}")
        self.why = why


class Stream:
    """The bytes of one connection, in and out.

    Usage: `receive` what came and take the frames out of it; `send` frames; `take` what is to be written.
    Frames can be sent before the handshake is through: they wait for it.
    """

    def __init__(
        self, keyring: Keyring, me: Header, random_bytes: Callable[[int], bytes], *, initiator: bool
    ) -> None:
        self._keyring = keyring
        self._initiator = initiator
        self._me = me
        self._private = X25519PrivateKey.from_private_bytes(random_bytes(PUBLIC_BYTES)) if keyring.keys else None
        self._in = bytearray()
        self._out = bytearray()
        self._waiting: list[bytes] = []
        self._hello = b""
        # The ciphers to seal and to open with: one pair, or two until the first frame shows which key the other has.
        self._ciphers: list[tuple[ChaCha20Poly1305, ChaCha20Poly1305]] = []
        self._sent = 0
        self._received = 0
        self.peer: Header | None = None
        if initiator:
            self._say_hello(keyring.keys[0] if keyring.keys else None)

    @property
    def authenticated(self) -> bool:
        """Whether a whole frame came, by which the other side shows that it knows the password, if there is one."""
        return self._received > 0

    def send(self, body: bytes) -> None:
        """Queue one frame."""
        if self.peer is None or len(self._ciphers) > 1:
            self._waiting.append(body)
            return
        size = len(body) + (TAG_BYTES if self._ciphers else 0)
        if size > MAX_FRAME_BYTES:
            raise PeerWireError(f"a frame of {size} bytes is too long to be sent; the bound is {MAX_FRAME_BYTES}")
        length = size.to_bytes(LENGTH_BYTES, "big")
        for seal, _ in self._ciphers:
            body = seal.encrypt(self._sent.to_bytes(_NONCE_BYTES, "big"), body, length)
        self._sent += 1
        self._out += length
        self._out += body

    def take(self) -> bytes:
        """What is to be written now."""
        out = bytes(self._out)
        self._out.clear()
        return out

    def receive(self, data: bytes) -> list[bytes]:
        """The bodies of the frames that are complete; raises PeerWireError, after which the stream is of no use."""
        self._in += data
        try:
            if self.peer is None and not self._read_hello():
                return []
        except RefusedError as exc:
            # So that the other side sees for itself what does not fit.
            if not self._hello and exc.why is not Rejection.MALFORMED:
                self._say_hello(self._keyring.keys[0] if self._keyring.keys else None)
            raise
        frames = []
        while len(self._in) >= LENGTH_BYTES:
            length = bytes(self._in[:LENGTH_BYTES])
            size = int.from_bytes(length, "big")
            # Nothing large is kept for somebody who may be anybody.
            bound = MAX_FRAME_BYTES if self.authenticated else MAX_FIRST_FRAME_BYTES
            if size > bound:
                raise PeerWireError(f"a frame of {size} bytes is announced; the bound is {bound}")
            if len(self._in) < LENGTH_BYTES + size:
                break
            body = bytes(self._in[LENGTH_BYTES : LENGTH_BYTES + size])
            del self._in[: LENGTH_BYTES + size]
            frames.append(self._decrypt(body, length))
        return frames

    def _decrypt(self, body: bytes, length: bytes) -> bytes:
        if self._ciphers:
            body = self._try_ciphers(self._received.to_bytes(_NONCE_BYTES, "big"), body, length)
        self._received += 1
        return body

    def _try_ciphers(self, nonce: bytes, body: bytes, length: bytes) -> bytes:
        for pair in self._ciphers:
            try:
                opened = pair[1].decrypt(nonce, body, length)
            except InvalidTag:
                continue
            if len(self._ciphers) > 1:
                self._ciphers = [pair]
                self._send_waiting()
            return opened
        raise RefusedError(Rejection.FORGED)

    def _send_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        for body in waiting:
            self.send(body)

    def _say_hello(self, key: Key | None) -> None:
        name = self._me.sender.encode()
        public = (
            self._private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw) if self._private and key else b""
        )
        self._hello = b"".join(
            (
                STREAM_MAGIC,
                bytes((PROTOCOL, key.number if key else PLAIN, len(name))),
                name,
                self._me.incarnation.to_bytes(8, "big"),
                self._me.boot.to_bytes(8, "big"),
                public,
            )
        )
        self._out += self._hello

    def _read_hello(self) -> bool:
        if len(self._in) < _PREFIX_BYTES:
            if not STREAM_MAGIC.startswith(self._in[:2]):
                raise RefusedError(Rejection.MALFORMED)
            return False
        if self._in[:2] != STREAM_MAGIC or not 0 < self._in[4] <= MAX_NAME:
            raise RefusedError(Rejection.MALFORMED)
        if self._in[2] != PROTOCOL:
            raise RefusedError(Rejection.OTHER_VERSION)
        number = self._in[3]
        if (number == PLAIN) == bool(self._keyring.keys):
            raise RefusedError(Rejection.PLAINTEXT if number == PLAIN else Rejection.ENCRYPTED)
        name_end = _PREFIX_BYTES + self._in[4]
        end = name_end + _NUMBERS_BYTES + (PUBLIC_BYTES if number != PLAIN else 0)
        if len(self._in) < end:
            return False
        hello = bytes(self._in[:end])
        del self._in[:end]
        sender = sender_name(hello[_PREFIX_BYTES:name_end])
        if sender is None:
            raise RefusedError(Rejection.MALFORMED)
        incarnation = int.from_bytes(hello[name_end : name_end + 8], "big")
        boot = int.from_bytes(hello[name_end + 8 : name_end + 16], "big")
        self._agree(number, hello)
        self.peer = Header(sender, incarnation, boot, 0)
        self._send_waiting()
        return True

    def _agree(self, number: int, hello: bytes) -> None:
        if self._private is None:
            if not self._initiator:
                self._say_hello(None)
            return
        keys = self._keyring.numbered(number)
        if self._initiator:
            # It seals with its first key from its first frame on, so that is the one that the other has to have.
            keys = [key for key in keys if key == self._keyring.keys[0]]
        if not keys:
            raise RefusedError(Rejection.UNKNOWN_KEY)
        if not self._initiator:
            self._say_hello(keys[0])
        try:
            shared = self._private.exchange(X25519PublicKey.from_public_bytes(hello[-PUBLIC_BYTES:]))
        except ValueError as exc:
            raise RefusedError(Rejection.FORGED) from exc
        both = self._hello + hello if self._initiator else hello + self._hello
        info = b"weavedns stream " + sha256(both).digest()
        out, back = (b" initiator", b" responder") if self._initiator else (b" responder", b" initiator")
        self._ciphers = [
            (
                ChaCha20Poly1305(derive(shared, info + out, salt=key.master)),
                ChaCha20Poly1305(derive(shared, info + back, salt=key.master)),
            )
            for key in keys
        ]
