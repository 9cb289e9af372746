"""RFC 7766 and what keeps TCP from being abused, asked of a running daemon."""

from __future__ import annotations

import contextlib
import select
import socket
import statistics
import time
from collections.abc import Iterator

import pytest

from tests.conformance import packets as p
from tests.conformance.served import TEXTS, Served, Upstream
from tests.lab.wait import wait_until

IDLE_S = 10.0
CAP = 256
CAP_OF_CLIENT = 32
PIPELINED = 100
ROUNDS = 50
NAGLE_S = 0.04
PROMPT_S = 2.0
ASKED = p.framed(p.query("redis.weave.local"))


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as made:
        yield made


def works(sock: socket.socket) -> bool:
    sock.sendall(ASKED)
    return p.read(p.receive(sock)).addresses == ["10.2.0.1"]


def served_at(server: Served, source: str) -> socket.socket | None:
    """A connection that is answered; None when it was turned away."""
    sock = p.stream(server.address, source=source)
    with contextlib.suppress(ConnectionError):
        if works(sock):
            return sock
    sock.close()
    return None


# Section 6.2.1.1: pipelining


def test_many_questions_in_one_segment_are_all_answered(server: Served) -> None:
    texts = ("redis.weave.local", "nope.weave.local", "www.example.org", "many.weave.local", "redis", "version.bind")
    asked = {ident: texts[ident % len(texts)] for ident in range(PIPELINED)}
    with p.stream(server.address) as sock:
        sock.sendall(b"".join(p.framed(p.query(text, ident=ident)) for ident, text in asked.items()))
        replies = [p.read(p.receive(sock)) for _ in asked]
    assert {reply.id: reply.question for reply in replies} == {
        ident: p.question(text) for ident, text in asked.items()
    }


def test_an_answer_of_ours_does_not_wait_for_one_of_others(server: Served) -> None:
    with p.stream(server.address) as sock:
        sock.sendall(
            p.framed(p.query("slow.broken.example", ident=1)) + p.framed(p.query("redis.weave.local", ident=2))
        )
        assert [p.read(p.receive(sock)).id for _ in range(2)] == [2, 1]


def test_batches_of_answers_do_not_wait_for_acknowledgements(server: Served) -> None:
    batch = b"".join(p.framed(p.query("redis.weave.local", ident=ident)) for ident in range(PIPELINED))
    took = []
    with p.stream(server.address) as sock:
        for _ in range(ROUNDS):
            began = time.monotonic()
            sock.sendall(batch)
            for _ in range(PIPELINED):
                p.receive(sock)
            took.append(time.monotonic() - began)
    assert statistics.median(took) < NAGLE_S * 0.75


def test_answers_may_be_asked_for_before_the_end_of_the_stream(server: Served) -> None:
    with p.stream(server.address) as sock:
        sock.sendall(
            p.framed(p.query("www.example.org", ident=1)) + p.framed(p.query("texts.weave.local", p.TXT, ident=2))
        )
        sock.shutdown(socket.SHUT_WR)
        replies = [p.read(p.receive(sock)) for _ in range(2)]
        assert {reply.id for reply in replies} == {1, 2}
        assert sock.recv(1) == b""


# Section 8: the length


@pytest.mark.parametrize("at", [*range(1, 8), len(ASKED) - 1])
def test_a_message_may_come_in_pieces(server: Served, at: int) -> None:
    with p.stream(server.address) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in range(3):
            sock.sendall(ASKED[:at])
            # The piece has arrived when an answer to what another asks after it has.
            assert p.tcp(p.query("redis.weave.local"), server.address).addresses
            sock.sendall(ASKED[at:] + ASKED * number)
            assert [p.read(p.receive(sock)).id for _ in range(number + 1)] == [p.IDENT] * (number + 1)


def test_a_message_may_come_byte_by_byte(server: Served) -> None:
    with p.stream(server.address) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in ASKED:
            sock.sendall(bytes((byte,)))
        assert p.read(p.receive(sock)).addresses == ["10.2.0.1"]


@pytest.mark.parametrize("size", [0, 1, 11])
def test_what_is_too_short_for_a_message_is_passed_over(server: Served, size: int) -> None:
    with p.stream(server.address) as sock:
        sock.sendall(p.framed(bytes(size)))
        assert works(sock)


def test_the_longest_message_is_read_to_its_end(server: Served) -> None:
    whole = p.query("redis.weave.local")
    padded = whole + bytes(65535 - len(whole))
    with p.stream(server.address) as sock:
        sock.sendall(p.framed(padded))
        assert p.read(p.receive(sock)).id == p.IDENT
        assert works(sock)


def test_the_largest_answers_come_whole(server: Served) -> None:
    with p.stream(server.address) as sock:
        for _ in range(3):
            sock.sendall(p.framed(p.query("texts.weave.local", p.TXT, opt=p.edns(size=512))))
            reply = p.read(p.receive(sock))
            assert len(reply.answer) == TEXTS
            assert len(reply.raw) > 30_000


