"""A node that a stranger speaks to, and what must be true of it whatever was said.

Whatever it took in, all that it says from then on has to be well formed: nobody can make a peer repeat what others
would refuse. The work for an input is counted in calls, as a clock would judge the machine.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from types import FrameType
from typing import Any

from tests.sim.world import PORT, WALL_MS, record
from weavedns.gossip import codec
from weavedns.gossip.core import Config
from weavedns.gossip.events import PeerJoined
from weavedns.gossip.links import Close, Dial
from weavedns.gossip.message import MAX_OWNERS, Challenge, ChallengeAnswer, Open, Purpose, Vector
from weavedns.gossip.node import Node
from weavedns.gossip.seal import Header, Key, Keyring, Rejection, Sealer
from weavedns.gossip.stream import Stream
from weavedns.gossip.sync import Conversation
from weavedns.records.catalog import Catalog
from weavedns.records.log import Snapshot

PLAIN, SEALED = Keyring(), Keyring((Key.from_master(b"1" * 32),))
HOST, OTHER, EVIL = ("10.0.0.1", PORT), ("10.0.0.2", PORT), ("10.0.0.9", PORT)
CALLS, CALLS_A_BYTE = 30_000, 400
TIMERS = 12
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


@contextmanager
def little_work(size: int) -> Iterator[None]:
    """Raise when what is done takes more calls than an input of this size may cost."""
    count, most = 0, CALLS + CALLS_A_BYTE * size

    def called(_frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(called)
    try:
        yield
    finally:
        sys.setprofile(before)
    assert count <= most, f"{size} bytes cost {count} calls; at most {most} may be"


class Victim:
    """The node `victim`, which knows a peer `owner` with a record, and `evil`, who speaks to it."""

    def __init__(self, keyring: Keyring) -> None:
        self.now = 100.0
        self.catalog = Catalog("victim", limit=50)
        self.catalog.add(record("victim", "a"))
        config = Config("victim", *HOST, keyring=keyring)
        self.node = Node(config, self.catalog, Random(1), wall_ms=WALL_MS + 1)
        self.node.start(self.now)
        self.keyring = keyring
        self._sealers: dict[str, Sealer] = {}
        core = self.node._core
        for name, incarnation, addr in (("owner", WALL_MS + 2, OTHER), ("evil", WALL_MS + 3, EVIL)):
            said = type(core.me())(name, *addr, incarnation, 9, 0)
            self.node._standing.on_statement(said, self.now)
            replica = self.catalog.staged(Snapshot(name, incarnation, 1, ()))
            replica.put(record(name, "b"))
            self.catalog.adopt(replica)
        self.told: list[object] = []
        self.take_events()

    # What it hears.

    def hear(self, data: bytes, addr: tuple[str, int] = EVIL) -> None:
        """Bytes in a datagram, from anybody."""
        with little_work(len(data)):
            self.node.receive(data, addr, self.now)
            self.take_events()

    def hear_from(self, name: str, body: bytes) -> None:
        """A body in a datagram of somebody who is let in, by whatever name."""
        sealer = self._sealers.get(name)
        if sealer is None:
            sealer = self._sealers[name] = Sealer(self.keyring, name, WALL_MS + 3, 9)
            self.hear(sealer.seal(codec.join([])))
            nonces = [said.nonce for said in self.said() if isinstance(said, Challenge)]
            self.hear(sealer.seal(codec.join([codec.encode(ChallengeAnswer(nonce)) for nonce in nonces])))
            self.said()
        self.hear(sealer.seal(body))

    def hear_stream(self, pieces: list[bytes]) -> None:
        """Bytes on a stream that a stranger opened."""
        number = self.node.stream_accepted(EVIL, self.now)
        assert number is not None
        self._feed(number, pieces)
        while self.node.stream_data(number, self.now):
            pass

    def hear_answer(self, pieces: list[bytes]) -> None:
        """Bytes on a stream that it opened itself, to be let in."""
        self.node.join(EVIL, self.now)
        self.node.handle_timer(self.now)
        for action in self.node.stream_actions():
            if isinstance(action, Dial):
                self.node.stream_opened(action.link, EVIL)
                self._feed(action.link, pieces)
                while self.node.stream_data(action.link, self.now):
                    pass
                self.node.stream_closed(action.link, self.now)

    def talk(self, frames: list[bytes], *, purpose: Purpose = Purpose.SYNC) -> None:
        """Frames of `evil` on a stream after a proper handshake and Open."""
        number = self.node.stream_accepted(EVIL, self.now)
        assert number is not None
        header = Header("evil", WALL_MS + 3, 9, 0)
        stream = Stream(self.keyring, header, Random(2).randbytes, initiator=True)
        me = self.node._core.me()
        stream.send(codec.encode(Open(purpose, "weave", type(me)("evil", *EVIL, WALL_MS + 3, 9, 0), HOST[0], {})))
        self._feed(number, [stream.take()])
        self._read(number, stream)
        self._feed(number, [stream.take()])
        for frame in frames:
            stream.send(frame)
            self._feed(number, [stream.take()])
            self._read(number, stream)
        self.node.stream_closed(number, self.now)

    def _feed(self, number: int, pieces: list[bytes]) -> None:
        for piece in pieces:
            with little_work(len(piece)):
                self.node.stream_received(number, piece, self.now)
                self.take_events()

    def _read(self, number: int, stream: Stream) -> None:
        while data := self.node.stream_data(number, self.now):
            for body in stream.receive(data):
                codec.decode_stream(body)

    # What it says.

    def take_events(self) -> None:
        """Draw all that it tells its driver."""
        while (event := self.node.next_event()) is not None:
            self.told.append(event)

    def said(self) -> list[Any]:
        """All messages that are on their way out; raises when one would be refused by those who get it."""
        reader = Sealer(self.keyring, "reader", 1, 1)
        messages: list[Any] = []
        for data, (host, port) in self.node.datagrams_to_send(self.now):
            opened = reader.open(data)
            assert not isinstance(opened, Rejection), opened
            assert codec.is_host(host)
            assert 0 < port < 2**16
            messages += codec.decode_datagram(opened[1])
        return messages

    def check(self) -> None:
        """Let time pass, and look at what it says and holds."""
        self.said()
        for _ in range(TIMERS):
            due = self.node.get_timer()
            if due is None:
                break
            self.now = max(self.now, due)
            self.node.handle_timer(self.now)
            self.said()
            self._refuse_dials()
            self.take_events()
        core = self.node._core
        assert len(self.catalog.owners()) <= MAX_OWNERS
        for owner in self.catalog.owners():
            replica = self.catalog.replica(owner)
            assert _NAME.fullmatch(owner)
            assert replica is not None
            assert owner == "victim" or replica.size <= self.catalog.limit
        # What it would say of everybody in an exchange.
        words = Conversation(core, self.node._spread, self.node._standing, "reader").next_message()
        assert words is not None
        assert isinstance(codec.decode_stream(words), Vector)
        # Nobody takes its own records from it.
        assert record("victim", "a") in self.catalog.of_name(record("", "a").name)
        joined = [event.name for event in self.told if isinstance(event, PeerJoined)]
        assert all(_NAME.fullmatch(name) for name in joined)

    def _refuse_dials(self) -> None:
        for action in self.node.stream_actions():
            if isinstance(action, Dial | Close):
                self.node.stream_closed(action.link, self.now, "nobody is there")
