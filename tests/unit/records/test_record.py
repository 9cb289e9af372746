from __future__ import annotations

import gc

import pytest

from weavedns.errors import RecordError
from weavedns.records.record import MAX_TTL_S, Origin, Record, RecordType, check_ttl, type_code, type_name


@pytest.mark.parametrize(
    ("text", "code"),
    [("A", 1), ("aaaa", 28), ("Srv", 33), ("TYPE1", 1), ("type65535", 65535), ("TYPE0", 0), ("ANY", 255)],
)
def test_a_type_is_known_by_name_or_number(text: str, code: int) -> None:
    assert type_code(text) == code
    assert type(type_code(text)) is int


@pytest.mark.parametrize("text", ["", "B", "TYPE", "TYPE65536", "TYPE-1", "TYPE1x", "TYPE\u0661", "\u017foa", "1"])
def test_what_is_no_type_is_refused_by_name(text: str) -> None:
    with pytest.raises(RecordError, match="is no record type") as caught:
        type_code(text)
    assert repr(text) in str(caught.value)


def test_a_type_without_a_name_here_is_written_as_its_number() -> None:
    assert type_name(1) == "A"
    assert type_name(257) == "TYPE257"


@pytest.mark.parametrize("ttl_s", [0, 1, MAX_TTL_S])
def test_a_ttl_has_31_bits(ttl_s: int) -> None:
    assert check_ttl(ttl_s) == ttl_s


@pytest.mark.parametrize("ttl_s", [-1, MAX_TTL_S + 1])
def test_a_ttl_outside_31_bits_is_refused(ttl_s: int) -> None:
    with pytest.raises(RecordError, match=f"{ttl_s} is no TTL"):
        check_ttl(ttl_s)


def test_ttl_and_origin_do_not_tell_records_apart() -> None:
    one = Record("p", "h", b"\0", RecordType.A, b"abcd", 1, Origin.ADDED)
    same = Record("p", "h", b"\0", 1, b"abcd", 2, Origin.ZONE)
    other = Record("p", "h2", b"\0", 1, b"abcd", 1, Origin.ADDED)
    assert one == same
    assert not one != same  # noqa: SIM202 - a method of its own
    assert hash(one) == hash(same)
    assert one != other
    assert not one == other  # noqa: SIM201 - as above


def test_the_collector_of_cycles_never_looks_at_a_record() -> None:
    assert not gc.is_tracked(Record("p", "h", b"\0", RecordType.A, b"abcd", 1, Origin.ADDED))
