from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weavedns.dns.upstream import Server, Upstreams
from weavedns.records import names

A, B, C = (("192.0.2.1", 53), ("192.0.2.2", 53), ("192.0.2.3", 5353))


def order(upstreams: Upstreams, now: float = 1.0) -> list[Server]:
    """In which order each server is asked for the first time."""
    return list(dict.fromkeys(step.server for step in upstreams.plan(upstreams.servers, now)))


def starts(upstreams: Upstreams, now: float = 1.0) -> list[tuple[Server, float]]:
    """Who is asked when, in seconds from the start, if nobody answers."""
    at, found = 0.0, []
    for step in upstreams.plan(upstreams.servers, now):
        found.append((step.server, round(at, 3)))
        at += step.patience_s
    return found


def answers(upstreams: Upstreams, server: Server, latency_s: float, now: float = 1.0) -> None:
    upstreams.asked(server, now - latency_s)
    upstreams.answered(server, latency_s, now)


def test_servers_are_asked_in_the_configured_order_while_nothing_is_known() -> None:
    assert order(Upstreams([B, A, C])) == [B, A, C]


def test_the_fastest_is_asked_first() -> None:
    upstreams = Upstreams([A, B, C])
    answers(upstreams, A, 0.050)
    answers(upstreams, B, 0.010)
    answers(upstreams, C, 0.100)
    assert order(upstreams) == [B, A, C]


def test_a_server_that_was_never_asked_is_tried_beside_one_that_is_known() -> None:
    upstreams = Upstreams([A, B])
    assert starts(upstreams)[:2] == [(A, 0.0), (B, 0.3)]
    answers(upstreams, A, 0.050)
    assert starts(upstreams)[:2] == [(A, 0.0), (B, 0.0)]
    upstreams.asked(B, 1.0)
    assert starts(upstreams)[:2] == [(A, 0.0), (B, 0.1)]


def test_the_next_is_asked_after_twice_the_usual_latency() -> None:
    upstreams = Upstreams([A, B])
    answers(upstreams, A, 0.050)
    answers(upstreams, B, 0.100)
    assert starts(upstreams)[:2] == [(A, 0.0), (B, 0.1)]


@pytest.mark.parametrize(("latency_s", "patience_s"), [(0.0001, 0.02), (0.1, 0.2), (3.0, 0.8)])
def test_patience_has_its_bounds(latency_s: float, patience_s: float) -> None:
    upstreams = Upstreams([A, B])
    answers(upstreams, A, latency_s)
    answers(upstreams, B, 5.0)
    assert starts(upstreams)[1] == (B, patience_s)


def test_one_slow_answer_changes_little() -> None:
    upstreams = Upstreams([A, B])
    answers(upstreams, A, 0.010)
    answers(upstreams, B, 0.030)
    answers(upstreams, A, 0.050)
    assert upstreams.health(A).latency_s == pytest.approx(0.015)
    assert order(upstreams) == [A, B]


def test_a_server_that_keeps_silent_is_behind_the_others_before_long() -> None:
    upstreams = Upstreams([A, B])
    answers(upstreams, A, 0.010)
    answers(upstreams, B, 0.030)
    upstreams.late(A, 0.02)
    assert order(upstreams) == [A, B]
    upstreams.late(A, 0.04)
    assert order(upstreams) == [B, A]


def test_a_server_that_fails_is_put_behind_and_asked_again_in_time() -> None:
    upstreams = Upstreams([A, B])
    upstreams.asked(A, 1.0)
    upstreams.failed(A, 1.0, 2.0)
    assert order(upstreams, 2.5) == [B, A]
    assert starts(upstreams, 2.5)[1] == (A, 0.3)
    # Its time has come: it is asked together with the first, which nobody waits for longer.
    assert starts(upstreams, 3.0)[:3] == [(B, 0.0), (A, 0.0), (B, 1.25)]
    upstreams.asked(A, 3.0)
    assert starts(upstreams, 3.1)[1] == (A, 0.3)
    upstreams.answered(A, 0.001, 3.2)
    assert order(upstreams, 3.2) == [A, B]


def test_a_server_that_goes_on_failing_is_asked_less_and_less_often() -> None:
    upstreams, now, waits = Upstreams([A]), 0.0, []
    for _ in range(8):
        began = now + 0.5
        upstreams.failed(A, began, now + 1.0)
        waits.append(upstreams.health(A).retry_at - now - 1.0)
        now += 1.0
    assert waits == [1, 2, 4, 8, 16, 30, 30, 30]


def test_queries_that_fail_together_are_one_failure() -> None:
    upstreams = Upstreams([A])
    for began in (1.0, 1.1, 1.2, 4.0):
        upstreams.failed(A, began, 5.0)
    assert (upstreams.health(A).fails, upstreams.health(A).failed) == (1, 1)


