from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.records.strategies import any_names
from weavedns.errors import RecordError
from weavedns.records import names

DOMAIN = b"\x05weave\x05local\0"


@pytest.mark.parametrize(
    ("text", "wire"),
    [
        (".", b"\0"),
        ("@", DOMAIN),
        ("redis", b"\x05redis" + DOMAIN),
        ("Redis", b"\x05redis" + DOMAIN),
        ("redis.", b"\x05redis\0"),
        ("a.b", b"\x01a\x01b" + DOMAIN),
        ("a.b.", b"\x01a\x01b\0"),
        (r"a\.b", b"\x03a.b" + DOMAIN),
        (r"a\.", b"\x02a." + DOMAIN),
        (r"a\\.", b"\x02a\\\0"),
        (r"a\..b.", b"\x02a.\x01b\0"),
        (r"\065", b"\x01a" + DOMAIN),
        (r"\000", b"\x01\0" + DOMAIN),
        (r"\255", b"\x01\xff" + DOMAIN),
        (r"\@", b"\x01@" + DOMAIN),
        (r"a\ b", b"\x03a b" + DOMAIN),
        ("x" * 63, b"\x3f" + b"x" * 63 + DOMAIN),
    ],
)
def test_text_in_master_file_form_becomes_wire_bytes(text: str, wire: bytes) -> None:
    assert names.parse(text, DOMAIN) == wire


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("..", "empty label"),
        (".a", "empty label"),
        ("a..b", "empty label"),
        (r"a\.b..c", "empty label"),
        ("x" * 64, "over 63"),
        (r"\097" * 64, "over 63"),
        (".".join(["x" * 63] * 4), "at most 255"),
        ("x" * 100_000, "at most 255"),
        ("a b", "character"),
        ("é", "character"),
        ('a"b', "character"),
        ("a\nb", "character"),
        ("a\\", "escape"),
        (r"\25", "escape"),
        (r"\256", "escape"),
        (r"\é", "escape"),
        ("\\\u0661\u0661\u0661", "escape"),
    ],
)
def test_a_malformed_name_is_refused_and_named(text: str, says: str) -> None:
    with pytest.raises(RecordError, match=says) as caught:
        names.parse(text, DOMAIN)
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


def test_a_name_of_255_bytes_is_the_longest() -> None:
    longest = ".".join(["x" * 63] * 3 + ["x" * 61]) + "."
    assert len(names.parse(longest)) == 255
    with pytest.raises(RecordError, match="256"):
        names.parse(".".join(["x" * 63] * 3 + ["x" * 62]) + ".")


@given(any_names)
def test_every_name_survives_being_written_and_read(name: bytes) -> None:
    text = names.render(name)
    assert names.parse(text if name == names.ROOT else text + ".") == name
    assert text.isascii()
    assert text.isprintable()


@given(st.text(max_size=30))
def test_any_text_is_a_name_or_a_record_error(text: str) -> None:
    try:
        name = names.parse(text, DOMAIN)
    except RecordError:
        return
    assert names.check_wire(name) == name


@pytest.mark.parametrize(
    ("text", "wire"),
    [
        ("redis", b"\x05redis" + DOMAIN),
        ("redis.weave.local", b"\x05redis" + DOMAIN),
        ("REDIS.Weave.Local.", b"\x05redis" + DOMAIN),
        ("_x.a-b.weave.local", b"\x02_x\x03a-b" + DOMAIN),
    ],
)
def test_a_host_name_is_taken_short_or_in_the_domain(text: str, wire: bytes) -> None:
    assert names.parse_host(text, DOMAIN) == wire


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("redis.example.com", "write redis.weave.local"),
        ("redis.", "write redis.weave.local"),
        ("redisweave.local", "outside"),
        ("weave.local", "the domain itself"),
        ("@", "no host name"),
        (".", "outside the domain weave.local; write redis.weave.local"),
        ("db.example.com", "outside the domain weave.local; write db.weave.local$"),
        ("_http._tcp.web", "outside the domain weave.local; write _http._tcp.web.weave.local$"),
        ("_http._tcp.web.example.com", "outside the domain weave.local; write _http._tcp.web.weave.local$"),
        ("_http._tcp", "outside the domain weave.local; write _http._tcp.weave.local$"),
        ("re dis", "no host name"),
        ("-redis", "no host name"),
        ("redis-", "no host name"),
        ("*", "no host name"),
        (r"re\dis", "no host name"),
        ("a..weave.local", "empty label"),
        ("rédis", "xn--"),
        ("", "empty"),
    ],
)
def test_a_host_name_that_cannot_be_is_refused_with_a_cure(text: str, says: str) -> None:
    with pytest.raises(RecordError, match=says):
        names.parse_host(text, DOMAIN)


