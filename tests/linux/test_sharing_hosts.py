"""Containers of several hosts that share out one range: attaching waits for addresses, and says for whom."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from tests.linux.boxes import Box, Host, Switch, addresses_of
from tests.unit.weavenet.sharing_peers import Peer, Wire
from weavenet import givers, sharing
from weavenet.attach import Attacher
from weavenet.errors import AddressInUseError, NoAddressError
from weavenet.resolvconf import State, state_of

pytestmark = pytest.mark.linux
Boxes = Callable[..., Any]


class SharingHost:
    """A host with its peer; `servers` are what its containers' resolvers are told."""

    def __init__(self, host: Host, peer: Peer, number: int) -> None:
        self.host = host
        self.peer = peer
        self.underlay = IPv4Address(f"10.99.0.{number}")
        self.servers: list[str] = []

    async def start(self, switch: Switch) -> None:
        switch.plug_in(self.host, f"{self.underlay}/24")
        host = self.host
        host.network = host.make_network(overlay_port=6784)
        self.peer.run()
        own = await self.peer.sharing.dns_address(None, await host.network.carried())
        await host.network.up(own)
        self.servers.append(str(own))
        host.allocator = self.peer.sharing.allocator
        host.attacher = Attacher(
            host.network,
            host.allocator,
            domain="weave.local.",
            nameservers=lambda _: self.servers,
            clock=lambda: self.peer.now,
            addresses_from=self.peer.sharing,
        )


@pytest.fixture
async def hosts(boxes: Boxes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[SharingHost]]:
    """host1, which founded, and host2, which joined it."""
    monkeypatch.setattr(sharing, "TICK_S", 0.01)
    switch, wire = boxes("switch", Switch), Wire(tmp_path)
    peers = [await wire.launch("host1"), await wire.launch("host2", "host1")]
    made = [SharingHost(boxes(peer.name, Host), peer, number) for number, peer in enumerate(peers, 1)]
    for each in made:
        await each.start(switch)
    for one, other in (made, reversed(made)):
        await one.host.network.set_peers([other.underlay])
    yield made
    for each in made:
        await each.host.stop()
        await each.peer.stop()


async def test_containers_get_addresses_of_their_hosts_part_and_reach_each_other(
    hosts: list[SharingHost], boxes: Boxes
) -> None:
    one, other = boxes("c1"), boxes("c2")
    assert await hosts[0].host.attach(one) == ["10.2.0.1/16"]
    assert await hosts[1].host.attach(other) == ["10.2.128.1/16"]
    assert [each.servers for each in hosts] == [["10.2.254.1"], ["10.2.254.2"]]
    assert one.reaches("10.2.128.1", 0.09)
    assert one.reaches("10.2.254.2")
    assert other.reaches("10.2.254.1")


async def test_an_address_in_use_on_another_host_is_refused_naming_container_and_host(
    hosts: list[SharingHost], boxes: Boxes
) -> None:
    one, other = boxes("c1"), boxes("c2")
    await hosts[0].host.attach(one, "10.2.45.3/24")
    with pytest.raises(AddressInUseError, match=r"10\.2\.45\.3 is in use by container c1 \(.*\) on host host1"):
        await hosts[1].host.attach(other, "10.2.45.3/24")
    assert addresses_of(other) == []
    await hosts[0].host.detach(one)
    assert await hosts[1].host.attach(other, "10.2.45.3/24") == ["10.2.45.3/24"]


async def test_an_attach_waits_for_an_owner_that_comes_back_and_others_do_not_wait_for_it(
    hosts: list[SharingHost], boxes: Boxes
) -> None:
    waiting, quick = boxes("waiting"), [boxes(f"quick{n}") for n in range(3)]
    await hosts[1].host.attach(quick[0])
    hosts[1].peer.wire.cut("host1", "host2")
    pending = [asyncio.create_task(hosts[1].host.attach(waiting, "net:10.2.7.0/24"))]
    pending += [asyncio.create_task(hosts[1].host.attach(boxes(f"w{n}"), "net:10.2.7.0/24")) for n in range(5)]
    for box in quick[1:]:
        await hosts[1].host.attach(box)
    assert not any(each.done() for each in pending)
    hosts[1].peer.wire.mend()
    attached = [(await each)[0] for each in pending]
    assert len(set(attached)) == 6
    assert all(each.startswith("10.2.7.") for each in attached)


async def test_an_attach_that_waits_in_vain_names_whom_it_waited_for_and_leaves_nothing(
    hosts: list[SharingHost], boxes: Boxes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(givers, "GIVEN_WITHIN_S", 0.3)
    box = boxes("redis")
    hosts[1].peer.wire.cut("host1", "host2")
    with pytest.raises(NoAddressError, match=r"host1 \(not connected\) gave none: start host1, or 'weavenet ipam"):
        await hosts[1].host.attach(box, "10.2.8.9/24", "net:10.2.7.0/24")
    assert addresses_of(box) == []
    assert hosts[1].host.allocator.claims_of(box.id) == []


async def test_a_restart_learns_the_addresses_in_use_and_the_others_hear_of_them(
    hosts: list[SharingHost], boxes: Boxes
) -> None:
    box: Box = boxes("redis")
    one, other = hosts
    await one.host.attach(box, "10.2.45.3/24")
    wire = one.peer.wire
    await one.host.stop()
    await one.peer.stop()
    other.peer.sharing.forgotten("host1")
    peer = await wire.launch("host1")
    again = Attacher(
        one.host.network,
        peer.sharing.allocator,
        domain="weave.local.",
        nameservers=lambda _: one.servers,
        addresses_from=peer.sharing,
    )
    await again.adopt(box.target)
    with pytest.raises(AddressInUseError, match="container redis"):
        await other.host.attach(boxes("c2"), "10.2.45.3/24")
    await again.close()
    one.peer = peer


async def test_all_resolvers_hear_of_another_name_server_and_changed_ones_are_left_alone(
    hosts: list[SharingHost], boxes: Boxes
) -> None:
    host = hosts[0].host
    attached, changed, detached, ended = (boxes(name) for name in ("attached", "changed", "detached", "ended"))
    for box in (attached, changed, detached, ended):
        await host.attach(box)
    changed.resolv_conf.write_bytes(b"nameserver 192.0.2.1\n")
    await host.detach(detached)
    ended.end()
    host.attacher.died(ended.id, 0.0)
    before = {box: box.resolv_conf.read_bytes() for box in (changed, detached, ended)}
    hosts[0].servers.append("10.2.254.2")
    assert await host.attacher.refresh_resolvers() == 1
    text = attached.resolv_conf.read_bytes()
    assert state_of(text) is State.OURS
    assert text.count(b"nameserver 10.2.254.") == 2
    assert {box: box.resolv_conf.read_bytes() for box in (changed, detached, ended)} == before
    assert await host.attacher.refresh_resolvers() == 0


async def test_a_resolver_file_that_cannot_be_written_keeps_no_other_from_being_refreshed(
    hosts: list[SharingHost], boxes: Boxes, caplog: pytest.LogCaptureFixture
) -> None:
    host = hosts[0].host
    bad, good = boxes("bad"), boxes("good")
    for box in (bad, good):
        await host.attach(box)
    bad.resolv_conf.unlink()
    hosts[0].servers.append("10.2.254.2")
    assert await host.attacher.refresh_resolvers() == 1
    assert "container bad: cannot read" in caplog.text
