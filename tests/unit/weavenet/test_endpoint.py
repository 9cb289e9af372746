"""Endpoints as people spell them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weavenet.endpoint import Default, Endpoint, Explicit, InSubnet, Off, parse
from weavenet.errors import EndpointError


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("10.2.45.3/24", Explicit(IPv4Address("10.2.45.3"), 24)),
        ("10.2.45.3", Explicit(IPv4Address("10.2.45.3"))),
        ("ip:10.2.45.3/24", Explicit(IPv4Address("10.2.45.3"), 24)),
        ("weave://10.2.45.3/24", Explicit(IPv4Address("10.2.45.3"), 24)),
        ("weave://10.2.45.3", Explicit(IPv4Address("10.2.45.3"))),
        ("net:10.2.67.0/24", InSubnet(IPv4Network("10.2.67.0/24"))),
        ("weave://10.2.67.0/24", InSubnet(IPv4Network("10.2.67.0/24"))),
        ("net:default", Default()),
        ("NET:Default", Default()),
        ("weave://", Default()),
        ("weave://default", Default()),
        ("", Default()),
        ("  ", Default()),
        ("none", Off()),
        ("off", Off()),
        ("None", Off()),
    ],
)
def test_every_spelling_is_understood(text: str, endpoint: Endpoint) -> None:
    assert parse(text) == endpoint


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("net:frontend", "no network named 'frontend'"),
        ("weave://net1", "no network named 'net1'"),
        ("10.2.67.0/24", "net:10.2.67.0/24"),
        ("ip:10.2.67.0/24", "net:10.2.67.0/24"),
        ("net:10.2.67.5/24", "net:10.2.67.0/24"),
        ("net:10.2.67.0", "prefix length"),
        ("net:", "not an address"),
        ("ip:", "not an address"),
        ("ip:none", "not an address"),
        ("10.2.45.300/24", "10.2.45.300"),
        ("10.2.45/24", "10.2.45"),
        ("10.02.45.3/24", "10.02.45.3"),
        ("10.2.45.3/31", "at most 30"),
        ("10.2.45.3/99", "at most 30"),
        ("10.2.45.3/255.255.255.0", "not an address"),
        ("10.2.45.3/24/24", "not an address"),
        ("10.2.45.3/", "not an address"),
        ("10.2.45.3 10.2.45.4", "not an address"),
        ("fd00::1/64", "not an address"),
        ("redis", "not an address"),
    ],
)
def test_what_cannot_be_understood_is_named_and_the_right_spelling_shown(text: str, told: str) -> None:
    with pytest.raises(EndpointError) as caught:
        parse(text)
    assert told in str(caught.value)
    assert repr(text.strip()) in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.text() | st.from_regex(r"(net:|weave://|ip:|)[0-9./]*", fullmatch=True))
def test_any_text_is_an_endpoint_or_a_one_line_error(text: str) -> None:
    told = ""
    try:
        parse(text)
    except EndpointError as exc:
        told = str(exc)
    assert len(told.splitlines()) <= 1
