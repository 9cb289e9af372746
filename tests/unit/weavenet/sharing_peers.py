"""Several peers in one process, joined by a wire that can be cut, with a disk each."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Collection, Mapping
from ipaddress import IPv4Network
from pathlib import Path

from weavenet.endpoint import parse
from weavenet.errors import PeerError
from weavenet.ipam.allocator import Wanted
from weavenet.ipam.runs import Run
from weavenet.ringfile import RingFile
from weavenet.ringkeeper import RingKeeper
from weavenet.sharing import Sharing

RANGE = IPv4Network("10.2.0.0/16")
DNS = IPv4Network("10.2.254.0/24")


class Wire:
    """Carries messages between the peers of a test; `cut` separates two of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.peers: dict[str, Peer] = {}
        self.cuts: set[frozenset[str]] = set()
        self.lose_answers = 0
        self._tokens = itertools.count(1)

    def token(self) -> str:
        return f"t{next(self._tokens)}"

    def cut(self, one: str, other: str) -> None:
        self.cuts.add(frozenset({one, other}))

    def mend(self) -> None:
        self.cuts.clear()
        for peer in self.peers.values():
            peer.tell_all()

    def reaches(self, one: str, other: str) -> bool:
        return other in self.peers and frozenset({one, other}) not in self.cuts

    async def launch(self, name: str, *named: str) -> Peer:
        """Start, or start again, a peer with what is on its disk."""
        peer = Peer(self, name, named)
        await peer.open()
        self.peers[name] = peer
        for other in self.peers.values():
            other.tell_all()
        return peer


class Peer:
    """One peer; `port` for its Sharing."""

    def __init__(self, wire: Wire, name: str, named: Collection[str]) -> None:
        self.wire = wire
        self.name = name
        self._named = named
        self._published: dict[bytes, bytes] = {}
        self.now = 1000.0
        self.sharing: Sharing
        self.keeper: RingKeeper
        self._running: asyncio.Task[None] | None = None

    async def open(self, *, recovered: bool = True) -> None:
        self.file = RingFile(self.wire.folder / f"{self.name}.ring")
        self.keeper = await RingKeeper.open(
            self.file,
            name=self.name,
            weave_range=RANGE,
            dns_subnet=DNS,
            default_subnet=RANGE,
            token=self.wire.token,
        )
        self.sharing = Sharing(self.keeper, self, clock=lambda: self.now)
        await self.sharing.start()
        if recovered:
            self.sharing.recovered()

    def run(self) -> None:
        self._running = asyncio.create_task(self.sharing.run())

    async def stop(self) -> None:
        """End as by a crash: only the disk stays."""
        self.wire.peers.pop(self.name, None)
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait({self._running})
        await self.file.close()

    def live(self) -> Collection[str]:
        return [other for other in self.wire.peers if other != self.name and self.wire.reaches(self.name, other)]

    def named(self) -> Mapping[str, str | None]:
        met = {*self.live(), self.name}
        return {f"{each}:6783": each if each in met else None for each in self._named}

    async def ask(self, peer: str, question: bytes) -> bytes:
        if not self.wire.reaches(self.name, peer):
            raise PeerError(f"{peer} does not answer")
        answer = await self.wire.peers[peer].sharing.answer(self.name, question)
        if self.wire.lose_answers:
            self.wire.lose_answers -= 1
            raise PeerError(f"{peer} does not answer in time")
        return answer

    def publish(self, key: bytes, value: bytes | None) -> None:
        if value is None:
            self._published.pop(key, None)
        else:
            self._published[key] = value
        for other in self.live():
            self.wire.peers[other].sharing.heard(self.name, key, value)

    def tell_all(self) -> None:
        """What gossip does when peers find each other."""
        for key, value in self._published.items():
            for other in self.live():
                self.wire.peers[other].sharing.heard(self.name, key, value)

    def owned(self) -> list[Run]:
        return self.keeper.ring.owned([(int(RANGE.network_address), int(RANGE.broadcast_address))])

    async def obtain(self, holder: str, spelled: str = "") -> str:
        """As an attach does: ask, wait for a gift, ask again."""
        endpoint = parse(spelled)
        while isinstance(found := self.sharing.allocator.request(holder, holder, endpoint, self.now), Wanted):
            await self.sharing.gain(found)
        self.sharing.claimed()
        return str(found)


async def eventually(condition: Callable[[], bool], within_s: float = 10.0) -> bool:
    """Whether a condition comes true within a time."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.005)
    return True
