"""What peers ask each other and tell as facts, in bytes made from docs/protocol.md and docs/addresses.md alone."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.interop import second
from tests.interop.test_second_peer import NAME, PASSWORD, Pair
from tests.unit.control.peer import Peer
from weavedns.cluster.addresses import Carrier
from weavedns.cluster.cluster import Cluster
from weavedns.control import peers
from weavedns.errors import PeerError
from weavedns.gossip.events import FactsChanged, ReplyCame, RequestCame
from weavenet.endpoint import parse
from weavenet.ringfile import RingFile
from weavenet.ringkeeper import RingKeeper
from weavenet.sharing import Sharing

RANGE, DNS = IPv4Network("10.2.0.0/16"), IPv4Network("10.2.254.0/24")
FIRST, LAST = int(RANGE.network_address), int(RANGE.broadcast_address)
LIFE = "a life"
NO_RING: list[Any] = ["", [], []]


class Daemon:
    """The real peer's part in sharing addresses, on the real node; `second` is the other end of its requests."""

    def __init__(self, *, alone: bool) -> None:
        self.pair = Pair(PASSWORD)
        self.pair.join()
        self.pair.heard()
        self.pair.prove()
        self.answerers: dict[str, Callable[[str, bytes], Awaitable[bytes]]] = {}
        self.theirs = second.Answering(lambda _: ["no", "nobody asked"])
        self._numbers = itertools.count(1)
        self.cluster = cast(
            "Cluster",
            SimpleNamespace(
                answer_with=self.answerers.__setitem__,
                ask=self.ask,
                live=lambda: ["second"],
                is_live=lambda _: True,
                named=lambda: {} if alone else {"10.0.0.2:6783": "second"},
                told=self._told,
                publish=lambda: self.pair.node.publish(self.pair.now),
            ),
        )
        self.carrier = Carrier(self.cluster, self.pair.catalog)
        self.sharing: Sharing

    async def open(self, folder: Path) -> RingFile:
        file = RingFile(folder / "ring")
        keeper = await RingKeeper.open(file, name="real", weave_range=RANGE, dns_subnet=DNS, default_subnet=RANGE)
        self.sharing = self.carrier.sharing = Sharing(keeper, self.carrier)
        await self.sharing.start()
        self.sharing.recovered()
        return file

    async def ask(self, peer: str, kind: str, body: bytes) -> bytes:
        """What the real peer asks goes to the second one, and its answer back."""
        number = self.pair.node.request(peer, kind, body, self.pair.now)
        ((_, theirs, told, raw),) = (said for said in self.pair.heard() if said[0] == second.REQUEST)
        assert told == kind
        self.pair.send([second.REPLY, theirs, False, self.theirs.asked(raw) if kind == "ipam" else self.remove(raw)])
        (came,) = (each for each in self.pair.events if isinstance(each, ReplyCame) and each.number == number)
        return came.body

    def remove(self, raw: bytes) -> bytes:
        raise NotImplementedError

    async def asked(self, kind: str, body: bytes) -> tuple[bool, bytes]:
        """What the second peer asks, and whether it failed and what was replied."""
        number = next(self._numbers)
        self.pair.events.clear()
        self.pair.send([second.REQUEST, number, kind, body])
        (came,) = (event for event in self.pair.events if isinstance(event, RequestCame))
        assert (came.peer, came.kind) == ("second", kind)
        try:
            self.pair.node.reply(came.number, await self.answerers[kind](came.peer, came.body))
        except PeerError as exc:
            self.pair.node.reply(came.number, str(exc).encode(), failed=True)
        ((_, told, failed, reply),) = (said for said in self.pair.heard() if said[0] == second.REPLY)
        assert told == number
        return failed, reply

    async def question(self, *question: Any) -> list[Any]:
        """Ask something about addresses, in as many requests as it takes."""
        number = next(self._numbers)
        reply = b""
        for body in second.question_parts(number, list(question)):
            # Until the question is whole there is nothing to be said.
            assert reply == b""
            failed, reply = await self.asked("ipam", body)
            assert not failed
        count, whole = second.unpack(reply)
        for index in range(1, count):
            _, reply = await self.asked("ipam", second.further_part(number, index))
            told, part = second.unpack(reply)
            assert told == count
            whole += part
        answer: list[Any] = second.unpack(whole)
        return answer

    def _told(self, peer: str, key: bytes) -> bytes | None:
        fact = self.pair.catalog.fact(peer, 1, key)
        return fact.data if fact else None

    def facts(self, kind: int) -> dict[bytes, bytes]:
        """What the real peer told by datagrams just now, of a kind."""
        # Changes soon after others wait for 5 ms.
        self.pair.now += 0.01
        self.pair.node.handle_timer(self.pair.now)
        changes = [said for said in self.pair.heard() if said[0] == second.CHANGES and said[1] == "real"]
        items = [item for said in changes for item in said[4] if item[:2] == [second.PUT_FACT, kind]]
        return {key: data for _, _, key, data in items}


