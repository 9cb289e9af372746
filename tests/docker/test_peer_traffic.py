"""What peers send each other on real hosts: whom they refuse, what a recording is good for, whose frames come in."""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.docker.hosts import (
    SOON_S,
    Hosts,
    answers,
    connected,
    has,
    hosts,
    joined,
    launch_all,
    own_address,
    peers,
    reaches,
    report,
    run,
    states,
    three,
    told,
    wait_for,
)
from tests.lab import Host, Lab, wait_until

__all__ = ["hosts", "joined", "three"]
pytestmark = pytest.mark.docker

PASSWORD = "correct horse"
# Until a daemon has done what it does at its launch, also while the machine has other work.
STARTED_S = 60.0
GOSSIP_PORT = 6783
# Sends what standard input says, a payload in hex a line, as if from SOURCE; IP(7) has "IP_HDRINCL".
SPOOF = """
import socket, struct, sys
source, target, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
for line in sys.stdin:
    data = bytes.fromhex(line)
    udp = struct.pack("!HHHH", port, port, 8 + len(data), 0) + data
    addresses = socket.inet_aton(source) + socket.inet_aton(target)
    out.sendto(struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0) + addresses + udp, (target, 0))
"""
# Whether an echo request of SIZE octets (IP header included) is answered without ever being cut to pieces.
DF_PING = """
import os, socket, struct, sys, time
target, size = sys.argv[1], int(sys.argv[2])
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
s.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER, IP_PMTUDISC_DO
s.settimeout(0.2)
body = os.urandom(size - 28)
packet = struct.pack("!BBHHH", 8, 0, 0, 1, 1) + body + b"\\0" * (size % 2)
total = sum(struct.unpack(f"!{len(packet) // 2}H", packet))
total = (total & 0xFFFF) + (total >> 16)
total = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
packet = packet[:2] + struct.pack("!H", total) + packet[4:8 + len(body)]
ends = time.monotonic() + float(sys.argv[3])
while time.monotonic() < ends:
    try:
        s.sendto(packet, (target, 0))
        while True:
            answer, (source, _) = s.recvfrom(65535)
            if source == target and answer[20] == 0 and answer.endswith(body):
                sys.exit(0)
    except TimeoutError:
        pass
    except OSError:
        break
sys.exit(1)
"""


def log_of(host: Host) -> str:
    return host.daemon.log if host.daemon else ""


def gossip(host: Host) -> dict[str, Any]:
    counted: dict[str, Any] = report(host)["gossip"]  # type: ignore[assignment]
    return counted


def refused(host: Host, reason: str) -> int:
    return int(gossip(host)["refused"][reason])


# How a stranger is launched, what it says, what those say whom it asks, and how they count it.
ANOTHER = "it has another password, or another --cluster"
SEALED_OTHERWISE = "sealed with another password, or for another --cluster"
STRANGERS = {
    "--password": [
        ([], "it has a password, and this peer has none: give --password", "plaintext although", "plaintext"),
        (["--password", "battery staple"], ANOTHER, SEALED_OTHERWISE, "unknown_key"),
        (["--password", PASSWORD, "--cluster", "shop"], ANOTHER, SEALED_OTHERWISE, "unknown_key"),
    ],
    "": [
        (["--password", PASSWORD], "it has no password, and this peer has one", "encrypted although", "encrypted"),
        (
            ["--cluster", "shop"],
            "it has --cluster weave, and this peer",
            "it has --cluster shop, and this",
            "other_terms",
        ),
    ],
}


@pytest.mark.parametrize("flag", STRANGERS, ids=["with a password", "without"])
def test_strangers_are_refused_and_told_on_both_sides(hosts: Hosts, flag: str) -> None:
    one, two, stranger = hosts
    ours = [flag, PASSWORD] if flag else []
    one.start_daemon(*ours)
    two.start_daemon(one.address, *ours)
    connected(one, 1)
    one.run("weavedns", "add", "secret", "192.0.2.7")
    for theirs, they_say, we_say, counted in STRANGERS[flag]:
        before = refused(one, counted)
        stranger.start_daemon(one.address, *theirs, wait=False)
        wait_until(lambda: they_say in log_of(stranger), STARTED_S, what=lambda: told(hosts))  # noqa: B023 - at once
        wait_until(lambda: we_say in log_of(one), SOON_S, what=lambda: told(hosts))  # noqa: B023 - as above
        stranger.wait_for_daemon()
        assert they_say in stranger.run("weavedns", "status", "peers").stdout
        assert we_say in one.run("weavedns", "status", "peers").stdout
        assert refused(one, counted) > before
        assert "secret" not in stranger.run("weavedns", "ls").stdout
        stranger.kill_daemon()
    assert [row["state"] for row in peers(one) if row["peer"]] == ["connected"]
    assert wait_for(two, "secret") == ["192.0.2.7"]


