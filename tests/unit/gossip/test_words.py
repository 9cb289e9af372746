from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from weavedns.gossip.codec import is_host
from weavedns.gossip.words import difference, printable


@given(st.text())
def test_what_a_peer_says_stays_in_its_line_and_as_long_as_it_was(said: str) -> None:
    assert printable(said).isprintable()
    assert len(printable(said)) == len(said)
    assert printable(printable(said)) == printable(said)


def test_plain_text_of_any_language_is_left_alone() -> None:
    assert printable("der Name h\u00f6rt auf \u540d") == "der Name h\u00f6rt auf \u540d"
    assert printable("a\r\n\x1b[31mred\x07\u2028\u202e\udc80") == "a???[31mred????"


@given(st.dictionaries(st.text(max_size=255), st.text(max_size=255), max_size=8))
def test_what_differs_is_told_in_one_bounded_line(theirs: dict[str, str]) -> None:
    told = difference(theirs, {"--domain": "weave.local"})
    assert told.isprintable()
    assert len(told) < 2_500


def test_a_host_with_a_zone_is_none_that_others_can_reach() -> None:
    assert is_host("fe80::1")
    assert not is_host("fe80::1%eth0")
    assert not is_host("fe80::1%\x1b[2J")
