"""Joining and forgetting by hand, between daemons' worth of gossip on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from weavedns import config
from weavedns.cluster.cluster import Cluster, Hooks
from weavedns.errors import PeerError
from weavedns.gossip.events import Address
from weavedns.records.catalog import Catalog
from weavedns.turns import Turns

HERE = "127.0.0.1"
# Much less than a join without an answer takes.
SOON_S = 3.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HERE, 0))
        port: int = probe.getsockname()[1]
        return port


def cluster(name: str, port: int, *named: str) -> Cluster:
    settings = config.settings(
        name=name, socket=Path("/nowhere"), network=False, listen=("127.0.0.1:5353",), advertise=HERE, port=port,
        peers=named,
    )  # fmt: skip
    hooks = Hooks(lambda _: None, lambda _: None, lambda _: None, lambda _: None)
    return Cluster(settings, Catalog(name), hooks, Turns())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10.0):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in many places
            await asyncio.sleep(0.005)


@contextlib.contextmanager
def soon() -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < SOON_S


def at(peer: Cluster) -> Address:
    return HERE, peer.port


@pytest.fixture
async def one() -> AsyncIterator[Cluster]:
    peer = cluster("one", free_port())
    async with peer.serving():
        yield peer


@pytest.fixture
async def two() -> AsyncIterator[Cluster]:
    peer = cluster("two", free_port())
    async with peer.serving():
        yield peer


async def test_a_peer_that_is_joined_already_is_joined_at_once(one: Cluster, two: Cluster) -> None:
    with soon():
        await one.join([at(two)])
        await one.join([at(two)])
        await until(lambda: two.live() == ["one"])
        await two.join([at(one)])
    assert (one.live(), two.live()) == (["two"], ["one"])


async def test_several_may_join_one_address_at_once(one: Cluster, two: Cluster) -> None:
    with soon():
        await asyncio.gather(*(one.join([at(two)]) for _ in range(3)))
    assert one.live() == ["two"]


async def test_several_that_join_where_nobody_is_all_hear_so(one: Cluster) -> None:
    nowhere = HERE, free_port()
    with soon():
        told = await asyncio.gather(*(one.join([nowhere]) for _ in range(2)), return_exceptions=True)
    assert [type(each) for each in told] == [PeerError, PeerError]
    assert all("does not answer" in str(each) for each in told)


async def test_a_peer_that_joins_itself_is_told_so_each_time(one: Cluster) -> None:
    with soon():
        for _ in range(2):
            with pytest.raises(PeerError, match=f"the peer at {HERE} port {one.port} is this peer itself"):
                await one.join([at(one)])
    assert not one.refused()


async def test_a_peer_named_itself_at_launch_waits_for_nobody() -> None:
    port = free_port()
    alone = cluster("alone", port, f"{HERE}:{port}")
    with soon():
        async with alone.serving(), asyncio.timeout(1.0):
            await alone.caught_up.wait()
            await alone.met.wait()
    assert not alone.refused()


async def test_when_one_of_several_fails_the_others_are_joined_all_the_same(one: Cluster, two: Cluster) -> None:
    nowhere, nobody = (HERE, free_port()), ("no-host.invalid", 1)
    with soon(), pytest.raises(PeerError) as told:
        await one.join([nowhere, nobody, at(two)])
    text = str(told.value)
    assert f"port {nowhere[1]} does not answer" in text
    assert "no host no-host.invalid is known" in text
    assert str(two.port) not in text
    assert "\n" not in text
    assert one.live() == ["two"]


async def test_an_address_where_nobody_is_can_be_forgotten_and_joined_again(one: Cluster) -> None:
    port = free_port()
    with pytest.raises(PeerError):
        await one.join([(HERE, port)])
    assert list(one.refused()) == [(HERE, port)]
    assert one.unmet()
    one.forget(f"{HERE}:{port}")
    assert not one.refused()
    assert not one.unmet()
    with pytest.raises(PeerError, match=f"there is no peer {HERE}:{port}"):
        one.forget(f"{HERE}:{port}")
    late = cluster("late", port)
    async with late.serving():
        with soon():
            await one.join([(HERE, port)])
        assert one.live() == ["late"]
        with pytest.raises(PeerError, match="peer late"):
            one.forget(f"{HERE}:{port}")


async def test_what_is_no_address_and_no_peer_is_refused_as_before(one: Cluster) -> None:
    for text in ("nobody", "a b", "192.0.2.1:0"):
        with pytest.raises(PeerError, match=f"there is no peer {text}"):
            one.forget(text)


async def test_nobody_is_joined_before_peers_are_heard() -> None:
    with pytest.raises(PeerError, match="not connected to others yet"):
        await cluster("early", free_port()).join([(HERE, 1)])