# Sections 6.1 and 6.2.3: connections that take and do not give


def test_who_says_nothing_or_never_ends_is_let_go(server: Served, stack: contextlib.ExitStack) -> None:
    # All at once, as each takes its time: nothing, half a length, half a message, a byte now and then, one question.
    silent, half, part, slow, once = [stack.enter_context(p.stream(server.address)) for _ in range(5)]
    began = time.monotonic()
    half.sendall(ASKED[:1])
    part.sendall(ASKED[:9])
    assert works(once)
    length = p.framed(bytes(65535))
    ended: dict[socket.socket, float] = {}
    sent = 0
    while len(ended) < 5:
        left = began + IDLE_S * 2 - time.monotonic()
        assert left > 0, f"{5 - len(ended)} connections are still open"
        if slow not in ended:
            with contextlib.suppress(ConnectionError):
                slow.sendall(length[sent : sent + 1])
                sent += 1
        waiting = [sock for sock in (silent, half, part, slow, once) if sock not in ended]
        # A byte every half second keeps nothing alive.
        for sock in select.select(waiting, [], [], 0.5)[0]:
            with contextlib.suppress(ConnectionError):
                assert sock.recv(65536) == b""
            ended[sock] = time.monotonic() - began
    assert min(ended.values()) > IDLE_S - 1
    assert max(ended.values()) < IDLE_S + 3


def test_one_client_has_so_many_connections_and_no_more(server: Served, stack: contextlib.ExitStack) -> None:
    mine = [stack.enter_context(p.stream(server.address, source="127.0.7.1")) for _ in range(CAP_OF_CLIENT)]
    assert all(works(sock) for sock in mine)
    assert served_at(server, "127.0.7.1") is None
    other = served_at(server, "127.0.7.2")
    assert other
    other.close()
    # Those that are there go on, and the place of one that ends is free.
    assert all(works(sock) for sock in mine)
    mine[0].close()
    wait_until(lambda: _and_close(served_at(server, "127.0.7.1")), what="a free place")


def test_all_clients_have_so_many_connections_and_no_more(server: Served, stack: contextlib.ExitStack) -> None:
    sources = [f"127.0.8.{number}" for number in range(1, CAP // CAP_OF_CLIENT + 1)]
    kept: list[socket.socket] = []
    deadline = time.monotonic() + IDLE_S / 2
    for source in [source for source in sources for _ in range(CAP_OF_CLIENT)]:
        # Those of earlier tests may not all be gone yet.
        while (sock := served_at(server, source)) is None:
            assert time.monotonic() < deadline, f"only {len(kept)} connections"
        kept.append(stack.enter_context(sock))
    assert served_at(server, "127.0.9.1") is None
    assert all(works(sock) for sock in kept)
    # UDP is nobody's to take.
    assert p.udp(p.query("redis.weave.local"), server.address).addresses == ["10.2.0.1"]
    for sock in kept:
        sock.close()
    wait_until(lambda: _and_close(served_at(server, "127.0.9.1")), what="a free place")


def test_who_does_not_read_stalls_nobody_else(server: Served, stack: contextlib.ExitStack) -> None:
    large = p.framed(p.query("texts.weave.local", p.TXT)) * 50
    before = server.rss_bytes
    for number in range(8):
        sock = stack.enter_context(p.stream(server.address, source=f"127.0.10.{number + 1}"))
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while sock.send(large):
                pass
    slowest = 0.0
    for _ in range(200):
        for over in p.TRANSPORTS.values():
            began = time.monotonic()
            assert over(p.query("redis.weave.local"), server.address).addresses == ["10.2.0.1"]
            slowest = max(slowest, time.monotonic() - began)
    assert slowest < PROMPT_S
    # 256 KiB of answers and what was read of the questions for each.
    assert server.rss_bytes - before < 8 * 4 * 1024 * 1024


def test_who_reads_slowly_gets_everything(server: Served) -> None:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(p.DEADLINE_S)
        sock.connect(server.address)
        for ident in range(30):
            sock.sendall(p.framed(p.query("texts.weave.local", p.TXT, ident=ident)))
        for ident in range(30):
            reply = p.read(p.receive(sock))
            assert (reply.id, len(reply.answer)) == (ident, TEXTS)


def test_a_stream_that_breaks_off_hurts_nobody(server: Served, world: Upstream) -> None:
    for _ in range(100):
        with p.stream(server.address) as sock:
            # A reset rather than an end, while answers are on their way.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            sock.sendall(p.framed(p.query("texts.weave.local", p.TXT)) * 3 + p.framed(p.query("www.example.org")) * 3)
    # Some may still count as this client's.
    wait_until(lambda: _and_close(served_at(server, "127.0.0.1")), what="an answer")
    assert "Traceback" not in server.log


def _and_close(sock: socket.socket | None) -> bool:
    if sock:
        sock.close()
    return sock is not None
