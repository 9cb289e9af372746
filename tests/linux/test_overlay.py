"""Hosts whose weave networks are one: containers across them, the size of packets, and whom a host floods."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from ipaddress import IPv4Address
from typing import Any

import pytest

from tests.linux.boxes import Box, Host, Switch, eventually
from weavenet import network, overlay
from weavenet.errors import NetworkError
from weavenet.netlink import FLOOD
from weavenet.overlay import Overlay

pytestmark = pytest.mark.linux
Boxes = Callable[..., Any]
PORT = overlay.DEFAULT_PORT


def underlay(number: int) -> IPv4Address:
    return IPv4Address(f"10.99.0.{number}")


def resolver_of(number: int) -> IPv4Address:
    return IPv4Address(f"10.2.254.{number}")


async def start(switch: Switch, host: Host, number: int, **settings: Any) -> None:
    switch.plug_in(host, f"{underlay(number)}/24")
    await host.start(overlay_port=PORT, dns_address=resolver_of(number), **settings)


@pytest.fixture
def switch(boxes: Boxes) -> Switch:
    made: Switch = boxes("switch", Switch)
    return made


@pytest.fixture
async def hosts(switch: Switch, boxes: Boxes) -> AsyncIterator[list[Host]]:
    """Three hosts that were told of each other."""
    made = [boxes(f"h{n}", Host) for n in (1, 2, 3)]
    for number, host in enumerate(made, 1):
        await start(switch, host, number)
    for number, host in enumerate(made, 1):
        await host.network.set_peers(underlay(n) for n in (1, 2, 3) if n != number)
    yield made
    for host in made:
        await host.stop()


def flooded(host: Host) -> set[str]:
    entries = host.with_netlink(lambda netlink: netlink.forwarding("weavevx"))
    return {str(each.destination) for each in entries if each.mac == FLOOD}


def mtus(host: Host, *boxes: Box) -> set[int]:
    links = [link for box in (host, *boxes) for link in box.with_netlink(lambda netlink: netlink.links())]
    return {link.mtu for link in links if link.name.startswith(("weave", "vethwe", "ethwe"))}


async def test_containers_of_all_hosts_reach_each_other_at_the_first_packet(hosts: list[Host], boxes: Boxes) -> None:
    containers = [boxes(f"c{n}") for n in (1, 2, 3)]
    for number, (host, box) in enumerate(zip(hosts, containers, strict=True), 1):
        await host.attach(box, f"10.2.0.{number}/16")
    for box in containers:
        for number in (1, 2, 3):
            assert box.reaches(f"10.2.0.{number}", 0.09)


async def test_the_dns_addresses_of_the_other_hosts_are_reached(hosts: list[Host], boxes: Boxes) -> None:
    hosts[0].run("iptables", "-w", "-P", "FORWARD", "DROP")
    box = boxes("redis")
    await hosts[0].attach(box, "10.2.45.3/24")
    for number in (1, 2, 3):
        assert box.reaches(str(resolver_of(number)))
        assert hosts[0].reaches(str(resolver_of(number)))


async def test_packets_of_the_networks_mtu_pass_unfragmented_and_larger_ones_do_not(
    hosts: list[Host], boxes: Boxes
) -> None:
    one, other = boxes("c1"), boxes("c2")
    await hosts[0].attach(one, "10.2.0.1/16")
    await hosts[1].attach(other, "10.2.0.2/16")
    assert hosts[0].network.mtu == 1450
    assert one.carries("10.2.0.2", 1450)
    assert not one.carries("10.2.0.2", 1452, 0.3)
    # Nor is what carries them, which would get them there too.
    assert hosts[0].counter("FragCreates") == 0


async def test_a_peer_that_goes_is_no_longer_sent_anything(hosts: list[Host], boxes: Boxes) -> None:
    one, other = boxes("c1"), boxes("c3")
    await hosts[0].attach(one, "10.2.0.1/16")
    await hosts[2].attach(other, "10.2.0.3/16")
    assert one.reaches("10.2.0.3")
    assert flooded(hosts[0]) == {"10.99.0.2", "10.99.0.3"}
    await hosts[0].network.set_peers([underlay(2)])
    assert flooded(hosts[0]) == {"10.99.0.2"}
    entries = hosts[0].with_netlink(lambda netlink: netlink.forwarding("weavevx"))
    assert underlay(3) not in {each.destination for each in entries}
    assert not one.reaches("10.2.0.3", 0.3)
    await hosts[0].network.set_peers([underlay(2), underlay(3)])
    assert one.reaches("10.2.0.3")


def let_in(host: Host) -> list[str]:
    rules = host.filter_rules().splitlines()
    return [rule.removeprefix("-A WEAVEDNS-OVERLAY ") for rule in rules if rule.startswith("-A WEAVEDNS-OVERLAY")]


async def test_a_strangers_packets_do_not_enter_the_network(hosts: list[Host], switch: Switch, boxes: Boxes) -> None:
    stranger, one, other = boxes("h4", Host), boxes("c1"), boxes("c4")
    await start(switch, stranger, 4)
    await stranger.network.set_peers([underlay(1)])
    await hosts[0].attach(one, "10.2.0.1/16")
    await stranger.attach(other, "10.2.0.4/16")
    assert not other.reaches("10.2.0.1", 0.3)
    # Nothing but that rule kept them away.
    hosts[0].run("iptables", "-w", "-I", "WEAVEDNS-OVERLAY", "-j", "RETURN")
    assert other.reaches("10.2.0.1")
    await stranger.stop()


async def test_who_may_send_follows_who_is_a_peer(hosts: list[Host]) -> None:
    assert let_in(hosts[0]) == ["-s 10.99.0.2/32 -j RETURN", "-s 10.99.0.3/32 -j RETURN", "-j DROP"]
    await hosts[0].network.set_peers([underlay(3)], also_from=[underlay(7)])
    assert let_in(hosts[0]) == ["-s 10.99.0.3/32 -j RETURN", "-s 10.99.0.7/32 -j RETURN", "-j DROP"]
    await hosts[0].network.set_peers([])
    assert let_in(hosts[0]) == ["-j DROP"]
    await hosts[0].network.down()
    assert "WEAVEDNS" not in hosts[0].filter_rules()


async def test_telling_it_the_same_peers_again_changes_nothing(hosts: list[Host]) -> None:
    before = hosts[0].run("ip", "link"), flooded(hosts[0])
    assert not await hosts[0].network.set_peers([underlay(3), underlay(2)])
    assert await hosts[0].network.put_right() == []
    assert (hosts[0].run("ip", "link"), flooded(hosts[0])) == before


async def test_a_restart_interrupts_nothing_between_hosts(hosts: list[Host], boxes: Boxes) -> None:
    one, other = boxes("c1"), boxes("c2")
    await hosts[0].attach(one, "10.2.0.1/16")
    await hosts[1].attach(other, "10.2.0.2/16")
    assert one.reaches("10.2.0.2")
    index = hosts[0].with_netlink(lambda netlink: netlink.link("weavevx").index)  # type: ignore[union-attr]
    learnt = set(hosts[0].run("bridge", "fdb", "show", "dev", "weavevx").splitlines())
    await hosts[0].stop()
    await hosts[0].start(overlay_port=PORT)
    assert hosts[0].with_netlink(lambda netlink: netlink.link("weavevx").index) == index  # type: ignore[union-attr]
    assert set(hosts[0].run("bridge", "fdb", "show", "dev", "weavevx").splitlines()) >= learnt
    assert await hosts[0].network.carried() == [resolver_of(1)]
    assert one.reaches("10.2.0.2", 0.09)
    assert hosts[0].network.mtu == 1450


async def test_peers_told_of_before_the_network_is_up_count_from_then_on(switch: Switch, bare_host: Host) -> None:
    switch.plug_in(bare_host, "10.99.0.1/24")
    made = bare_host.make_network(overlay_port=PORT)
    await made.set_peers([underlay(2)])
    assert "weave" not in bare_host.run("ip", "link")
    await made.up()
    assert flooded(bare_host) == {"10.99.0.2"}


async def test_the_mtu_follows_the_ways_to_the_peers_and_containers_follow_it(
    switch: Switch, bare_host: Host, boxes: Boxes
) -> None:
    box = boxes("redis")
    await start(switch, bare_host, 1)
    await bare_host.attach(box)
    assert mtus(bare_host, box) == {1450}
    bare_host.run("ip", "route", "add", "10.99.0.2/32", "dev", "eth0", "mtu", "1400")
    assert await bare_host.network.set_peers([underlay(2), underlay(3)])
    await bare_host.attacher.refresh_interfaces()
    assert mtus(bare_host, box) == {1350}
    assert await bare_host.network.set_peers([underlay(3)])
    await bare_host.attacher.refresh_interfaces()
    assert mtus(bare_host, box) == {1450}
    await bare_host.stop()


async def test_the_mtu_of_a_container_that_was_attached_before_a_restart_follows_too(
    switch: Switch, bare_host: Host, boxes: Boxes
) -> None:
    box = boxes("redis")
    await bare_host.start()
    await bare_host.attach(box)
    await bare_host.stop()
    await start(switch, bare_host, 1, mtu=1300)
    await bare_host.attacher.adopt(box.target)
    assert mtus(bare_host, box) == {1300}
    await bare_host.stop()


@pytest.mark.parametrize(
    "harm",
    [
        "ip link del weavevx",
        "ip link set weavevx down",
        "ip link set weavevx nomaster",
        "bridge fdb del 00:00:00:00:00:00 dev weavevx dst 10.99.0.2",
        "bridge fdb append 00:00:00:00:00:00 dev weavevx dst 10.99.0.77",
        "ip link del weavevx; ip link add weavevx type vxlan id 9 dstport 9",
        "ip link set weavevx mtu 1200",
        "iptables -w -F WEAVEDNS-OVERLAY; iptables -w -A WEAVEDNS-OVERLAY -j DROP",
    ],
)
async def test_what_others_do_to_the_overlay_is_put_right_while_the_daemon_runs(
    hosts: list[Host], boxes: Boxes, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    one, other = boxes("c1"), boxes("c2")
    await hosts[0].attach(one, "10.2.0.1/16")
    await hosts[1].attach(other, "10.2.0.2/16")
    monkeypatch.setattr(network, "KEEP_EVERY_S", 0.01)
    hosts[0].run("sh", "-c", harm)
    keeping = asyncio.create_task(hosts[0].network.keep())
    try:
        assert await eventually(lambda: one.carries("10.2.0.2", 1450, 0.2))
        assert await eventually(lambda: flooded(hosts[0]) == {"10.99.0.2", "10.99.0.3"})
        assert len(let_in(hosts[0])) == 3
    finally:
        keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeping


async def test_taking_down_removes_the_overlay_also_one_of_an_earlier_launch(hosts: list[Host]) -> None:
    await hosts[0].make_network().down()
    assert "weave" not in hosts[0].run("ip", "link")
    await hosts[1].network.down()
    assert "weave" not in hosts[1].run("ip", "link")
    assert not await hosts[1].network.set_peers([underlay(1)])
    assert "weave" not in hosts[1].run("ip", "link")


async def test_another_port_makes_the_overlay_anew(hosts: list[Host]) -> None:
    await hosts[0].make_network(overlay_port=7000).up()
    assert "dstport 7000" in hosts[0].run("ip", "-d", "link", "show", "weavevx")


async def test_another_overlay_of_that_kind_is_left_alone_and_no_bridge_stays(
    switch: Switch, bare_host: Host
) -> None:
    switch.plug_in(bare_host, "10.99.0.1/24")
    bare_host.run("ip", "link", "add", "theirs", "type", "vxlan", "id", str(overlay.VNI), "dstport", str(PORT))
    with pytest.raises(NetworkError, match=r"another VXLAN device .* --overlay-port"):
        await bare_host.make_network(overlay_port=PORT).up()
    links = bare_host.run("ip", "link")
    assert "weave" not in links
    assert "theirs" in links


async def test_a_socket_on_the_overlays_port_is_told_with_the_cure(switch: Switch, bare_host: Host) -> None:
    switch.plug_in(bare_host, "10.99.0.1/24")
    with bare_host.listening(PORT), pytest.raises(NetworkError, match=r"UDP port 6784 .* --overlay-port"):
        await bare_host.make_network(overlay_port=PORT).up()
    assert "weave" not in bare_host.run("ip", "link")


async def test_a_device_of_the_overlays_name_that_is_none_is_left_alone(bare_host: Host) -> None:
    bare_host.run("ip", "link", "add", "weavevx", "type", "veth", "peer", "name", "other")
    with pytest.raises(NetworkError, match="weavevx is a veth, not the overlay"):
        await bare_host.make_network(overlay_port=PORT).up()
    assert "weavevx" in bare_host.run("ip", "link")


def test_the_device_is_named_after_the_bridge() -> None:
    assert Overlay("weave").device == "weavevx"