@pytest.fixture
async def founder(tmp_path: Path) -> AsyncIterator[Daemon]:
    """It owns the whole range."""
    daemon = Daemon(alone=True)
    file = await daemon.open(tmp_path)
    yield daemon
    await file.close()


def owned(ring: list[Any], name: str) -> list[list[int]]:
    """First and last address and version of each stretch that a peer owns."""
    _, owners, stretches = ring
    return [[first, last, more[0]] for first, last, owner, *more in stretches if owners[owner][0] == name]


def ints(network: IPv4Network) -> tuple[int, int]:
    return int(network.network_address), network.prefixlen


async def test_a_dns_address_is_asked_for_and_given(founder: Daemon) -> None:
    tag, ring = await founder.question("space?", NO_RING, LIFE, *ints(DNS))
    assert tag == "ring"
    assert ["second", LIFE] in ring[1]
    gift = owned(ring, "second")
    assert gift[0][:2] == [int(IPv4Address("10.2.254.1"))] * 2
    assert all(int(DNS.network_address) < first <= last <= int(DNS.broadcast_address) for first, last, _ in gift)
    kept = {version for _, _, version in owned(ring, "real")}
    assert {version for _, _, version in gift} == {max(kept) + 1}


async def test_questions_and_answers_longer_than_a_request_go_in_parts(founder: Daemon) -> None:
    ring = NO_RING
    for subnet in list(RANGE.subnets(new_prefix=28))[16:80]:
        _, ring = await founder.question("space?", ring, LIFE, *ints(subnet))
    assert len(second.question_parts(1, ["ring?", ring, LIFE])) > 2
    assert len(owned(ring, "second")) == 64
    assert await founder.question("ring?", ring, LIFE) == ["ring", ring]
    # The last part is handed out once.
    number = 2**62
    replies = [await founder.asked("ipam", body) for body in second.question_parts(number, ["ring?", ring, LIFE])]
    count = second.unpack(replies[-1][1])[0]
    assert count > 1
    parts = [(await founder.asked("ipam", second.further_part(number, count - 1)))[0] for _ in range(2)]
    assert parts == [False, True]


async def test_who_has_no_ring_says_whom_it_knows_and_waits_for(tmp_path: Path) -> None:
    daemon = Daemon(alone=False)
    file = await daemon.open(tmp_path)
    tag, members, promised_to, waits_for, life = await daemon.question("seed?", ["real", "second"], LIFE)
    assert (tag, members, promised_to, waits_for) == ("seed", ["real", "second"], "", [])
    assert life
    assert (await daemon.question("ring?", NO_RING, LIFE))[0] == "seed"
    await file.close()


async def test_a_question_with_an_element_too_many_is_refused(founder: Daemon) -> None:
    tag, reason = await founder.question("space?", NO_RING, LIFE, *ints(DNS), 1)
    assert tag == "no"
    assert "malformed" in reason