@pytest.mark.parametrize(
    ("name", "zone", "under"),
    [
        ("a.weave.local.", "weave.local.", True),
        ("weave.local.", "weave.local.", True),
        ("local.", "weave.local.", False),
        ("xweave.local.", "weave.local.", False),
        (r"x\005weave.local.", "weave.local.", False),
        ("weave.local.", ".", True),
        (".", ".", True),
        (".", "local.", False),
    ],
)
def test_a_name_is_under_a_zone_label_by_label(name: str, zone: str, under: bool) -> None:
    assert names.is_under(names.parse(name), names.parse(zone)) is under


def test_the_parent_of_a_name_lacks_its_first_label() -> None:
    assert names.parent(names.parse("a.b.")) == names.parse("b.")
    assert names.parent(names.parse("b.")) == names.ROOT
    assert names.parent(names.ROOT) == names.ROOT


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_an_address_survives_its_reverse_name(address: IPv4Address | IPv6Address) -> None:
    assert names.address_of(names.reverse(address)) == address


def test_reverse_names_are_those_of_the_rfcs() -> None:
    assert names.reverse(IPv4Address("10.2.1.7")) == names.parse("7.1.2.10.in-addr.arpa.")
    nibbles = ".".join(reversed("20010db8" + "0" * 23 + "7"))
    assert names.reverse(IPv6Address("2001:db8::7")) == names.parse(nibbles + ".ip6.arpa.")


@pytest.mark.parametrize(
    "text",
    [
        ".",
        "redis.weave.local.",
        "2.10.in-addr.arpa.",
        "1.7.1.2.10.in-addr.arpa.",
        "300.1.2.10.in-addr.arpa.",
        "07.1.2.10.in-addr.arpa.",
        r"1\.7.2.10.in-addr.arpa.",
        "x.1.2.10.in-addr.arpa.",
        r"7.1.2.10.x\007in-addr.arpa.",
        "0.8.ip6.arpa.",
        "0._." + "0." * 30 + "ip6.arpa.",
        "0." * 31 + "+.ip6.arpa.",
        "g." + "0." * 31 + "ip6.arpa.",
    ],
)
def test_a_name_that_is_no_whole_reverse_name_has_no_address(text: str) -> None:
    assert names.address_of(names.parse(text)) is None


@pytest.mark.parametrize("raw", [b"", b"\x01a", b"\x01a\0x", b"\x40" + b"x" * 64 + b"\0", b"\xc0\x0c", b"\x05ab\0"])
def test_bytes_that_are_no_single_name_are_refused(raw: bytes) -> None:
    with pytest.raises(RecordError, match="wire form"):
        names.check_wire(raw)


def test_a_wire_name_is_at_most_255_bytes_and_comes_back_in_lower_case() -> None:
    assert names.check_wire(b"\x01A\0") == b"\x01a\0"
    with pytest.raises(RecordError):
        names.check_wire(
            b"\x3f" + b"x" * 63 + b"\x3f" + b"x" * 63 + b"\x3f" + b"x" * 63 + b"\x3f" + b"x" * 63 + b"\0"
        )
