"""What no client of good faith does: broken packets by the hundred thousand, and connections to wear a server out.

A million packets each way take about two minutes on an idle machine; `HOSTILE_PACKETS=100000` sends fewer.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import socket
import time
from collections.abc import Iterator
from itertools import islice

import dns.message
import pytest

from tests.conformance import packets as p
from tests.conformance.mutants import SEEDS, mutants
from tests.conformance.served import Served, served
from tests.lab.wait import wait_until
from tests.unit.dns.world import World
from weavedns.dns.cookies import Cookies
from weavedns.dns.resolver import Answer, Drop, Resolver, Transport

PACKETS = int(os.environ.get("HOSTILE_PACKETS", "1000000"))
DIRECT = PACKETS // 5  # without a socket in between
SEED = 20240817
BATCH = 256
STREAM = 2000  # messages of one connection
MIB = 1024 * 1024
# Tables of failures and of askers fill up, and each is bounded: half a MiB is usual.
GROWTH_BYTES = 8 * MIB
CHECKED = 50  # one reply in so many is taken apart
CONNECTIONS = 10_000
IDLE_S = 10.0
CLIENT = bytes((127, 0, 0, 1))
MARK = p.question("ready.weave.local")
TCP_REPAIR = 19


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A daemon whose upstream is not there: whatever is forwarded fails at once."""
    with served(tmp_path_factory.mktemp("hostile"), "--upstream", "127.0.0.1:9") as made:
        yield made


