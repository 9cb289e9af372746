"""One exchange of what two peers know, over one stream: both say what they have, then send what the other lacks.

Both ends run the same conversation. Never opens or closes a stream: it says when it is over, and why.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Protocol

from weavedns.errors import PeerWireError
from weavedns.gossip import codec
from weavedns.gossip.codec import encode
from weavedns.gossip.core import Core
from weavedns.gossip.message import (
    MAX_OWNERS,
    Alive,
    Changes,
    Dead,
    Done,
    Leave,
    Row,
    SnapshotEnd,
    SnapshotPart,
    SnapshotStart,
    State,
    Statement,
    StreamMessage,
    Suspect,
    Vector,
)
from weavedns.gossip.spread import Spread
from weavedns.records.log import Replica, Snapshot

# What others hold of an owner: incarnation and version.
Versions = dict[str, tuple[int, int]]
# Larger than any one item, so that each fits.
_CHANGES_BYTES = 96 * 1024


class Standing(Protocol):
    """The part of a node that statements and rows are for."""

    def on_statement(self, said: Statement, now: float) -> bool:
        """Somebody said something of a peer; whether it was news."""
        ...

    def on_rows(self, rows: list[Row], sender: str, now: float) -> None:
        """This is how another peer sees everybody."""
        ...


class Conversation:
    """One end of an exchange with `peer`, once both have introduced themselves."""

    def __init__(self, core: Core, spread: Spread, standing: Standing, peer: str) -> None:
        self._core = core
        self._spread = spread
        self._standing = standing
        self._peer = peer
        self._staged: Replica | None = None
        self._staged_items = 0
        self._content: Iterator[bytes] = iter([encode(self._vector())])
        self._their: Versions | None = None
        self._heard_done = False
        self._said_done = False
        # Whether anything came or went that was not known on both sides.
        self.useful = False
        self._sent: set[tuple[str, str]] = set()

    @property
    def over(self) -> bool:
        """Both sides have said all."""
        return self._heard_done and self._said_done

    @property
    def staging(self) -> bool:
        """In the middle of a snapshot that the other sends."""
        return self._staged is not None

    def next_message(self) -> bytes | None:
        """What to say next; None: nothing until the other says something."""
        message = next(self._content, None)
        if message is None and self._their is not None and not self._said_done:
            self._said_done = True
            return encode(Done())
        return message

    def end(self) -> None:
        """The stream is over: what was on its way came, or has to be sent again."""
        self._core.on_the_way -= self._sent

    def on_message(self, message: StreamMessage, now: float) -> None:
        """Take in what the other says; raises PeerWireError when it is out of turn or unsound."""
        match message:
            case Vector(rows):
                if self._their is not None:
                    raise PeerWireError(f"peer {self._peer} sent its vector twice")
                self._standing.on_rows(rows, self._peer, now)
                self._their = {row.peer.name: (row.record_incarnation, row.record_version) for row in rows}
                self._content = chain(self._content, self._missing(rows, self._their))
            case SnapshotStart(owner, incarnation, version):
                self._staged = self._core.catalog.staged(Snapshot(owner, incarnation, version, ()))
                self._staged_items = 0
            case SnapshotPart(items) if self._staged is not None:
                for item in items:
                    self._staged.put(codec.entry(self._staged.owner, item).item)
                self._staged_items += len(items)
            case SnapshotEnd(count) if self._staged is not None:
                self._adopt(self._staged, count, now)
            case Changes():
                self.useful |= self._spread.merge(codec.delta(message), now)
            case Alive() | Suspect() | Dead() | Leave():
                self.useful |= self._standing.on_statement(message, now)
            case Done():
                self._heard_done = True
            case _:
                raise PeerWireError(f"peer {self._peer} sent {type(message).__name__} out of turn")

    def _adopt(self, staged: Replica, count: int, now: float) -> None:
        if count != self._staged_items:
            raise PeerWireError(f"the snapshot of {staged.owner} has {self._staged_items} items instead of {count}")
        self._staged = None
        self.useful |= self._spread.adopt(staged, now)

    def _vector(self) -> Vector:
        core = self._core
        rows = [self._row(core.me(), State.ALIVE)]
        # Whoever hears only now of a peer whose names are kept is to take it in, and look for itself.
        rows += [self._row(peer.alive(), State.SUSPECT if peer.host_there else peer.state) for peer in core.members]
        return Vector(rows[:MAX_OWNERS])

    def _row(self, peer: Alive, state: State) -> Row:
        replica = self._core.catalog.replica(peer.name)
        if replica is None or replica.partial:
            return Row(peer, state, 0, 0)
        return Row(peer, state, replica.incarnation, replica.version)

    def _missing(self, rows: list[Row], their: Versions) -> Iterator[bytes]:
        """What the other lacks, each part made only when there is room for it on the wire."""
        core = self._core
        for row in rows:
            grave = core.members.grave(row.peer.name)
            if grave is not None and row.state is not State.DEAD and row.peer.incarnation <= grave.incarnation:
                yield encode(Leave(row.peer.name, grave.incarnation))
        yield encode(core.me())
        for owner, (incarnation, version) in core.catalog.vector().items():
            if their.get(owner, (0, -1)) < (incarnation, version):
                yield from self._of_owner(owner, their.get(owner, (0, 0)))

    def _of_owner(self, owner: str, known: tuple[int, int]) -> Iterator[bytes]:
        replica = self._core.catalog.replica(owner)
        if replica is None or replica.partial:
            return
        self.useful = True
        delta = replica.since(known[1]) if known[0] == replica.incarnation else None
        if delta is not None:
            messages = codec.changes(delta, _CHANGES_BYTES, full_bytes=codec.PART_BYTES)
            yield from (message for _, message in messages if message is not None)
            return
        sent = (self._peer, owner)
        if sent in self._core.on_the_way:
            # Two exchanges with one peer at a time are usual when it joins; a large snapshot is to come once.
            return
        self._core.on_the_way.add(sent)
        self._sent.add(sent)
        snapshot = replica.snapshot()
        yield encode(SnapshotStart(owner, snapshot.incarnation, snapshot.version))
        count = 0
        for items in codec.parts(snapshot.items):
            count += len(items)
            yield encode(SnapshotPart(items))
        yield encode(SnapshotEnd(count))
