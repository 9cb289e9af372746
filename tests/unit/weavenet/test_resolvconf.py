"""A container's resolv.conf: rewritten, put back, and left alone when somebody changed it."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from weavenet import resolvconf
from weavenet.resolvconf import State, Wanted, restore, rewrite, state_of

PLAIN = Wanted(("10.2.254.1",), ("weave.local",))
DOCKERS = b"nameserver 8.8.8.8\nnameserver 1.1.1.1\nsearch example.com corp.example\noptions ndots:2\n"


def effective(text: bytes | None) -> list[str]:
    assert text is not None
    return [line for line in text.decode().splitlines() if not line.startswith("#")]


def rewritten(text: bytes, wanted: Wanted = PLAIN) -> bytes:
    ours = rewrite(text, wanted)
    assert ours is not None
    return ours


originals = st.binary(max_size=300) | st.lists(
    st.sampled_from([*DOCKERS.splitlines(), b"", b"# by hand", b"domain a.b", b"options", b"search", b"nameserver"])
).map(b"\n".join)


def test_our_server_comes_first_and_our_domain_before_what_was_there() -> None:
    assert effective(rewrite(DOCKERS, PLAIN)) == [
        "nameserver 10.2.254.1",
        "search weave.local example.com corp.example",
        "options ndots:2 timeout:1 attempts:2",
    ]


def test_the_servers_that_we_gave_can_be_read_and_those_of_others_are_not_ours() -> None:
    ours = rewritten(DOCKERS, Wanted(("10.2.254.1", "10.2.254.2"), ("weave.local",)))
    assert resolvconf.given(ours) == ["10.2.254.1", "10.2.254.2"]
    assert resolvconf.given(DOCKERS) == resolvconf.given(ours + b"nameserver 192.0.2.1\n") == []


def test_other_peers_follow_and_no_more_than_a_resolver_reads() -> None:
    wanted = Wanted(("10.2.254.1", "10.2.254.2", "10.2.254.3", "10.2.254.4"), ("weave.local",))
    assert effective(rewrite(b"", wanted))[:3] == [
        "nameserver 10.2.254.1",
        "nameserver 10.2.254.2",
        "nameserver 10.2.254.3",
    ]
    assert b"10.2.254.4" not in rewritten(b"", wanted)


def test_the_own_subdomain_is_searched_first() -> None:
    wanted = Wanted(("10.2.254.1",), ("web.weave.local", "weave.local"))
    assert "search web.weave.local weave.local example.com corp.example" in effective(rewrite(DOCKERS, wanted))


def test_a_domain_is_searched_once() -> None:
    assert "search weave.local x.org" in effective(rewrite(b"search x.org Weave.Local.\n", PLAIN))


def test_a_search_list_given_by_the_user_is_left_alone() -> None:
    wanted = Wanted(("10.2.254.1",), ("weave.local",), search_given=True)
    assert "search example.com corp.example" in effective(rewrite(DOCKERS, wanted))
    assert not [line for line in effective(rewrite(b"nameserver 8.8.8.8\n", wanted)) if line.startswith("search")]


@pytest.mark.parametrize(
    ("given_options", "options"),
    [
        ("", "timeout:1 attempts:2"),
        ("timeout:9", "timeout:9 attempts:2"),
        ("rotate attempts:5", "rotate attempts:5 timeout:1"),
        ("timeout:3 attempts:4", "timeout:3 attempts:4"),
    ],
)
def test_the_users_options_count_before_ours(given_options: str, options: str) -> None:
    text = f"nameserver 8.8.8.8\noptions {given_options}\n".encode()
    assert effective(rewrite(text, PLAIN))[-1] == f"options {options}"


def test_the_last_search_line_counts_as_it_does_in_glibc() -> None:
    assert "search weave.local c.d" in effective(rewrite(b"search a.b\ndomain c.d\n", PLAIN))


def test_dockers_own_ndots_stays_so_that_a_short_name_is_asked_as_it_is_before_it_is_searched() -> None:
    text = b"nameserver 127.0.0.11\noptions ndots:0\n"
    assert effective(rewrite(text, PLAIN))[-1] == "options ndots:0 timeout:1 attempts:2"


def test_a_sort_list_stays() -> None:
    assert "sortlist 130.155.160.0/255.255.240.0" in effective(
        rewrite(b"sortlist  130.155.160.0/255.255.240.0\n", PLAIN)
    )


@given(originals)
def test_restoring_gives_the_original_byte_for_byte(original: bytes) -> None:
    assume(state_of(original) is State.ORIGINAL)
    ours = rewritten(original)
    assert state_of(ours) is State.OURS
    assert restore(ours) == original


@given(originals, st.lists(st.ip_addresses(v=4).map(str), min_size=1, max_size=3))
def test_rewriting_our_own_text_works_from_the_original(original: bytes, servers: list[str]) -> None:
    assume(state_of(original) is State.ORIGINAL)
    wanted = Wanted(tuple(servers), ("other.local",))
    assert rewrite(rewritten(original), wanted) == rewrite(original, wanted)
    assert rewrite(rewritten(original), PLAIN) == rewritten(original)


@given(originals, st.data())
def test_any_change_is_noticed_and_then_left_alone(original: bytes, data: st.DataObject) -> None:
    assume(state_of(original) is State.ORIGINAL)
    ours = rewritten(original)
    start = data.draw(st.integers(0, len(ours)))
    end = data.draw(st.integers(start, min(len(ours), start + 8)))
    changed = ours[:start] + data.draw(st.binary(max_size=8)) + ours[end:]
    assume(changed != ours)
    assert state_of(changed) is State.CHANGED
    assert rewrite(changed, PLAIN) is None
    assert restore(changed) is None


def test_a_line_added_by_hand_is_noticed() -> None:
    assert restore(rewritten(DOCKERS) + b"nameserver 9.9.9.9\n") is None
    assert restore(b"nameserver 9.9.9.9\n" + rewritten(DOCKERS)) is None


def test_a_text_that_is_not_ours_is_restored_to_itself() -> None:
    assert restore(DOCKERS) == DOCKERS