@pytest.fixture
def open_files() -> Iterator[None]:
    """Let this process have as many files as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    assert hard > CONNECTIONS + 1000
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def answers_right(server: Served) -> None:
    """The usual answers, over both transports."""
    for over in p.TRANSPORTS.values():
        assert over(p.query("redis.weave.local"), server.address).addresses == ["10.2.0.1"]
        assert over(p.query("nope.weave.local", opt=p.edns()), server.address).rcode == p.NXDOMAIN
        assert over(p.query("1.0.2.10.in-addr.arpa", p.PTR), server.address).rcode == p.NOERROR
        assert len(over(p.query("many.weave.local", opt=p.edns()), server.address).answer) == 40
    assert len(p.tcp(p.query("texts.weave.local", p.TXT), server.address).answer) == 150
    assert server.process.poll() is None
    assert "Traceback" not in server.log
    assert "ERROR" not in server.log.upper()


def grows_little(server: Served, before: int) -> None:
    after = server.rss_bytes
    assert after - before < GROWTH_BYTES, f"{before / MIB:.1f} MiB have become {after / MIB:.1f}"


def warmed(server: Served) -> int:
    """The memory in use once every kind of packet has been met."""
    for seed in SEEDS:
        with contextlib.suppress(ConnectionError), p.stream(server.address) as sock:
            sock.sendall(p.framed(seed))
            p.receive(sock)
    answers_right(server)
    return server.rss_bytes


def batches(count: int, size: int) -> Iterator[list[bytes]]:
    packets = mutants(count, SEED)
    while batch := list(islice(packets, size)):
        yield batch


def is_reply(raw: bytes, packet: bytes) -> bool:
    return raw[:2] == packet[:2] and bool(raw[2] & 0x80)


# Packets


def test_no_packet_upsets_either_path_of_a_query() -> None:
    world = World()
    resolver = Resolver(world.answers, world.upstreams, cookies=Cookies(bytes(16)), nsid=b"host1")
    silent = 0
    for number, packet in enumerate(mutants(DIRECT, SEED)):
        reply = world.responder.answer(packet, recursion=True)
        if reply is None:
            decision = resolver.resolve(packet, recursion=True, transport=Transport.UDP, client=CLIENT, now_s=1)
            if isinstance(decision, Drop):
                silent += 1
                assert len(packet) < 12 or packet[2] & 0x80
                continue
            # There is no upstream here, so nothing is left open.
            assert isinstance(decision, Answer)
            reply = decision.packet
        assert is_reply(reply, packet)
        assert len(reply) <= 1232
        if number % CHECKED == 0:
            p.read(reply)
            if not reply[2] & 0x78:  # an update has other sections, and a library other opinions of them
                dns.message.from_wire(reply)
    assert 0 < silent < DIRECT / 4


def test_the_paths_agree_about_every_packet() -> None:
    # Two worlds, as the order of a set of records turns with each answer.
    quick, slow = World(), World()
    fast = 0
    for packet in mutants(DIRECT // 4, SEED + 1):
        reply = quick.responder.answer(packet, recursion=False)
        if reply is not None:
            fast += 1
            assert slow.careful(packet, recursion=False) == reply
    assert fast > DIRECT / 400


def test_packets_gone_wrong_over_udp_leave_no_trace(server: Served) -> None:
    before = warmed(server)
    replies = 0
    with p.datagrams(server.address) as sock:
        sock.setsockopt(socket.SOL_SOCKET, 33, 4 * MIB)  # SO_RCVBUFFORCE
        for number, batch in enumerate(batches(PACKETS, BATCH)):
            for packet in batch:
                sock.send(packet)
            # Its answer is the last, but for those to what is forwarded.
            mark = p.message([MARK], ident=number & 0xFFFF)
            sock.send(mark)
            while (raw := sock.recv(65535))[12 : 12 + len(MARK)] != MARK or raw[:2] != mark[:2]:
                replies += 1
                assert raw[2] & 0x80
                assert len(raw) <= 1232
                if replies % CHECKED == 0:
                    p.read(raw)
            assert p.read(raw).addresses == ["10.2.0.9"]
    assert replies > PACKETS * 0.7
    answers_right(server)
    grows_little(server, before)


def test_packets_gone_wrong_over_tcp_leave_no_trace(server: Served) -> None:
    before = warmed(server)
    replies = 0
    for batch in batches(PACKETS, STREAM):
        with contextlib.ExitStack() as stack:
            sock = stack.enter_context(p.stream(server.address))
            got = stack.enter_context(sock.makefile("rb"))
            for start in range(0, len(batch), BATCH):
                some = batch[start : start + BATCH]
                sock.sendall(b"".join(map(p.framed, some)) + p.framed(p.message([MARK])))
                while True:
                    raw = got.read(int.from_bytes(got.read(2), "big"))
                    if raw[12 : 12 + len(MARK)] == MARK:
                        break
                    replies += 1
                    assert raw[2] & 0x80
                    if replies % CHECKED == 0:
                        p.read(raw)
                assert p.read(raw).addresses == ["10.2.0.9"]
    assert replies > PACKETS * 0.7
    answers_right(server)
    grows_little(server, before)


def test_streams_of_noise_leave_no_trace(server: Served) -> None:
    before = warmed(server)
    for batch in batches(DIRECT // 10, 10):
        # Without lengths that fit: what comes out of it as messages is anybody's guess.
        with contextlib.suppress(ConnectionError), p.stream(server.address, source="127.0.6.1") as sock:
            sock.sendall(b"".join(batch))
    wait_until(lambda: _is_served(server), what="an answer")
    answers_right(server)
    grows_little(server, before)


# Connections


def test_ten_thousand_connections_leave_service_as_it_was(server: Served, open_files: None) -> None:
    before = warmed(server)
    slowest = 0.0
    with contextlib.ExitStack() as stack:
        for number in range(CONNECTIONS):
            stack.enter_context(begun(server, f"127.0.5.{number % 250 + 1}"))
            if number % 100 == 0:
                began = time.monotonic()
                assert p.udp(p.query("redis.weave.local"), server.address).addresses == ["10.2.0.1"]
                slowest = max(slowest, time.monotonic() - began)
    assert slowest < 1
    wait_until(lambda: _is_served(server), what="an answer over TCP")
    answers_right(server)
    grows_little(server, before)


def test_every_place_held_by_the_silent_and_the_slow_is_free_again_in_time(server: Served) -> None:
    taken: list[socket.socket] = []
    sources = [f"127.0.4.{number}" for number in range(1, 9) for _ in range(32)]
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        for source in sources:
            sock = stack.enter_context(p.stream(server.address, source=source))
            sock.sendall(p.framed(p.query("redis.weave.local")))
            p.receive(sock)
            taken.append(sock)
        assert not _is_served(server)
        slow = []
        for number, sock in enumerate(taken):
            if number % 2:
                # It is gone and has not said so: the server is left with half a connection.
                sock.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
                sock.close()
            else:
                sock.setblocking(False)
                slow.append(sock)
        deadline = began + IDLE_S * 2
        while slow:
            assert time.monotonic() < deadline, f"{len(slow)} slow connections are still open"
            # A byte of a message that never ends, now and then.
            for sock in slow:
                with contextlib.suppress(OSError):
                    sock.send(b"\xff")
            for sock in select.select(slow, [], [], 0.25)[0]:
                slow.remove(sock)
            assert p.udp(p.query("redis.weave.local"), server.address).addresses == ["10.2.0.1"]
    assert time.monotonic() - began > IDLE_S - 1
    wait_until(
        lambda: _is_served(server), deadline_s=began + IDLE_S * 2 - time.monotonic(), what="an answer over TCP"
    )
    answers_right(server)


def test_a_server_short_of_files_goes_on_answering(tmp_path_factory: pytest.TempPathFactory) -> None:
    few = ("prlimit", "--nofile=80", "--")
    with served(tmp_path_factory.mktemp("few"), "--upstream", "127.0.0.1:9", under=few) as server:
        with contextlib.ExitStack() as stack:
            for number in range(200):
                stack.enter_context(begun(server, f"127.0.3.{number + 1}"))
            for _ in range(20):
                assert p.udp(p.query("redis.weave.local"), server.address).addresses == ["10.2.0.1"]
                assert p.udp(p.query("www.example.org"), server.address).rcode == p.SERVFAIL
        wait_until(lambda: _is_served(server), what="an answer over TCP")
        assert server.log.count("a TCP connection could not be accepted: Too many open files") == 1


def begun(server: Served, source: str) -> socket.socket:
    """A connection that may come about, or not."""
    sock = socket.socket()
    sock.setblocking(False)
    sock.bind((source, 0))
    with contextlib.suppress(BlockingIOError):
        sock.connect(server.address)
    return sock


def _is_served(server: Served) -> bool:
    with contextlib.suppress(OSError):
        return p.tcp(p.query("redis.weave.local"), server.address, source="127.0.2.1").addresses == ["10.2.0.1"]
    return False
