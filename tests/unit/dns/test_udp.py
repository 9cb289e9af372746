from __future__ import annotations

import asyncio
import ctypes
import errno
import socket
import time
from collections.abc import Iterator
from ipaddress import ip_network

import dns.flags
import dns.message
import pytest

from tests.unit.dns.world import DEADLINE_S, World, exchange, has_ipv6, query, serving
from weavedns.dns import batch
from weavedns.dns.access import Access
from weavedns.dns.batch import SLOTS, MmsgBatch, PlainBatch, open_batch
from weavedns.dns.server import DnsServer


@pytest.fixture(params=["many at a time", "one at a time"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "one at a time":
        monkeypatch.setattr(batch, "_SUPPORTED", False)


@pytest.fixture
def bound() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.bind(("127.0.0.1", 0))
        yield sock


def test_batches_are_used_where_they_work(bound: socket.socket) -> None:
    assert isinstance(open_batch(bound), MmsgBatch)


def test_one_at_a_time_is_used_where_batches_do_not_work(
    bound: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_there(*_: object) -> int:
        ctypes.set_errno(errno.ENOSYS)
        return -1

    class Libc:
        recvmmsg = sendmmsg = staticmethod(not_there)

    monkeypatch.setattr(ctypes, "PyDLL", lambda *_, **__: Libc)
    assert isinstance(open_batch(bound), PlainBatch)
    monkeypatch.setattr(ctypes, "PyDLL", lambda *_, **__: object())
    assert isinstance(open_batch(bound), PlainBatch)


def test_looking_whether_batches_work_takes_nothing_out(bound: socket.socket) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"waiting", bound.getsockname())
        opened = open_batch(bound)
        assert opened.receive() == [7]
        assert opened.slots.get(0, 7) == b"waiting"


@pytest.mark.parametrize("kind", ["mmsg", "plain"])
@pytest.mark.parametrize("sizes", [[3] * 5, [3, 0, 3, 0, 0], [0, 0, 0, 0, 3], [0] * 5])
def test_each_slot_goes_back_to_its_sender_or_nowhere(bound: socket.socket, kind: str, sizes: list[int]) -> None:
    opened = open_batch(bound) if kind == "mmsg" else PlainBatch(bound)
    senders = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in sizes]
    try:
        for number, sender in enumerate(senders):
            sender.settimeout(DEADLINE_S)
            sender.connect(bound.getsockname())
            sender.send(b"%03d" % number)
        assert opened.receive() == [3] * 5
        assert [opened.address(slot) for slot in range(5)] == [sender.getsockname() for sender in senders]
        assert len(set(opened.askers())) == 1
        assert opened.send(sizes) == 0
        for number, (sender, size) in enumerate(zip(senders, sizes, strict=True)):
            if size:
                assert sender.recv(99) == b"%03d" % number
            else:
                sender.setblocking(False)
                with pytest.raises(BlockingIOError):
                    sender.recv(99)
    finally:
        for sender in senders:
            sender.close()


def test_a_reply_that_cannot_be_sent_does_not_hold_up_the_others(bound: socket.socket) -> None:
    opened = open_batch(bound)
    assert isinstance(opened, MmsgBatch)
    calls = []

    def refusing(fd: int, at: ctypes.c_void_p, count: int, flags: int) -> int:
        calls.append(count)
        if count in {5, 3}:
            ctypes.set_errno(errno.EPERM)
            return -1
        return min(count, 1)

    opened._sendmmsg = refusing
    assert opened.send([1] * 5) == 2
    assert calls == [5, 4, 3, 2, 1]


def test_a_full_send_buffer_drops_the_rest_and_counts_it(bound: socket.socket) -> None:
    opened = open_batch(bound)
    assert isinstance(opened, MmsgBatch)

    def full(*_: object) -> int:
        ctypes.set_errno(errno.EAGAIN)
        return -1

    opened._sendmmsg = full
    assert opened.send([1] * 5) == 5


@pytest.mark.parametrize(("count", "paused"), [(1, 0), (15, 0), (16, 1), (55, 1), (56, 0), (64, 0)])
def test_only_a_crowd_that_does_not_fill_a_batch_is_waited_for(
    count: int, paused: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    batch.gather(count, bool)
    assert len(pauses) == paused
    assert sum(pauses) < 0.0001


async def test_a_query_is_answered(either_way: None) -> None:
    async with serving(World()) as server:
        reply = dns.message.from_wire(await exchange(query("redis.weave.local"), server.listening[0]))
        assert reply.answer[0][0].to_text() == "10.2.0.1"
        assert (server.stats.queries, server.stats.answered) == (1, 1)


async def test_every_query_of_a_burst_is_answered(either_way: None) -> None:
    names = ["redis.weave.local", "nope.weave.local", "nope", "example.org"]
    async with serving(World()) as server:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
            asker.setblocking(False)
            asker.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            asker.connect(server.listening[0])
            count = SLOTS * 9
            for ident in range(count):
                asker.send(query(names[ident % 4], ident=ident))
            replies: dict[int, int] = {}
            async with asyncio.timeout(DEADLINE_S):
                while len(replies) < count:
                    reply = await asyncio.get_running_loop().sock_recv(asker, 2000)
                    replies[int.from_bytes(reply[:2], "big")] = reply[3] & 0xF
        assert [replies[ident] for ident in range(count)] == [0, 3, 3, 2] * (count // 4)
        assert server.stats.queries == count
        assert server.stats.nxdomain == count // 2
        assert server.stats.servfail == count // 4


async def test_what_has_come_is_answered_at_once_up_to_a_limit(either_way: None) -> None:
    async with serving(World()) as server:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
            asker.setblocking(False)
            asker.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            asker.connect(server.listening[0])
            assert not server.answer_waiting()
            answered = 0
            for sent in (1, 3, 20, SLOTS * 6):
                for _ in range(sent):
                    asker.send(query("redis.weave.local"))
                is_more = sent > SLOTS * 4
                assert server.answer_waiting() == is_more
                assert server.stats.answered - answered == min(sent, SLOTS * 4)
                assert not is_more or not server.answer_waiting()
                answered += sent
                assert server.stats.answered == answered


async def test_before_the_start_queries_wait() -> None:
    world = World()
    server = DnsServer(world.answers, Access(), world.upstreams)
    await server.listen("127.0.0.1", 0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.sendto(query("redis.weave.local"), server.listening[0])
        assert not server.answer_waiting()
        assert server.stats.queries == 0
        await server.start()
        server.answer_waiting()
        assert server.stats.answered == 1
    await server.close()


async def test_runts_and_replies_are_dropped_and_counted(either_way: None) -> None:
    async with serving(World()) as server:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            for packet in (b"", b"x", b"\0" * 11, query("redis.weave.local", flags=0x8100)):
                stranger.sendto(packet, server.listening[0])
        await exchange(query("redis.weave.local"), server.listening[0])
        assert server.stats.dropped == 4


async def test_a_packet_larger_than_a_slot_gets_an_answer(either_way: None) -> None:
    async with serving(World()) as server:
        reply = await exchange(query("redis.weave.local") + bytes(5000), server.listening[0])
        assert reply[:2] == b"\x12\x34"


async def test_a_reply_leaves_from_the_address_that_was_asked(either_way: None) -> None:
    # A connected socket takes packets from the address that it has asked and from no other.
    async with serving(World(), host="127.0.0.77") as server:
        assert server.listening[0][0] == "127.0.0.77"
        assert await exchange(query("redis.weave.local"), server.listening[0])


async def test_who_may_have_queries_forwarded_can_change_at_any_time(either_way: None) -> None:
    class LoopbackIsNothingSpecial(Access):
        def may_forward(self, address: bytes) -> bool:
            return allowed and super().may_forward(address)

    allowed = True
    access = LoopbackIsNothingSpecial()
    async with serving(World(), access=access) as server:
        for expected in (True, False, True):
            allowed = expected
            access.allow([ip_network("10.2.0.0/16")])
            for name in ("redis.weave.local", "redis"):
                reply = dns.message.from_wire(await exchange(query(name), server.listening[0]))
                assert bool(reply.flags & dns.flags.RA) == expected


async def test_many_askers_do_not_pile_up(either_way: None) -> None:
    async with serving(World()) as server:
        listener = server._listeners[0].udp
        for number in range(10_000):
            listener._learn(number)
        assert len(listener._askers) <= 4096


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on this host's loopback")
async def test_ipv6_is_served_alike(either_way: None) -> None:
    async with serving(World(), host="::1") as server:
        for name in ("redis.weave.local", "redis", "example.org"):
            reply = await exchange(query(name), server.listening[0], source="::1")
            assert reply[3] & 0x80