def test_a_late_failure_does_not_outweigh_an_answer() -> None:
    upstreams = Upstreams([A])
    answers(upstreams, A, 0.01, now=3.0)
    upstreams.failed(A, 1.0, 5.0)
    assert not upstreams.health(A).fails
    upstreams.failed(A, 3.5, 7.5)
    assert upstreams.health(A).fails == 1


def test_a_server_that_cannot_answer_what_another_can_is_put_behind() -> None:
    upstreams = Upstreams([A, B])
    upstreams.asked(A, 1.0)
    upstreams.answered(A, 0.001, 1.0, good=False)
    assert order(upstreams) == [A, B]
    assert upstreams.health(A).latency_s is None
    upstreams.outdone(A, 1.0)
    upstreams.outdone(A, 1.1)
    assert order(upstreams, 1.2) == [B, A]
    assert upstreams.health(A).fails == 1
    upstreams.answered(A, 0.001, 2.5, good=False)
    assert upstreams.health(A).fails == 1


def test_a_server_that_others_outdo_gets_another_chance_after_a_while() -> None:
    upstreams = Upstreams([A, B])
    answers(upstreams, A, 0.010, now=1.0)
    answers(upstreams, B, 0.500, now=1.0)
    assert starts(upstreams, 20.0)[1] == (B, 0.02)
    assert starts(upstreams, 31.5)[1] == (B, 0.0)


def test_everybody_is_asked_again_for_packets_get_lost() -> None:
    assert starts(Upstreams([A])) == [(A, 0.0), (A, 1.25), (A, 2.5)]
    steps = Upstreams([A]).plan([A], 1.0)
    assert [step.edns for step in steps] == [True, True, False]


def test_a_server_without_edns_is_asked_without() -> None:
    upstreams = Upstreams([A, B])
    upstreams.lacks_edns(A)
    assert [step.edns for step in upstreams.plan([A, B], 1.0)[:2]] == [False, True]


def test_all_failing_means_every_one() -> None:
    upstreams = Upstreams([A, B])
    upstreams.failed(A, 1.0, 2.0)
    assert not upstreams.all_failing([A, B])
    upstreams.failed(B, 1.0, 2.0)
    assert upstreams.all_failing([A, B])
    # There is nothing to wait for then.
    assert starts(upstreams, 2.1)[1] == (B, 0.05)


def test_health_is_kept_for_servers_that_stay_and_only_for_them() -> None:
    upstreams = Upstreams([A, B], {names.parse("corp.example."): [C]})
    for server in (A, B, C):
        answers(upstreams, server, 0.010)
    assert upstreams.replace([B])
    assert not upstreams.replace([B])
    assert upstreams.health(A).asked == 0
    assert (upstreams.health(B).asked, upstreams.health(C).asked) == (1, 1)
    upstreams.answered(A, 0.010, 2.0)
    assert len(upstreams._health) == 2


@pytest.mark.parametrize(
    ("name", "server"),
    [
        ("example.", A),
        ("corp.example.", B),
        ("www.corp.example.", B),
        ("lab.corp.example.", C),
        ("a.b.lab.corp.example.", C),
        ("xlab.corp.example.", B),
        ("xcorp.example.", A),
        ("corp.example.org.", A),
        (".", A),
    ],
)
def test_the_longest_rule_counts(name: str, server: Server) -> None:
    rules = {names.parse("corp.example."): [B], names.parse("lab.corp.example."): [C]}
    assert Upstreams([A], rules).of(names.parse(name)) == (server,)


latencies = st.floats(0.0001, 5.0)
events = st.lists(
    st.tuples(st.sampled_from([A, B, C]), st.sampled_from(["answer", "late", "fail", "refuse", "outdone"]), latencies)
)


@given(events, st.floats(0, 100), st.lists(st.sampled_from([A, B, C]), min_size=1, unique=True))
def test_whatever_happened_everybody_is_asked_in_time(
    happened: list[tuple[Server, str, float]], later_s: float, servers: list[Server]
) -> None:
    upstreams, now = Upstreams([A, B, C]), 1.0
    for server, what, seconds in happened:
        upstreams.asked(server, now)
        began, now = now, now + seconds
        match what:
            case "answer":
                upstreams.answered(server, seconds, now)
            case "refuse":
                upstreams.answered(server, seconds, now, good=False)
            case "late":
                upstreams.late(server, seconds)
            case "fail":
                upstreams.failed(server, began, now)
            case _:
                upstreams.outdone(server, now)
    steps = upstreams.plan(servers, now + later_s)
    assert {step.server for step in steps[: len(servers)]} == set(servers)
    assert all(step.patience_s >= 0 for step in steps)
    first_round = sum(step.patience_s for step in steps[: len(servers) - 1])
    assert first_round <= 2.0 + 1e-9
    healthy = [server for server in servers if not upstreams.health(server).fails]
    if healthy:
        assert steps[0].server in healthy
