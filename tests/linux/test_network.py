"""The weave bridge of a host: its address, MTU and rules, made once and kept."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import shutil
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any

import pytest

from tests.linux.boxes import Box, Host, addresses_of, eventually, in_thread
from weavenet import iptables, network
from weavenet.errors import NetworkError, RangeConflictError

pytestmark = pytest.mark.linux
Boxes = Callable[..., Any]


def bridge_addresses(host: Host) -> list[IPv4Interface]:
    return host.with_netlink(lambda netlink: netlink.addresses(netlink.link("weave").index))  # type: ignore[union-attr]


def bridge_mac(host: Host) -> str:
    return host.with_netlink(lambda netlink: netlink.link("weave").mac)  # type: ignore[union-attr]


async def test_the_host_has_a_bridge_with_the_dns_address_and_the_prefix_of_the_range(host: Host) -> None:
    assert bridge_addresses(host) == [IPv4Interface("10.2.254.1/16")]
    assert host.network.dns_address == IPv4Address("10.2.254.1")
    assert int(bridge_mac(host)[:2], 16) & 3 == 2
    assert "inet6" not in host.run("ip", "address", "show", "weave")


async def test_going_up_again_changes_nothing(host: Host) -> None:
    before = bridge_addresses(host), bridge_mac(host), host.filter_rules()
    assert not await host.network.up()
    assert not await host.make_network().up()
    assert (bridge_addresses(host), bridge_mac(host), host.filter_rules()) == before


async def test_the_first_launch_says_that_it_made_the_bridge(bare_host: Host) -> None:
    assert await bare_host.network.up()


async def test_an_address_asked_for_is_kept_by_a_restart_that_asks_for_none(bare_host: Host) -> None:
    await bare_host.make_network(dns_address=IPv4Address("10.2.254.9")).up()
    again = bare_host.make_network()
    await again.up()
    assert again.dns_address == IPv4Address("10.2.254.9")
    assert bridge_addresses(bare_host) == [IPv4Interface("10.2.254.9/16")]


async def test_another_address_asked_for_replaces_the_one_the_bridge_has(host: Host) -> None:
    await host.make_network(dns_address=IPv4Address("10.2.254.9")).up()
    assert bridge_addresses(host) == [IPv4Interface("10.2.254.9/16")]
    assert "10.2.254.9/32" in host.filter_rules()
    assert "10.2.254.1/32" not in host.filter_rules()


async def test_another_range_replaces_the_address_of_the_former(host: Host) -> None:
    other = {"weave_range": IPv4Network("10.77.0.0/20"), "dns_subnet": IPv4Network("10.77.15.0/24")}
    await host.make_network(**other).up()
    assert bridge_addresses(host) == [IPv4Interface("10.77.15.1/20")]


async def test_an_address_that_somebody_gave_the_bridge_meanwhile_is_not_taken_away(host: Host) -> None:
    host.run("ip", "address", "add", "192.0.2.1/24", "dev", "weave")
    assert await host.network.put_right() == []
    assert IPv4Interface("192.0.2.1/24") in bridge_addresses(host)


async def test_addresses_that_were_exposed_on_the_bridge_stay(host: Host) -> None:
    host.run("ip", "address", "add", "10.2.0.77/16", "dev", "weave")
    await host.make_network(dns_address=IPv4Address("10.2.254.9")).up()
    assert set(bridge_addresses(host)) == {IPv4Interface("10.2.0.77/16"), IPv4Interface("10.2.254.9/16")}


@pytest.mark.parametrize("address", ["10.2.254.0", "10.2.254.255", "10.2.3.4"])
async def test_a_dns_address_that_is_no_host_of_the_dns_subnet_is_refused(bare_host: Host, address: str) -> None:
    with pytest.raises(NetworkError, match=address):
        await bare_host.make_network(dns_address=IPv4Address(address)).up()
    assert "weave" not in bare_host.run("ip", "link")


@pytest.mark.parametrize(
    ("route", "named"),
    [
        ("10.2.3.0/24 dev eth0", "10.2.3.0/24 dev eth0"),
        ("10.0.0.0/8 dev eth0", "10.0.0.0/8 dev eth0"),
        ("10.2.9.0/24 dev eth0 table 52", "10.2.9.0/24 dev eth0"),
        ("blackhole 10.2.128.0/18", "blackhole 10.2.128.0/18"),
    ],
)
async def test_a_range_that_overlaps_a_route_is_refused_naming_it(bare_host: Host, route: str, named: str) -> None:
    plug_in(bare_host)
    bare_host.run("ip", "route", "add", *route.split())
    with pytest.raises(RangeConflictError) as caught:
        await bare_host.network.up()
    assert f"overlaps this host's route {named}: " in str(caught.value)
    assert "--range" in str(caught.value)
    assert "weave" not in bare_host.run("ip", "link")


async def test_a_range_that_holds_an_address_of_the_host_is_refused(bare_host: Host) -> None:
    plug_in(bare_host)
    bare_host.run("ip", "address", "add", "10.2.1.1/32", "dev", "eth0")
    with pytest.raises(RangeConflictError, match=r"local 10\.2\.1\.1/32 dev eth0"):
        await bare_host.network.up()


async def test_default_routes_and_those_of_our_own_bridge_are_no_conflict(bare_host: Host) -> None:
    plug_in(bare_host)
    for default in ("default", "0.0.0.0/1", "128.0.0.0/1"):
        bare_host.run("ip", "route", "add", default, "dev", "eth0")
    await bare_host.network.up()
    await bare_host.make_network().up()


async def test_the_mtu_is_that_of_the_default_route(bare_host: Host) -> None:
    plug_in(bare_host, mtu=1400)
    bare_host.run("ip", "route", "add", "default", "dev", "eth0")
    await bare_host.network.up()
    assert bare_host.network.mtu == 1400
    assert "mtu 1400" in bare_host.run("ip", "link", "show", "weave")


async def test_the_mtu_is_ethernets_without_a_default_route_unless_one_is_asked_for(bare_host: Host) -> None:
    plug_in(bare_host, mtu=1400)
    await bare_host.network.up()
    assert bare_host.network.mtu == 1500
    await bare_host.make_network(mtu=1300).up()
    assert "mtu 1300" in bare_host.run("ip", "link", "show", "weave")


async def test_a_device_of_that_name_that_is_no_bridge_is_left_alone(bare_host: Host) -> None:
    bare_host.run("ip", "link", "add", "weave", "type", "veth", "peer", "name", "other")
    with pytest.raises(NetworkError, match="not a bridge"):
        await bare_host.network.up()
    assert "other" in bare_host.run("ip", "link", "show", "weave")


async def test_a_bridge_that_somebody_else_made_keeps_its_mac_from_then_on(bare_host: Host, boxes: Boxes) -> None:
    bare_host.run("ip", "link", "add", "weave", "type", "bridge")
    await bare_host.start()
    mac = bridge_mac(bare_host)
    for n in range(3):
        await bare_host.attach(boxes(f"c{n}"))
    assert bridge_mac(bare_host) == mac
    await bare_host.stop()


async def test_containers_come_and_go_and_the_bridge_keeps_its_mac(host: Host, boxes: Boxes) -> None:
    mac = bridge_mac(host)
    made = [boxes(f"c{n}") for n in range(5)]
    for box in made:
        await host.attach(box)
        assert bridge_mac(host) == mac
    for box in made:
        await host.detach(box)
        assert bridge_mac(host) == mac


def chain(host: Host, name: str) -> list[str]:
    return [line for line in host.filter_rules().splitlines() if line.startswith(f"-A {name} ")]


async def test_our_rules_come_first_even_after_others_put_theirs_before_them(host: Host) -> None:
    host.run("iptables", "-w", "-P", "FORWARD", "DROP")
    host.run("iptables", "-w", "-I", "FORWARD", "-j", "DROP")
    assert await host.network.put_right() == ["packet filter rules"]
    assert chain(host, "FORWARD") == ["-A FORWARD -j WEAVEDNS-FORWARD", "-A FORWARD -j DROP"]
    assert await host.network.put_right() == []


@pytest.mark.parametrize(
    "harm",
    [
        "iptables -w -F",
        "iptables -w -F WEAVEDNS-FORWARD",
        "iptables -w -D WEAVEDNS-FORWARD 2",
        "iptables -w -I WEAVEDNS-INPUT -j DROP",
        "iptables -w -D INPUT -j WEAVEDNS-INPUT",
        "iptables -w -A FORWARD -j WEAVEDNS-FORWARD",
        "iptables -w -F; iptables -w -X",
        "ip link set weave down",
        "ip address flush dev weave",
        "ip link del weave",
    ],
)
async def test_what_others_take_away_is_put_back_while_the_daemon_runs(
    host: Host, boxes: Boxes, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    box: Box = boxes("redis")
    await host.attach(box)
    rules, mac = host.filter_rules(), bridge_mac(host)
    monkeypatch.setattr(network, "KEEP_EVERY_S", 0.01)
    host.run("sh", "-c", harm)
    keeping = asyncio.create_task(host.network.keep())
    try:
        # Connectivity comes back when all is put back, which several rounds may take.
        assert await eventually(lambda: host.filter_rules() == rules and box.reaches("10.2.254.1", 0.2))
        assert bridge_mac(host) == mac
        assert bridge_addresses(host) == [IPv4Interface("10.2.254.1/16")]
    finally:
        keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeping


LEGACY = Path("/usr/sbin/xtables-legacy-multi")


@pytest.mark.needs("iptables-legacy", met=LEGACY.exists())
async def test_the_rules_are_kept_with_the_legacy_iptables_too(
    bare_host: Host, boxes: Boxes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tool in ("iptables", "iptables-restore"):
        (tmp_path / tool).symlink_to(LEGACY)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    await bare_host.start()
    bare_host.run("iptables", "-w", "-P", "FORWARD", "DROP")
    assert await bare_host.network.put_right() == []
    redis, app = boxes("redis"), boxes("app")
    await bare_host.attach(redis)
    await bare_host.attach(app)
    assert app.reaches("10.2.0.1")
    bare_host.run("iptables", "-w", "-F")
    assert not app.reaches("10.2.0.1", 0.3)
    assert await bare_host.network.put_right() == ["packet filter rules"]
    assert app.reaches("10.2.0.1")
    await bare_host.network.down()
    assert "WEAVEDNS" not in bare_host.filter_rules()
    await bare_host.stop()


async def test_keeping_goes_on_after_it_could_not(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "KEEP_EVERY_S", 0.01)
    attempts: list[int] = []

    def fail() -> list[str]:
        attempts.append(1)
        raise NetworkError("no")

    monkeypatch.setattr(host.network, "_put_right", fail)
    keeping = asyncio.create_task(host.network.keep())
    assert await eventually(lambda: len(attempts) > 2)
    keeping.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await keeping


async def test_taking_down_leaves_the_host_as_it_was(bare_host: Host, boxes: Boxes) -> None:
    bare_host.run("iptables", "-w", "-A", "FORWARD", "-i", "eth9", "-j", "DROP")
    before = bare_host.run("ip", "address"), bare_host.filter_rules(), bare_host.run("ip", "route")
    await bare_host.start()
    box = boxes("redis")
    await bare_host.attach(box)
    await bare_host.network.down()
    assert (bare_host.run("ip", "address"), bare_host.filter_rules(), bare_host.run("ip", "route")) == before
    assert addresses_of(box) == []
    await bare_host.network.down()
    await bare_host.stop()


async def test_nothing_is_put_back_after_taking_down(host: Host) -> None:
    await host.network.down()
    assert await host.network.put_right() == []
    assert "weave" not in host.run("ip", "link")


async def test_without_iptables_the_package_is_named_and_no_bridge_stays(
    bare_host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(iptables, "_SBIN", ())
    assert shutil.which("iptables") is None
    with pytest.raises(NetworkError, match="install the package iptables"):
        await bare_host.network.up()
    assert bare_host.with_netlink(lambda netlink: netlink.link("weave")) is None


def test_without_permission_the_cure_is_named(bare_host: Host) -> None:
    def up_without_privileges() -> None:
        drop_capabilities()
        asyncio.run(bare_host.network.up())

    with pytest.raises(NetworkError, match="run as root"):
        in_thread(up_without_privileges)


def drop_capabilities() -> None:
    """Take all effective capabilities from the calling thread, and so from the threads it starts."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    none = (ctypes.c_uint32 * 6)()
    assert libc.capset(header, none) == 0


def plug_in(host: Host, mtu: int = 1500) -> None:
    """Give a host an eth0 that leads nowhere."""
    host.run("ip", "link", "add", "eth0", "mtu", str(mtu), "type", "veth", "peer", "name", "wire")
    host.run("ip", "link", "set", "wire", "up")
    host.run("ip", "link", "set", "eth0", "up")
