"""Namespaces that stand for a host and its containers: each belongs to a process of its own and goes with it."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import secrets
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any, TypeVar

from weavenet import endpoint, plan, veth
from weavenet.attach import Attacher
from weavenet.ipam.allocator import Allocator
from weavenet.netlink import Netlink
from weavenet.netns import Namespace
from weavenet.network import WeaveNetwork
from weavenet.target import Target

RANGE = IPv4Network("10.2.0.0/16")
DNS = IPv4Network("10.2.254.0/24")
ORIGINAL = b"nameserver 192.0.2.53\nsearch example.com\n"
_CLONE_NEWNET = 0x40000000
_LIFETIME_S = "900"
_ECHO_REQUEST = 8
_ECHO_REPLY = 0
_IP_HEADER = 20
_IP_MTU_DISCOVER = 10
_IP_PMTUDISC_DO = 2

_R = TypeVar("_R")


def in_thread(work: Callable[[], _R]) -> _R:
    """The result of work done in a thread of its own, which may then be in whatever state."""
    results: list[_R] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as exc:  # noqa: BLE001 - raised again below
            errors.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


class Box:
    """A process in a network namespace of its own."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.id = secrets.token_hex(32)
        self._process = in_thread(self._start)
        self.pid = self._process.pid
        self.namespace = Namespace(Path(f"/proc/{self.pid}/ns/net"))
        assert self.namespace != Namespace.own()
        self.resolv_conf = folder / f"{name}.resolv.conf"
        self.resolv_conf.write_bytes(ORIGINAL)
        self.run("ip", "link", "set", "lo", "up")

    @staticmethod
    def _start() -> subprocess.Popen[bytes]:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(_CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        return subprocess.Popen(["sleep", _LIFETIME_S])

    @property
    def target(self) -> Target:
        return Target(self.id, self.name, self.pid, self.resolv_conf, "", False, True)

    def run(self, *command: str, check: bool = True) -> str:
        def run() -> str:
            with self.namespace.entered():
                done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
            assert done.returncode == 0 or not check, f"{command}: {done.stderr}"
            return done.stdout

        return in_thread(run)

    def counter(self, name: str) -> int:
        """One of the IP counters of the kernel."""
        names, values, *_ = (line.split() for line in self.run("cat", "/proc/net/snmp").splitlines())
        return int(values[names.index(name)])

    @contextlib.contextmanager
    def listening(self, port: int) -> Iterator[None]:
        """Have a UDP port of every address in use."""

        def listen() -> socket.socket:
            with self.namespace.entered():
                made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            made.bind(("", port))
            return made

        with in_thread(listen):
            yield

    def set(self, key: str, value: str) -> None:
        def write() -> None:
            with self.namespace.entered():
                Path("/proc/sys/net", key).write_text(value)

        in_thread(write)

    def with_netlink(self, work: Callable[[Netlink], _R]) -> _R:
        def run() -> _R:
            with Netlink(self.namespace) as netlink:
                return work(netlink)

        return in_thread(run)

    def reaches(self, address: str, within_s: float = 2.0) -> bool:
        """Whether an echo request to an address is answered; one is sent each tenth of a second."""
        return in_thread(lambda: self._ping(address, within_s))

    def carries(self, address: str, size: int, within_s: float = 2.0) -> bool:
        """Whether an echo request of that many bytes, IP header included, gets there and back in one piece."""
        return in_thread(lambda: self._ping(address, within_s, size))

    def delivers(self, other: Box, address: str, within_s: float = 2.0) -> bool:
        """Whether a datagram to an address arrives in `other`, answered or not; one is sent every 0.1 s."""

        def make() -> tuple[socket.socket, socket.socket]:
            with other.namespace.entered():
                receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            with self.namespace.entered():
                return receiver, socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

        receiver, sender = in_thread(make)
        deadline = time.monotonic() + within_s
        with receiver, sender:
            receiver.bind(("", 0))
            receiver.settimeout(0.1)
            while time.monotonic() < deadline:
                with contextlib.suppress(OSError):
                    sender.sendto(b"x", (address, receiver.getsockname()[1]))
                    return bool(receiver.recv(1))
        return False

    def _ping(self, address: str, within_s: float, size: int = _IP_HEADER + 16) -> bool:
        with self.namespace.entered():
            sender = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        # So that the kernel sets "don't fragment" and refuses what would have to be.
        sender.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DO)
        tag = secrets.token_bytes(size - _IP_HEADER - 8)
        request = struct.pack("!BBHHH", _ECHO_REQUEST, 0, 0, 1, 1) + tag
        request = request[:2] + struct.pack("!H", _checksum(request)) + request[4:]
        deadline = time.monotonic() + within_s
        with sender:
            sender.settimeout(0.1)
            while time.monotonic() < deadline:
                with contextlib.suppress(OSError):
                    sender.sendto(request, (address, 0))
                    answer, (source, _) = sender.recvfrom(65535)
                    if source == address and answer[_IP_HEADER] == _ECHO_REPLY and answer.endswith(tag):
                        return True
        return False

    def end(self) -> None:
        """End the process, and with it the namespace unless somebody holds it."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        self.end()
        self.namespace.close()


def _checksum(packet: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(packet) // 2}H", packet))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Host(Box):
    """A host with its weave network; `restart` gives it a daemon that remembers nothing."""

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__(folder, name)
        self.perform: Callable[[plan.Step, veth.Site], None] = veth.perform
        self.network = self.make_network()
        self.allocator = Allocator(RANGE, DNS, RANGE, host=name)

    def make_network(self, **settings: Any) -> WeaveNetwork:
        given: dict[str, Any] = {"weave_range": RANGE, "dns_subnet": DNS, "namespace": self.namespace, **settings}
        return WeaveNetwork(**given)

    async def start(self, **settings: Any) -> None:
        self.network = self.make_network(**settings)
        await self.network.up()
        self.allocator = Allocator(RANGE, DNS, RANGE, host=self.name)
        self.attacher = Attacher(
            self.network,
            self.allocator,
            domain="weave.local.",
            nameservers=lambda _: [str(self.network.dns_address)],
            perform=self._perform,
        )

    def _perform(self, step: plan.Step, site: veth.Site) -> None:
        self.perform(step, site)

    async def stop(self) -> None:
        await self.attacher.close()

    async def attach(self, box: Box, *spelled: str) -> list[str]:
        endpoints = [endpoint.parse(each) for each in spelled or ("",)]
        return [str(each) for each in await self.attacher.attach(box.target, endpoints)]

    async def detach(self, box: Box, *spelled: str) -> list[str]:
        return [
            str(each) for each in await self.attacher.detach(box.target, [endpoint.parse(each) for each in spelled])
        ]

    def filter_rules(self) -> str:
        return self.run("iptables", "-w", "-S")


class Switch(Box):
    """The network between hosts: one bridge, to which each is connected as eth0."""

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__(folder, name)
        self.run("ip", "link", "add", "switch", "type", "bridge")
        self.run("ip", "link", "set", "switch", "up")

    def plug_in(self, host: Box, address: str, mtu: int = 1500) -> None:
        """Give a host an eth0 on this network, with that address and a default route."""
        port = f"to-{host.name}"
        pair = ["ip", "link", "add", port, "mtu", str(mtu), "type", "veth"]
        self.run(*pair, "peer", "name", "eth0", "mtu", str(mtu), "netns", str(host.pid))
        self.run("ip", "link", "set", port, "master", "switch", "up")
        host.run("ip", "address", "add", address, "dev", "eth0")
        host.run("ip", "link", "set", "eth0", "up")
        host.run("ip", "route", "add", "default", "dev", "eth0")


def addresses_of(box: Box) -> list[IPv4Interface]:
    """The addresses of a container's weave interface, from the kernel."""

    def look(netlink: Netlink) -> list[IPv4Interface]:
        link = netlink.link(plan.INSIDE)
        return netlink.addresses(link.index) if link else []

    return box.with_netlink(look)


def open_descriptors() -> int:
    """How many files this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


async def eventually(condition: Callable[[], bool], within_s: float = 10.0) -> bool:
    """Whether a condition comes true within a time."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.01)
    return True