async def test_a_ring_that_it_answers_with_is_taken_and_the_share_published(tmp_path: Path) -> None:
    daemon = Daemon(alone=False)
    file = await daemon.open(tmp_path)
    half = FIRST + (1 << 15)

    def answer(question: list[Any]) -> list[Any]:
        assert question[0] == "ring?"
        assert question[1] == NO_RING
        owners = [["real", question[2]], ["second", LIFE]]
        return ["ring", ["second/1", owners, [[FIRST, half - 1, 1, 0], [half, LAST, 0, 1, 0, ""]]]]

    daemon.theirs.answer = answer
    running = asyncio.create_task(daemon.sharing.run())
    async with asyncio.timeout(10.0):
        while not (told := daemon.facts(3)):  # noqa: ASYNC110 - what is waited for happens in the node
            await asyncio.sleep(0.005)
    running.cancel()
    assert list(told) == [b"ring"]
    ring = second.unpack(told[b"ring"])
    assert ring[0] == "second/1"
    assert owned(ring, "real") == [[half, LAST, 1]]
    assert owned(ring, "second") == []
    await file.close()


async def test_claims_are_told_both_ways(founder: Daemon) -> None:
    found = founder.sharing.allocator.request("c" * 64, "web", parse("net:10.2.7.0/24"), 1.0)
    founder.sharing.claimed()
    told = founder.facts(2)
    assert str(found) == "10.2.7.1/24"
    assert {key: second.unpack(data) for key, data in told.items()} == {
        b"a\x0a\x02\x07\x01": [24, "c" * 12, "web", False]
    }
    me = founder.pair.second
    claim = [second.PUT_FACT, 2, b"a\x0a\x02\x07\x02", second.pack([24, "d" * 12, "theirs"])]
    founder.pair.send([second.CHANGES, me.name, me.incarnation, 2, [claim]])
    assert FactsChanged("second") in founder.pair.events
    founder.carrier.facts_changed("second")
    found = founder.sharing.allocator.request("e" * 64, "next", parse("net:10.2.7.0/24"), 1.0)
    assert str(found) == "10.2.7.3/24"


async def test_a_peer_without_a_network_is_not_asked_for_addresses(founder: Daemon) -> None:
    assert founder.carrier.live() == ["second"]
    me = founder.pair.second
    founder.pair.send([second.CHANGES, me.name, me.incarnation, 2, [[second.PUT_FACT, 1, b"no-network", b""]]])
    assert founder.carrier.live() == []


async def test_it_has_records_removed_that_people_added(founder: Daemon, tmp_path: Path) -> None:
    real = await Peer(tmp_path).start()
    await real.registry.add("db", ["192.0.2.1", "192.0.2.2", "192.0.2.3"])

    async def answer(_peer: str, body: bytes) -> bytes:
        # As the daemon does with whatever is wrong.
        try:
            return await peers.removed_for(real.registry, body)
        except Exception as exc:
            raise PeerError(str(exc)) from exc

    founder.answerers["remove"] = answer
    remove = second.pack(["db", ["192.0.2.1", "192.0.2.9"]])
    failed, sentence = await founder.asked("remove", remove)
    assert failed
    assert b"192.0.2.9" in sentence
    assert len(real.rows("db")) == 3
    assert await founder.asked("remove", second.pack(["db", ["192.0.2.1"]])) == (False, b"1")
    assert await founder.asked("remove", second.pack(["db.weave.local.", []])) == (False, b"2")
    assert real.rows("db") == []
    failed, sentence = await founder.asked("remove", second.pack(["db", [], 1]))
    assert failed
    assert b"malformed" in sentence


async def test_it_is_asked_to_remove_what_it_is_seen_to_have(founder: Daemon, tmp_path: Path) -> None:
    me = founder.pair.second
    put = [second.PUT_RECORD, "added", NAME, 1, b"\xc0\x00\x02\x01", 60, 1, True]
    founder.pair.send([second.CHANGES, me.name, me.incarnation, 2, [put]])
    asked: list[Any] = []

    def remove(raw: bytes) -> bytes:
        asked.append(second.unpack(raw))
        return b"1"

    founder.remove = remove  # type: ignore[method-assign]
    real = await Peer(tmp_path).start()
    removal = ("web", ["192.0.2.1"])
    count = await peers.remove(
        founder.cluster, founder.pair.catalog, real.registry, b"\x05weave\x05local\x00", removal
    )
    assert count == 1
    assert asked == [["web", ["192.0.2.1"]]]
