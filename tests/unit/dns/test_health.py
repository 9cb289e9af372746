"""Containers whose health check fails are left out of the answers while others have the name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.unit.dns.world import World, record
from weavedns.records import names
from weavedns.records.record import Record


def web(number: int, *, healthy: bool = True) -> Record:
    return replace(record("web", "A", f"10.2.0.{number}", holder=f"c{number}"), healthy=healthy)


def test_the_unhealthy_is_left_out_while_another_is_healthy() -> None:
    world = World([web(1), web(2, healthy=False), web(3)])
    assert sorted(world.values("web.weave.local")) == ["10.2.0.1", "10.2.0.3"]


def test_when_all_are_unhealthy_all_are_given() -> None:
    world = World([web(1, healthy=False), web(2, healthy=False)])
    assert sorted(world.values("web.weave.local")) == ["10.2.0.1", "10.2.0.2"]


def test_the_only_one_is_given_whatever_its_health() -> None:
    assert World([web(1, healthy=False)]).values("web.weave.local") == ["10.2.0.1"]


def test_each_change_of_health_shows_at_once() -> None:
    world = World([web(1), web(2)])
    world.add(web(1, healthy=False))
    assert world.values("web.weave.local") == ["10.2.0.2"]
    world.add(web(2, healthy=False))
    assert sorted(world.values("web.weave.local")) == ["10.2.0.1", "10.2.0.2"]
    world.add(web(1))
    assert world.values("web.weave.local") == ["10.2.0.1"]
    world.add(web(2))
    assert sorted(world.values("web.weave.local")) == ["10.2.0.1", "10.2.0.2"]


def test_the_last_healthy_ones_end_brings_the_unhealthy_back() -> None:
    world = World([web(1), web(2, healthy=False)])
    world.remove(web(1))
    assert world.values("web.weave.local") == ["10.2.0.2"]


def test_services_of_the_unhealthy_are_left_out_too() -> None:
    good, bad = (record("_http._tcp.web", "SRV", "0", "1", port, "web", holder=port) for port in ("80", "81"))
    world = World([good, replace(bad, healthy=False)])
    assert world.values("_http._tcp.web.weave.local", "SRV") == ["0 1 80 web.weave.local."]


def test_an_ipv6_address_of_the_unhealthy_goes_with_its_other() -> None:
    six = replace(record("web", "AAAA", "2001:db8::2", holder="c2"), healthy=False)
    world = World([web(1), web(2, healthy=False), six])
    assert world.values("web.weave.local", "AAAA") == []
    assert world.ask("web.weave.local", "AAAA").rcode() == 0


def test_records_that_lead_to_no_container_neither_go_nor_count() -> None:
    text = record("web", "TXT", "hello")
    world = World([web(1, healthy=False), text])
    assert world.values("web.weave.local") == ["10.2.0.1"]
    assert world.values("web.weave.local", "TXT") == ['"hello"']


def test_addresses_keep_their_names_whatever_the_health() -> None:
    world = World([web(1), web(2)])
    world.add(replace(record("first", "A", "10.2.0.2", holder="c2")))
    world.add(web(2, healthy=False))
    assert world.values("2.0.2.10.in-addr.arpa", "PTR") == ["web.weave.local.", "first.weave.local."]


def test_what_leads_nowhere_stays_with_the_unhealthy() -> None:
    text = replace(record("web", "TXT", "hello", holder="c2"), healthy=False)
    world = World([web(1), web(2, healthy=False), text])
    assert world.values("web.weave.local", "TXT") == ['"hello"']


@pytest.mark.parametrize("healthy", [True, False])
def test_the_same_address_of_a_healthy_holder_stays(healthy: bool) -> None:
    other = replace(web(1), holder="zone:file")
    world = World([other, web(1, healthy=healthy), web(2)])
    assert sorted(world.values("web.weave.local")) == ["10.2.0.1", "10.2.0.2"]


def test_only_the_names_of_what_changed_are_made_again() -> None:
    world = World([web(1), web(2), record("other", "A", "10.2.0.8"), record("other", "A", "10.2.0.9")])
    other = world.answers.nodes[names.parse("other.weave.local.")]
    world.add(web(1, healthy=False))
    assert world.answers.nodes[names.parse("other.weave.local.")] is other


@given(st.lists(st.tuples(st.integers(1, 4), st.sampled_from(["healthy", "unhealthy", "gone"])), max_size=20))
def test_after_any_changes_the_usable_ones_are_given(steps: list[tuple[int, str]]) -> None:
    world = World([])
    state: dict[int, bool] = {}
    for number, now in steps:
        if now == "gone":
            world.remove(web(number))
            state.pop(number, None)
        else:
            state[number] = now == "healthy"
            world.add(web(number, healthy=state[number]))
        usable = [each for each, healthy in state.items() if healthy] or list(state)
        assert sorted(world.values("web.weave.local")) == sorted(f"10.2.0.{each}" for each in usable)
