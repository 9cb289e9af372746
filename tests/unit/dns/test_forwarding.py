from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest

from tests.unit.dns.upstreams import Asked, closed_port, upstream
from tests.unit.dns.world import DEADLINE_S, World, exchange, opt, query, until, with_records
from weavedns.dns import forwarder
from weavedns.dns.access import Access
from weavedns.dns.server import DnsServer
from weavedns.dns.upstream import Server, Upstreams
from weavedns.records import names

EDE_STALE, EDE_CACHED_ERROR, EDE_UNREACHABLE = 3, 13, 22


class Clock:
    """The server's idea of the time, a step ahead of the machine's."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return asyncio.get_running_loop().time() + self.ahead_s


@contextlib.asynccontextmanager
async def forwarding(
    *servers: Server, clock: Clock | None = None, **rules: Sequence[Server]
) -> AsyncIterator[DnsServer]:
    found = {names.parse(suffix.replace("_", ".") + "."): several for suffix, several in rules.items()}
    server = DnsServer(World().answers, Access(), Upstreams(servers, found), peer="host1", clock=clock or Clock())
    await server.listen("127.0.0.1", 0)
    await server.start()
    try:
        yield server
    finally:
        await server.close()


async def ask(server: DnsServer, packet: bytes | str, *, source: str = "127.0.0.1") -> dns.message.Message:
    if isinstance(packet, str):
        packet = with_records(query(packet), opt())
    return dns.message.from_wire(await exchange(packet, server.listening[0], source=source))


async def ask_tcp(server: DnsServer, packet: bytes) -> dns.message.Message:
    reader, writer = await asyncio.open_connection(*server.listening[0])
    try:
        writer.write(len(packet).to_bytes(2, "big") + packet)
        async with asyncio.timeout(DEADLINE_S):
            size = int.from_bytes(await reader.readexactly(2), "big")
            return dns.message.from_wire(await reader.readexactly(size))
    finally:
        writer.close()


def values(reply: dns.message.Message) -> list[str]:
    return [item.to_text() for rrset in reply.answer for item in rrset]


def ede(reply: dns.message.Message) -> list[int]:
    return [int(option.code) for option in reply.options if isinstance(option, dns.edns.EDEOption)]


def answering(*found: str, ttl_s: int = 60) -> Callable[[Asked], None]:
    return lambda asked: asked.answer(*found, ttl_s=ttl_s)


def silent(_: Asked) -> None:
    pass


async def test_an_answer_comes_from_the_cache_the_second_time() -> None:
    async with upstream(answering("192.0.2.1")) as up, forwarding(up.address) as server:
        assert values(await ask(server, "www.example")) == ["192.0.2.1"]
        again = await ask(server, query("WWW.Example", ident=0xABCD))
        assert (values(again), again.id) == (["192.0.2.1"], 0xABCD)
        assert again.question[0].name.to_text() == "WWW.Example."
        assert not again.flags & dns.flags.AA
        assert again.flags & dns.flags.RA
        assert up.names == ["www.example"]
        assert (server.stats.forwarded, server.stats.cached) == (1, 1)
        assert (await ask_tcp(server, query("www.example"))).answer
        assert len(up.asked) == 1


async def test_an_answer_with_a_ttl_of_zero_is_asked_for_each_time() -> None:
    async with upstream(answering("192.0.2.1", ttl_s=0)) as up, forwarding(up.address) as server:
        for _ in range(3):
            assert values(await ask(server, "www.example")) == ["192.0.2.1"]
        assert len(up.asked) == 3


async def test_who_may_not_have_queries_forwarded_gets_nothing_from_the_cache() -> None:
    async with upstream(answering("192.0.2.1")) as up, forwarding(up.address) as server:
        access = server._access
        await ask(server, "www.example")
        access._masks = {4: {(0xFFFFFFFF, 0x7F000001)}, 16: set()}
        access.version += 1
        assert values(await ask(server, "www.example")) == ["192.0.2.1"]
        refused = await ask(server, "www.example", source="127.0.0.9")
        assert refused.rcode() == dns.rcode.REFUSED
        assert not refused.answer
        assert not (await ask(server, query("www.example", flags=0))).answer


async def test_equal_queries_in_flight_are_one_and_each_asker_gets_its_own_reply() -> None:
    go = asyncio.Event()

    async def when_told(asked: Asked) -> None:
        await go.wait()
        asked.answer("192.0.2.1")

    async with upstream(when_told) as up, forwarding(up.address) as server:
        packets = [query("www.example" if number % 2 else "wwW.exAmple", ident=number) for number in range(40)]
        packets.append(with_records(query("www.example", ident=40), opt(options=b"\0\x03\0\0")))
        waiting = [asyncio.ensure_future(ask(server, packet)) for packet in packets]
        waiting.append(asyncio.ensure_future(ask_tcp(server, query("www.example", ident=41))))
        await until(lambda: server.stats.coalesced == len(packets))
        go.set()
        replies = await asyncio.gather(*waiting)
        assert [reply.id for reply in replies] == list(range(42))
        assert {tuple(values(reply)) for reply in replies} == {("192.0.2.1",)}
        assert replies[0].question[0].name.to_text() == "wwW.exAmple."
        assert replies[1].question[0].name.to_text() == "www.example."
        assert [reply.edns for reply in (replies[0], replies[40])] == [-1, 0]
        assert len(up.asked) == 1


async def test_questions_for_signed_and_unsigned_answers_are_not_one() -> None:
    async with upstream(answering("192.0.2.1")) as up, forwarding(up.address) as server:
        await ask(server, with_records(query("www.example"), opt(dnssec_ok=True)))
        await ask(server, with_records(query("www.example"), opt()))
        assert [bool(each.message.ednsflags & dns.flags.DO) for each in up.asked] == [True, False]


async def test_what_clients_put_into_their_opt_goes_no_further() -> None:
    async with upstream(answering("192.0.2.1")) as up, forwarding(up.address) as server:
        options = b"\0\x0a\0\x08clientck" + b"\0\x08\0\x07\0\1\x18\0\xc0\0\2" + b"\xfd\xe9\0\1x"
        await ask(server, with_records(query("www.example"), opt(4096, options=options)))
        (asked,) = up.asked
        assert asked.message.options == ()
        assert asked.message.payload == 1232


async def test_every_question_has_its_own_port_and_id() -> None:
    async with upstream(answering("192.0.2.1")) as up, forwarding(up.address) as server:
        for number in range(10):
            await ask(server, f"n{number}.example")
        assert len({each.client[1] for each in up.asked}) > 5
        assert len({each.message.id for each in up.asked}) > 5


def another_id(packet: bytes) -> bytes:
    return bytes((packet[0] ^ 1,)) + packet[1:]


def another_name(packet: bytes) -> bytes:
    return packet.replace(b"\3www", b"\3xxx", 1)


def another_type(packet: bytes) -> bytes:
    end = packet.index(b"\0", 12)
    return packet[: end + 1] + b"\0\x1c" + packet[end + 3 :]


def another_class(packet: bytes) -> bytes:
    end = packet.index(b"\0", 12)
    return packet[: end + 3] + b"\0\3" + packet[end + 5 :]


def a_query(packet: bytes) -> bytes:
    return packet[:2] + bytes((packet[2] & 0x7F,)) + packet[3:]


def cut_short(packet: bytes) -> bytes:
    return packet[:-14]


def no_question(packet: bytes) -> bytes:
    end = packet.index(b"\0", 12) + 5
    return packet[:4] + b"\0\0" + packet[6:12] + packet[end:]


def a_runt(packet: bytes) -> bytes:
    return packet[:5]


def nothing(_: bytes) -> bytes:
    return b""


LIES = [another_id, another_name, another_type, another_class, a_query, cut_short, no_question, a_runt, nothing]


@pytest.mark.parametrize("lie", LIES)
async def test_a_liar_does_not_cut_off_the_right_answer(lie: Callable[[bytes], bytes]) -> None:
    def lies_first(asked: Asked) -> None:
        for _ in range(50):
            asked.send(lie(asked.reply("203.0.113.66").to_wire()))
        asked.answer("192.0.2.1")

    async with upstream(lies_first) as up, forwarding(up.address) as server:
        assert values(await ask(server, "www.example")) == ["192.0.2.1"]
        assert values(await ask(server, query("www.example"))) == ["192.0.2.1"]
        assert len(up.asked) == 1


async def test_an_answer_from_another_address_counts_for_nothing() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as liar:
        liar.bind(("127.0.0.1", 0))

        def from_elsewhere(asked: Asked) -> None:
            # Everything is right but where it comes from.
            liar.sendto(asked.reply("203.0.113.66").to_wire(), asked.client)
            asked.answer("192.0.2.1")

        async with upstream(from_elsewhere) as up, forwarding(up.address) as server:
            assert values(await ask(server, "www.example")) == ["192.0.2.1"]


async def test_a_second_answer_changes_nothing() -> None:
    def twice(asked: Asked) -> None:
        asked.answer("192.0.2.1")
        asked.answer("203.0.113.66")

    async with upstream(twice) as up, forwarding(up.address) as server:
        for _ in range(3):
            assert values(await ask(server, "www.example")) == ["192.0.2.1"]


async def test_a_cut_answer_is_asked_for_again_over_tcp_and_kept_whole() -> None:
    many = [f"192.0.2.{number}" for number in range(1, 101)]

    def cut_over_udp(asked: Asked) -> None:
        if asked.is_tcp:
            asked.answer(*many)
        else:
            reply = asked.reply()
            reply.flags |= dns.flags.TC
            asked.send(reply.to_wire())

    async with upstream(cut_over_udp) as up, forwarding(up.address) as server:
        small = await ask(server, "www.example")
        assert small.flags & dns.flags.TC
        assert 0 < len(values(small)) < 100
        assert len(small.to_wire()) <= 1232
        whole = await ask_tcp(server, query("www.example"))
        assert sorted(values(whole)) == sorted(many)
        assert [each.is_tcp for each in up.asked] == [False, True]


@pytest.mark.parametrize("tcp", [False, True])
async def test_a_cut_answer_that_stays_cut_is_passed_on_and_not_kept(tcp: bool) -> None:
    def always_cut(asked: Asked) -> None:
        reply = asked.reply()
        reply.flags |= dns.flags.TC
        asked.send(reply.to_wire())

    async with upstream(always_cut, tcp=tcp) as up, forwarding(up.address) as server:
        for _ in range(2):
            reply = await ask(server, "www.example")
            assert reply.flags & dns.flags.TC
            assert reply.rcode() == dns.rcode.NOERROR
        assert len(server.cache) == 0
        assert (await ask_tcp(server, query("www.example"))).rcode() == dns.rcode.SERVFAIL


async def test_a_server_from_before_edns_is_asked_without() -> None:
    def old(asked: Asked) -> None:
        if asked.message.edns >= 0:
            asked.send(asked.packet[:2] + b"\x80\1" + bytes(8))
        else:
            asked.answer("192.0.2.1")

    async with upstream(old) as up, forwarding(up.address) as server:
        assert values(await ask(server, "www.example")) == ["192.0.2.1"]
        assert values(await ask(server, "two.example")) == ["192.0.2.1"]
        assert [each.message.edns for each in up.asked] == [0, -1, -1]


async def test_a_silent_server_is_passed_by_and_then_put_behind() -> None:
    async with (
        upstream(silent) as first,
        upstream(answering("192.0.2.1")) as second,
        forwarding(first.address, second.address) as server,
    ):
        for number in range(3):
            assert values(await ask(server, f"n{number}.example")) == ["192.0.2.1"]
        assert len(first.asked) == 1
        assert len(second.asked) == 3


async def test_a_closed_port_is_noticed_at_once() -> None:
    async with upstream(answering("192.0.2.1")) as up, forwarding(closed_port(), up.address) as server:
        began = asyncio.get_running_loop().time()
        assert values(await ask(server, "www.example")) == ["192.0.2.1"]
        assert asyncio.get_running_loop().time() - began < 0.25


async def test_when_every_port_is_closed_the_asker_is_told_at_once() -> None:
    async with forwarding(closed_port(), closed_port()) as server:
        began = asyncio.get_running_loop().time()
        reply = await ask(server, "www.example")
        assert asyncio.get_running_loop().time() - began < 1.0
        assert (reply.rcode(), ede(reply)) == (dns.rcode.SERVFAIL, [EDE_UNREACHABLE])
        again = await ask(server, "www.example")
        assert (again.rcode(), ede(again)) == (dns.rcode.SERVFAIL, [EDE_CACHED_ERROR])


async def test_a_slow_answer_still_wins_when_nobody_is_faster() -> None:
    late = asyncio.Event()

    async def slow(asked: Asked) -> None:
        await late.wait()
        asked.answer("192.0.2.1")

    async with (
        upstream(slow) as first,
        upstream(silent) as second,
        forwarding(first.address, second.address) as server,
    ):
        waiting = asyncio.ensure_future(ask(server, "www.example"))
        await until(lambda: bool(second.asked))
        late.set()
        assert values(await waiting) == ["192.0.2.1"]


@pytest.mark.parametrize("rcode", [dns.rcode.SERVFAIL, dns.rcode.REFUSED, dns.rcode.NOTIMP])
async def test_a_server_that_says_it_cannot_is_believed_only_when_no_other_can(rcode: dns.rcode.Rcode) -> None:
    async with (
        upstream(lambda asked: asked.answer(rcode=rcode)) as first,
        upstream(answering("192.0.2.1")) as second,
        forwarding(first.address, second.address) as server,
    ):
        assert values(await ask(server, "www.example")) == ["192.0.2.1"]
        assert values(await ask(server, "two.example")) == ["192.0.2.1"]
        assert len(first.asked) == 1
    async with (
        upstream(lambda asked: asked.answer(rcode=rcode)) as first,
        forwarding(first.address) as server,
    ):
        assert (await ask(server, "www.example")).rcode() == rcode
        assert (await ask(server, "www.example")).rcode() == rcode
        assert len(first.asked) == 1


async def test_all_is_over_within_the_time_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with upstream(silent) as up, forwarding(up.address) as server:
        monkeypatch.setattr(server._forwarder, "_timeout_s", 0.3)
        began = asyncio.get_running_loop().time()
        reply = await ask(server, "www.example")
        assert 0.25 < asyncio.get_running_loop().time() - began < 1.5
        assert (reply.rcode(), ede(reply)) == (dns.rcode.SERVFAIL, [EDE_UNREACHABLE])
        assert server.in_flight == 0


async def test_an_expired_answer_is_given_while_nobody_can_renew_it() -> None:
    clock = Clock()
    works = [True]

    def sometimes(asked: Asked) -> None:
        if works[0]:
            asked.answer("192.0.2.1")
        else:
            asked.answer(rcode=2)

    async with upstream(sometimes) as up, forwarding(up.address, clock=clock) as server:
        await ask(server, "www.example")
        works[0] = False
        clock.ahead_s = 100
        stale = await ask(server, "www.example")
        assert (values(stale), stale.answer[0].ttl, ede(stale)) == (["192.0.2.1"], 30, [EDE_STALE])
        again = await ask(server, "www.example")
        assert (values(again), len(up.asked)) == (["192.0.2.1"], 2)
        works[0] = True
        clock.ahead_s = 110
        fresh = await ask(server, "www.example")
        assert (values(fresh), fresh.answer[0].ttl, ede(fresh)) == (["192.0.2.1"], 60, [])
        clock.ahead_s = 110 + 61 + 86400
        works[0] = False
        assert (await ask(server, "www.example")).rcode() == dns.rcode.SERVFAIL


async def test_nobody_waits_long_when_there_is_an_expired_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarder, "STALE_AFTER_S", 0.05)
    clock = Clock()
    answers = asyncio.Event()
    answers.set()

    async def when_told(asked: Asked) -> None:
        await answers.wait()
        asked.answer("192.0.2.1")

    async with upstream(when_told) as up, forwarding(up.address, clock=clock) as server:
        await ask(server, "www.example")
        answers.clear()
        clock.ahead_s = 100
        began = asyncio.get_running_loop().time()
        assert ede(await ask(server, "www.example")) == [EDE_STALE]
        assert ede(await ask(server, "www.example")) == [EDE_STALE]
        assert asyncio.get_running_loop().time() - began < 1.0
        assert len(up.asked) == 2
        answers.set()
        await until(lambda: not server.in_flight)
        assert ede(await ask(server, "www.example")) == []


async def test_while_all_servers_fail_an_expired_answer_comes_at_once() -> None:
    clock = Clock()
    async with upstream(answering("192.0.2.1")) as up, forwarding(up.address, clock=clock) as server:
        await ask(server, "www.example")
        clock.ahead_s = 100
        upstreams = server._resolver._upstreams
        upstreams.failed(up.address, clock(), clock() + 0.001)
        began = asyncio.get_running_loop().time()
        assert ede(await ask(server, "www.example")) == [EDE_STALE]
        assert asyncio.get_running_loop().time() - began < 0.5
        # Behind its back the server is asked, and found to be well.
        await until(lambda: not upstreams.all_failing([up.address]))
        await until(lambda: not server.in_flight)
        assert ede(await ask(server, "www.example")) == []


async def test_a_full_house_is_told_at_once_and_our_own_names_are_answered() -> None:
    async with upstream(silent) as up, forwarding(up.address) as server:
        bounded = server._forwarder
        bounded._max_flights, bounded._max_waiting_of_client = 4, 4
        waiting = [asyncio.ensure_future(ask(server, f"n{number}.example")) for number in range(2)]
        await until(lambda: server.in_flight == 2)
        # A client leaves as many places free as it takes, so two cannot shut a third one out.
        reply = await ask(server, "one-more.example")
        assert (reply.rcode(), len(ede(reply))) == (dns.rcode.SERVFAIL, 1)
        for number, source in ((2, "127.0.0.2"), (3, "127.0.0.3")):
            waiting.append(asyncio.ensure_future(ask(server, f"n{number}.example", source=source)))
            await until(lambda number=number: server.in_flight == number + 1)  # type: ignore[misc]
            assert (await ask(server, "one-more.example", source=source)).rcode() == dns.rcode.SERVFAIL
        assert (await ask(server, "one-more.example", source="127.0.0.4")).rcode() == dns.rcode.SERVFAIL
        assert values(await ask(server, "redis.weave.local")) == ["10.2.0.1"]
        # A question that is on its way already takes no room, until this client has too many waiting.
        waiting += [asyncio.ensure_future(ask(server, "n0.example")) for _ in range(2)]
        await until(lambda: server.stats.coalesced == 2)
        assert (await ask(server, "n0.example")).rcode() == dns.rcode.SERVFAIL
        other = asyncio.ensure_future(ask(server, "n0.example", source="127.0.0.2"))
        await until(lambda: server.stats.coalesced == 3)
        assert server.stats.over_limit == 5
        for task in (*waiting, other):
            task.cancel()
        await asyncio.gather(*waiting, other, return_exceptions=True)


async def test_nothing_stays_behind_when_all_is_answered() -> None:
    async with upstream(answering("192.0.2.1")) as up, forwarding(up.address) as server:
        for number in range(5):
            await ask(server, f"n{number}.example")
        bounded = server._forwarder
        assert (bounded._flights, bounded._waiting, bounded._all_waiting, bounded._probes) == ({}, {}, 0, {})
        await until(lambda: not bounded._attempts._tasks)


async def test_who_waits_when_the_server_ends_gets_no_empty_datagram() -> None:
    async with upstream(silent) as up:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
            asker.setblocking(False)
            async with forwarding(up.address) as server:
                asker.sendto(query("www.example"), server.listening[0])
                await until(lambda: bool(up.asked))
            with pytest.raises(BlockingIOError):
                asker.recv(512)


async def test_rules_send_names_to_servers_of_their_own() -> None:
    async with (
        upstream(answering("192.0.2.1")) as everything,
        upstream(answering("192.0.2.2")) as corp,
        forwarding(everything.address, corp_example=[corp.address]) as server,
    ):
        assert values(await ask(server, "www.corp.example")) == ["192.0.2.2"]
        assert values(await ask(server, "www.example")) == ["192.0.2.1"]
        assert (everything.names, corp.names) == (["www.example"], ["www.corp.example"])


async def test_what_is_flushed_is_asked_for_anew_also_if_it_was_on_its_way() -> None:
    go = asyncio.Event()

    async def when_told(asked: Asked) -> None:
        await go.wait()
        asked.answer("192.0.2.1")

    async with upstream(when_told) as up, forwarding(up.address) as server:
        waiting = asyncio.ensure_future(ask(server, "www.example"))
        await until(lambda: bool(up.asked))
        assert server.flush() == 0
        go.set()
        assert values(await waiting) == ["192.0.2.1"]
        assert len(server.cache) == 0
        await ask(server, "www.example")
        assert server.flush(names.parse("example.")) == 1
        await ask(server, "www.example")
        assert len(up.asked) == 3


async def loop_back(asked: Asked, server: Server) -> None:
    """Send a query to `server` with another ID and without its OPT, and its reply back."""
    without_opt = dns.message.from_wire(asked.packet)
    without_opt.use_edns(False)
    without_opt.id ^= 0x5555
    with contextlib.suppress(TimeoutError):
        reply = await exchange(without_opt.to_wire(), server)
        asked.send(asked.packet[:2] + reply[2:])


async def test_our_own_query_that_comes_back_is_refused_and_told_of_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forwarder, "_SUSPECT_AFTER_S", 0.02)

    def back(asked: Asked) -> Awaitable[None]:
        return loop_back(asked, server.listening[0])

    async with upstream(back) as up, forwarding(up.address) as server:
        began = asyncio.get_running_loop().time()
        with caplog.at_level(logging.WARNING):
            for number in range(4):
                reply = await ask(server, f"n{number}.example")
                assert reply.rcode() == dns.rcode.SERVFAIL
        assert asyncio.get_running_loop().time() - began < 2.0
        assert server.stats.loops >= 4
        told = [entry.getMessage() for entry in caplog.records if "our own queries" in entry.getMessage()]
        assert len(told) == 1
        assert f"port {up.address[1]}" in told[0]
        await until(lambda: not server._forwarder._probes)


async def test_a_loop_through_one_server_leaves_the_other_to_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarder, "_SUSPECT_AFTER_S", 0.02)
    go = asyncio.Event()

    def back(asked: Asked) -> Awaitable[None]:
        return loop_back(asked, server.listening[0])

    async def when_looped(asked: Asked) -> None:
        await go.wait()
        asked.answer("192.0.2.1")

    async with (
        upstream(back) as loops,
        upstream(when_looped) as answers,
        forwarding(loops.address, answers.address) as server,
    ):
        waiting = asyncio.ensure_future(ask(server, "www.example"))
        await until(lambda: server.stats.loops > 0)
        go.set()
        assert values(await waiting) == ["192.0.2.1"]


async def test_a_slow_server_is_not_taken_for_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarder, "_SUSPECT_AFTER_S", 0.02)

    async def slow(asked: Asked) -> None:
        await until(lambda: len(up.asked) >= 2)  # until our probe has come
        asked.answer("192.0.2.1")

    async with upstream(slow) as up, forwarding(up.address) as server:
        replies = await asyncio.gather(*(ask(server, "www.example") for _ in range(10)))
        assert {tuple(values(reply)) for reply in replies} == {("192.0.2.1",)}
        assert server.stats.loops == 0
        assert all(name == "www.example" or name.endswith(".www.example") for name in up.names)


async def test_a_client_gets_a_cookie_and_the_peers_name_with_answers_of_every_kind() -> None:
    options = b"\0\x03\0\0" + b"\0\x0a\0\x08clientck" + b"\xfd\xe9\0\1x"
    async with upstream(answering("192.0.2.1")) as up, forwarding(up.address) as server:
        for name in ("www.example", "www.example", "redis.weave.local", "absent.weave.local"):
            reply = await ask(server, with_records(query(name), opt(options=options)))
            found = {int(option.otype): option.to_wire() or b"" for option in reply.options}
            assert set(found) == {3, 10}
            assert found[3] == b"host1"
            assert found[10][:8] == b"clientck"
            cookie = struct.pack("!HH", 10, len(found[10])) + found[10]
            again = await ask(server, with_records(query(name), opt(options=cookie)))
            assert [option.to_wire() for option in again.options] == [found[10]]
        assert up.names == ["www.example"]


async def test_a_malformed_cookie_is_a_malformed_query() -> None:
    async with forwarding() as server:
        for cookie in (b"", b"short", bytes(12), bytes(41)):
            option = struct.pack("!HH", 10, len(cookie)) + cookie
            reply = await ask(server, with_records(query("redis.weave.local"), opt(options=option)))
            assert reply.rcode() == dns.rcode.FORMERR


async def test_who_may_not_ask_is_refused_whatever_he_asks() -> None:
    server = DnsServer(World().answers, Access(askers=()), Upstreams())
    await server.listen("127.0.0.1", 0)
    await server.start()
    try:
        assert values(await ask(server, "redis.weave.local")) == ["10.2.0.1"]
        server._access._askers = {4: {(0xFFFFFFFF, 0x7F000001)}, 16: set()}
        for name in ("redis.weave.local", "www.example", "redis"):
            refused = await ask(server, name, source="127.0.0.9")
            assert (refused.rcode(), ede(refused)) == (dns.rcode.REFUSED, [18])
    finally:
        await server.close()


async def test_the_query_log_has_one_line_for_each_answer_while_it_is_on() -> None:
    async with upstream(answering("192.0.2.1")) as up, forwarding(up.address) as server:
        lines: list[str] = []
        await ask(server, "redis.weave.local")
        server.log_queries(lines.append)
        await ask(server, "redis.weave.local")
        await ask(server, "absent.weave.local")
        await ask(server, "www.example")
        await ask(server, query("www.Example"))
        await ask_tcp(server, query("web.weave.local"))
        await ask_tcp(server, query("tcp.example"))
        server.log_queries(None)
        await ask(server, "redis.weave.local")
        await ask_tcp(server, query("redis.weave.local"))
    assert lines == [
        "127.0.0.1 udp redis.weave.local A: NOERROR, 1 answer, ours",
        "127.0.0.1 udp absent.weave.local A: NXDOMAIN, 0 answers, ours",
        "127.0.0.1 udp www.example A: NOERROR, 1 answer",
        "127.0.0.1 udp www.Example A: NOERROR, 1 answer",
        "127.0.0.1 tcp web.weave.local A: NOERROR, 3 answers, ours",
        "127.0.0.1 tcp tcp.example A: NOERROR, 1 answer",
    ]


async def test_the_query_log_has_one_line_also_for_names_that_are_none() -> None:
    async with forwarding() as server:
        lines: list[str] = []
        server.log_queries(lines.append)
        packet = b'\0\1\1\0\0\1\0\0\0\0\0\0\x05a\n\x1b"b\5weave\5local\0\0\1\0\1'
        await ask(server, packet)
        await ask(server, packet[:-3])
    assert lines == [
        r"127.0.0.1 udp a\010\027\"b.weave.local A: NXDOMAIN, 0 answers, ours",
        "127.0.0.1 udp no question: FORMERR, 0 answers",
    ]
