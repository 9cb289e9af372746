"""The packet filter rules as text."""

from __future__ import annotations

import contextlib
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from weavenet.errors import NetworkError
from weavenet.iptables import Firewall, Gate, Listing, rules_for, script_to_remove, script_to_set

EMPTY = "-P INPUT ACCEPT\n-P FORWARD ACCEPT\n-P OUTPUT ACCEPT\n"
OURS = (
    EMPTY
    + "-N WEAVEDNS-FORWARD\n-N WEAVEDNS-INPUT\n-A INPUT -j WEAVEDNS-INPUT\n-A FORWARD -j WEAVEDNS-FORWARD\n"
    + "-A FORWARD -j DOCKER-USER\n-A WEAVEDNS-FORWARD -o weave -j DROP\n"
)
RULES = rules_for("weave", IPv4Address("10.2.254.1"))


def test_a_listing_tells_the_rules_of_each_chain_in_order() -> None:
    listing = Listing.parse(OURS)
    assert listing.chains["FORWARD"] == ["-j WEAVEDNS-FORWARD", "-j DOCKER-USER"]
    assert listing.ours() == {"WEAVEDNS-FORWARD": ["-o weave -j DROP"], "WEAVEDNS-INPUT": []}


@pytest.mark.parametrize(
    ("listing", "first"),
    [
        (OURS, True),
        (EMPTY, False),
        ("", False),
        (OURS.replace("-A FORWARD -j WEAVEDNS-FORWARD\n", ""), False),
        (OURS.replace("-A INPUT -j WEAVEDNS-INPUT\n", "-A INPUT -j DROP\n-A INPUT -j WEAVEDNS-INPUT\n"), False),
        (OURS + "-A FORWARD -j WEAVEDNS-FORWARD\n", False),
        ("-N X\n-A FORWARD -j X\n" + OURS, False),
    ],
)
def test_our_jumps_count_only_when_they_come_first_and_once(listing: str, first: bool) -> None:
    assert Listing.parse(listing).jumps_first() == first


def test_setting_up_removes_each_jump_there_is_and_puts_one_first() -> None:
    script = script_to_set(Listing.parse(OURS + "-A FORWARD -j WEAVEDNS-FORWARD\n"), RULES).splitlines()
    assert script[0] == "*filter"
    assert script[-1] == "COMMIT"
    assert script.count("-D FORWARD -j WEAVEDNS-FORWARD") == 2
    assert script.index("-I FORWARD 1 -j WEAVEDNS-FORWARD") > script.index("-D FORWARD -j WEAVEDNS-FORWARD")
    assert [line for line in script if "WEAVEDNS-FORWARD -" in line and line.startswith("-A")] == [
        f"-A WEAVEDNS-FORWARD {rule}" for rule in RULES["WEAVEDNS-FORWARD"]
    ]


def test_bridged_frames_pass_before_anything_else_is_dropped() -> None:
    accept, *drops = RULES["WEAVEDNS-FORWARD"]
    assert "--physdev-is-bridged" in accept
    assert drops == ["-o weave -j DROP", "-i weave -j DROP"]


def test_only_peers_get_past_the_overlays_chain_and_the_hosts_own_rules_still_count() -> None:
    gate = Gate(6784, frozenset({IPv4Address("192.0.2.3"), IPv4Address("192.0.2.2")}))
    rules = rules_for("weave", IPv4Address("10.2.254.1"), gate)
    assert rules["WEAVEDNS-INPUT"][-1] == "-p udp -m udp --dport 6784 -j WEAVEDNS-OVERLAY"
    assert rules["WEAVEDNS-OVERLAY"] == ["-s 192.0.2.2/32 -j RETURN", "-s 192.0.2.3/32 -j RETURN", "-j DROP"]
    assert RULES["WEAVEDNS-OVERLAY"] == []


def test_a_chain_goes_before_the_one_it_jumps_to() -> None:
    script = script_to_remove(Listing.parse("-N WEAVEDNS-OVERLAY\n-N WEAVEDNS-INPUT\n")).splitlines()
    assert script.index("-X WEAVEDNS-INPUT") < script.index("-X WEAVEDNS-OVERLAY")


def test_removing_names_only_what_is_there_and_ours() -> None:
    assert script_to_remove(Listing.parse(EMPTY)).splitlines() == ["*filter", "COMMIT"]
    script = script_to_remove(Listing.parse(OURS))
    assert "DOCKER" not in script
    assert script.splitlines()[1:-1] == [
        "-D FORWARD -j WEAVEDNS-FORWARD",
        "-D INPUT -j WEAVEDNS-INPUT",
        "-F WEAVEDNS-FORWARD",
        "-F WEAVEDNS-INPUT",
        "-X WEAVEDNS-FORWARD",
        "-X WEAVEDNS-INPUT",
    ]


@pytest.mark.parametrize(
    ("says", "cure"),
    [
        ("Couldn't load match `physdev':No such file", "load the kernel module xt_physdev"),
        ("Fatal: can't open lock file: Permission denied", "run as root"),
        ("line 3 failed", "line 3 failed"),
        ("", "does not say why"),
    ],
)
def test_a_refusal_tells_the_reason_and_the_cure_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str, cure: str
) -> None:
    tool = tmp_path / "iptables"
    tool.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{says}\nEND\nexit 2\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    firewall = Firewall(Here(), "weave")  # type: ignore[arg-type]
    with pytest.raises(NetworkError) as caught:
        firewall.ensure(IPv4Address("10.2.254.1"))
    assert cure in str(caught.value)
    assert "\n" not in str(caught.value)


class Here:
    """A namespace that one is in already, which entering needs no privilege for."""

    def entered(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()