def payloads(recording: Path) -> list[str]:
    """The UDP payloads of a pcap file of Ethernet frames, in hex."""
    data, at, found = recording.read_bytes(), 24, []
    order = "<" if data[:4] in {b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1"} else ">"
    while at + 16 <= len(data):
        (size,) = struct.unpack_from(f"{order}I", data, at + 8)
        frame = data[at + 16 : at + 16 + size]
        at += 16 + size
        found.append(frame[14 + 4 * (frame[14] & 15) + 8 :].hex())
    return found


def record_while(host: Host, sender: Host, happens: Callable[[], object]) -> list[str]:
    """The gossip datagrams that came from a host while something happened."""
    recording = host.directory / "gossip.pcap"
    expression = f"udp and src host {sender.address} and dst port {GOSSIP_PORT}"
    listening = host.popen("tcpdump", "-i", "eth0", "-U", "-Z", "root", "-w", recording, expression, log="tcpdump")
    wait_until(lambda: "listening on" in host.log("tcpdump"), what=lambda: host.log("tcpdump"))
    happens()
    listening.terminate()
    listening.wait(10)
    found = payloads(recording)
    recording.unlink()
    host.log_path("tcpdump").unlink()
    return found


def replay(stranger: Host, recorded: Sequence[str], source: Host, target: Host) -> None:
    given = "".join(f"{line}\n" for line in recorded)
    stranger.run(sys.executable, "-c", SPOOF, source.address, target.address, str(GOSSIP_PORT), stdin=given)


def test_a_recorded_packet_that_is_played_again_does_nothing_and_is_counted(hosts: Hosts) -> None:
    launch_all(hosts, "--password", PASSWORD)
    one, two, other = hosts

    def add() -> None:
        one.run("weavedns", "add", "db", "192.0.2.10")
        has(two, "db", "192.0.2.10")

    recorded = record_while(two, one, add)
    assert recorded
    one.run("weavedns", "remove", "db")
    for host in hosts:
        has(host, "db")
    before, malformed = refused(two, "replayed"), gossip(two)["malformed"]
    for source in (one, other):  # as if from its sender, and from an address of the one who plays it
        replay(other, recorded, source, two)
    wait_until(lambda: refused(two, "replayed") >= before + 2 * len(recorded), SOON_S, what=lambda: str(gossip(two)))
    assert gossip(two)["malformed"] == malformed
    for host in hosts:
        assert answers(host, "db") == []
        assert "db" not in host.run("weavedns", "ls").stdout
        assert states(host) == ["connected", "connected"]
    assert f"{refused(two, 'replayed')} replayed" in two.run("weavedns", "status", "peers").stdout
    metrics = two.run("busybox", "wget", "-qO-", "http://127.0.0.1:6782/metrics").stdout
    assert f'weavedns_gossip_refused_total{{reason="replayed"}} {refused(two, "replayed"):.1f}' in metrics


def test_who_may_send_to_the_overlay_follows_who_is_there(joined: Hosts) -> None:
    one, two, other = joined

    def let_in() -> list[str]:
        rules = one.run("iptables", "-w", "-S", "WEAVEDNS-OVERLAY").stdout.splitlines()
        return [rule.split()[3].removesuffix("/32") for rule in rules if rule.endswith("-j RETURN")]

    wait_until(lambda: let_in() == [two.address, other.address], SOON_S, what=lambda: str(let_in()))
    other.run("weavedns", "stop")
    wait_until(lambda: let_in() == [two.address], SOON_S, what=lambda: str(let_in()))
    one.run("weavedns", "stop", "--clean")
    assert "WEAVEDNS" not in one.run("iptables-save").stdout


@pytest.mark.parametrize("underlay", [1500, 1400])
def test_the_largest_packets_pass_between_hosts_in_one_piece(three: Lab, hosts: Hosts, underlay: int) -> None:
    one, two, _ = hosts
    try:
        for host in hosts:
            set_mtu(three, host, underlay)
        launch_all(hosts)
        run(one, "web")
        run(two, "redis")
        (address,) = wait_for(one, "redis")
        reaches(one, "web", "redis")
        mtu = underlay - 50
        for host, container in ((one, "web"), (two, "redis")):
            has_mtu(host, mtu)
            assert f"mtu {mtu} " in host.docker("exec", container, "ip", "link", "show", "ethwe")
        assert passes(one, address, mtu, within_s=SOON_S)
        assert not passes(one, address, mtu + 1, within_s=0.5)
    finally:
        for host in hosts:
            set_mtu(three, host, 1500)


def set_mtu(lab: Lab, host: Host, mtu: int) -> None:
    lab.switch.run("ip", "link", "set", host.name, "mtu", str(mtu))
    host.run("ip", "link", "set", "eth0", "mtu", str(mtu))


def has_mtu(host: Host, mtu: int) -> None:
    """Wait until the bridge, the overlay and the containers' interfaces have an MTU."""

    def mtus() -> set[int]:
        links = json.loads(host.run("ip", "-json", "link", "show").stdout)
        return {link["mtu"] for link in links if link["ifname"].startswith(("weave", "vethwe"))}

    wait_until(lambda: mtus() == {mtu}, SOON_S, what=lambda: f"{mtus()} on {host.name}")


def passes(host: Host, target: str, size: int, *, within_s: float) -> bool:
    """Whether a packet of so many octets gets there and back whole."""
    done = host.run(sys.executable, "-c", DF_PING, target, str(size), str(within_s), check=False)
    return done.returncode == 0


def test_who_is_over_the_limit_is_told_in_the_status(hosts: Hosts, tmp_path: Path) -> None:
    one, two, _ = hosts
    zone = tmp_path / "many.zone"
    zone.write_text("$ORIGIN weave.local.\n" + "".join(f"r{n} A 192.0.2.{n % 250}\n" for n in range(1_500)))
    one.start_daemon("--zones", str(zone))
    two.start_daemon(one.address, env={"WEAVEDNS_MAX_PEER_RECORDS": "1000"})
    connected(two, 1)
    wait_until(lambda: peers(two)[0]["over_limit"], SOON_S, what=lambda: told(hosts))
    assert "MORE ARE LEFT OUT (--max-peer-records)" in two.run("weavedns", "status", "peers").stdout
    assert peers(one)[0]["over_limit"] is False
    assert own_address(one) != own_address(two)
