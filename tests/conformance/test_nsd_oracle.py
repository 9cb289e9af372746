"""The same questions to NSD, which serves what `weavedns export` wrote, and to us: no difference without a reason.

The reasons: which of several records of an RRset comes first is left to the server; we give ANY a minimal answer (RFC
8482) and NSD gives all, with addresses; our SOA has its own serial; NSD adds the zone's NS and its address to
answers, and we do not; names are compressed differently, so that one of two long replies may be cut, or leave out
additions, where the other does not.
"""

from __future__ import annotations

import contextlib
import random
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from tests.conformance.packets import Address
from tests.conformance.served import free_port, served
from tests.conformance.zonedata import DOMAIN, PROGRAMS, ZONE, weavedns
from tests.lab.wait import wait_until

QUERIES = 10_000  # of each of two zones
SEED = 20_000
NSD = Path("/usr/sbin/nsd")
DEADLINE_S = 20.0
TYPES = ["A", "A", "A", "AAAA", "SRV", "MX", "TXT", "CNAME", "PTR", "NS", "SOA", "ANY"]
TYPES += ["TYPE64", "TYPE65280", "TYPE65281", "TYPE99", "DS", "CAA"]
LABELS = [
    "sub",
    "part",
    "other",
    "ns1",
    "a",
    "x",
    "any",
    "apps",
    "deep",
    "er",
    "alias",
    "mx",
    "text",
    "stars",
    "twice",
    "*",
    "below",
    "there",
    "blocked",
]
SERVER = f"weavedns.{DOMAIN}."
# Replies below this have room for all that there is to add.
SMALL = 400

Record = tuple[str, int, str, int]
NONE: frozenset[Record] = frozenset()


@dataclass(frozen=True)
class Told:
    """What of a reply has to be the same."""

    rcode: int
    is_authoritative: bool
    has_edns: bool
    answer: frozenset[Record]
    authority: frozenset[Record]
    additional: frozenset[Record]


@contextlib.contextmanager
def servers(directory: Path, zone: str) -> Iterator[tuple[Address, Address]]:
    """Our address and NSD's, both on loopback."""
    ours, theirs = directory / "daemon", directory / "nsd"
    ours.mkdir()
    theirs.mkdir()
    with served(ours, zone=zone) as made:
        (theirs / "exported.zone").write_text(weavedns(ours, "export"))
        with nsd(theirs) as address:
            yield made.address, address


@contextlib.contextmanager
def nsd(directory: Path) -> Iterator[Address]:
    assert NSD.exists(), f"nsd is not installed: apt-get install {PROGRAMS}"
    host, port = "127.0.0.1", free_port()
    config = directory / "nsd.conf"
    config.write_text(
        f"""
server:
    server-count: 1
    ip-address: {host}@{port}
    username: ""
    chroot: ""
    zonesdir: "{directory}"
    database: ""
    pidfile: "{directory}/nsd.pid"
    xfrdfile: "{directory}/xfrd.state"
    xfrdir: "{directory}"
    zonelistfile: "{directory}/zone.list"
    cookie-secret-file: "{directory}/cookies"
    rrl-ratelimit: 0
    refuse-any: no
    ipv4-edns-size: 1232
    minimal-responses: no
remote-control:
    control-enable: no
zone:
    name: {DOMAIN}
    zonefile: exported.zone
"""
    )
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen([NSD, "-d", "-c", config], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        wait_until(
            lambda: process.poll() is None and ask((host, port), make("redis", "A")).rcode() == dns.rcode.NOERROR,
            DEADLINE_S,
            what=(directory / "log").read_text,
            ignore=(dns.exception.Timeout, OSError),
        )
        yield host, port
    finally:
        process.terminate()
        try:
            process.wait(DEADLINE_S)
        finally:
            process.kill()
            process.wait()


def make(name: str, rtype: str, *, size: int = 0, dnssec_ok: bool = False) -> dns.message.Message:
    owner = f"{name}.{DOMAIN}." if name else f"{DOMAIN}."
    edns = {"use_edns": 0, "payload": size, "want_dnssec": dnssec_ok} if size else {}
    return dns.message.make_query(owner, rtype, flags=0, **edns)  # type: ignore[arg-type]


def ask(address: Address, message: dns.message.Message) -> dns.message.Message:
    return dns.query.udp(message, address[0], port=address[1], timeout=1)


def names_of_the_zone() -> list[str]:
    owners = {line.split()[0] for line in ZONE.splitlines() if line and line[0] not in "$@"}
    above = {owner.partition(".")[2] for owner in owners}
    return sorted(owners | above)


def queries(dice: random.Random) -> Iterator[dns.message.Message]:
    """As many as are asked: names that there are, names next to those, and names that wildcards may cover."""
    known = names_of_the_zone()
    for ident in range(QUERIES):
        match dice.randrange(4):
            case 0 | 1:
                name = dice.choice(known)
            case 2:
                name = f"{dice.choice(LABELS)}.{dice.choice(known)}".rstrip(".")
            case _:
                name = ".".join(dice.choices(LABELS, k=dice.randint(1, 4)))
        if dice.randrange(4) == 0:
            name = "".join(dice.choice((char.lower(), char.upper())) for char in name)
        message = make(
            name, dice.choice(TYPES), size=dice.choice([0, 0, 512, 1232, 4096]), dnssec_ok=dice.random() < 0.1
        )
        message.id = ident
        yield message


def records(section: list[dns.rrset.RRset]) -> frozenset[Record]:
    found: set[Record] = set()
    for rrset in section:
        for rdata in rrset:
            text = rdata.to_text()
            if rrset.rdtype == dns.rdatatype.SOA:
                fields = text.split()
                text = " ".join([*fields[:2], "serial", *fields[3:]])
            found.add((rrset.name.to_text().lower(), int(rrset.rdtype), text.lower(), rrset.ttl))
    return frozenset(found)


def told(reply: dns.message.Message, rtype: int) -> Told:
    authority, additional = records(reply.authority), records(reply.additional)
    if reply.answer:
        authority = frozenset(each for each in authority if each[1] != dns.rdatatype.NS)
    if rtype != dns.rdatatype.NS:
        additional = frozenset(each for each in additional if each[0] != SERVER)
    return Told(
        rcode=int(reply.rcode()),
        is_authoritative=bool(reply.flags & dns.flags.AA),
        has_edns=reply.edns >= 0,
        answer=records(reply.answer),
        authority=authority,
        additional=additional,
    )


def difference(message: dns.message.Message, our_wire: bytes, their_wire: bytes) -> str:
    """What cannot be explained; "" when the two say the same."""
    ours, theirs = dns.message.from_wire(our_wire), dns.message.from_wire(their_wire)
    rtype = message.question[0].rdtype
    mine, other = told(ours, rtype), told(theirs, rtype)
    if rtype == dns.rdatatype.ANY and theirs.answer:
        other = replace(other, answer=other.answer & mine.answer, additional=NONE)
    if (ours.flags | theirs.flags) & dns.flags.TC:
        mine, other = (replace(each, answer=NONE, authority=NONE, additional=NONE) for each in (mine, other))
    if len(our_wire) > SMALL:
        # Whatever is added is true, and is as much as there is room for.
        both = mine.additional & other.additional
        if both in (mine.additional, other.additional):
            mine, other = replace(mine, additional=both), replace(other, additional=both)
    return "" if mine == other else f"{mine} / {other}"


@pytest.mark.parametrize("more", ["", "* A 10.2.3.9\n* MX 7 web"], ids=["", "with a wildcard for the whole domain"])
def test_we_say_what_nsd_says(tmp_path: Path, more: str) -> None:
    unexplained: list[str] = []
    kinds: Counter[str] = Counter()
    with contextlib.ExitStack() as parts:
        both = parts.enter_context(servers(tmp_path, ZONE + more))
        connected = [parts.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in both]
        for sock, address in zip(connected, both, strict=True):
            sock.settimeout(DEADLINE_S)
            sock.connect(address)
        for message in queries(random.Random(SEED)):
            wire = message.to_wire()
            for sock in connected:
                sock.send(wire)
            ours, theirs = (sock.recv(65535) for sock in connected)
            assert ours[:2] == theirs[:2] == wire[:2]
            kinds[dns.rcode.Rcode(ours[3] & 0xF).name + (" cut" if ours[2] & 2 else "")] += 1
            kinds["referral"] += not ours[2] & 4
            found = difference(message, ours, theirs)
            if found:
                unexplained.append(f"{message.question[0]} size {message.payload}: {found}")
    assert unexplained[:10] == []
    # It was no idle comparison.
    assert kinds["NOERROR"] > QUERIES // 2
    assert kinds["NOERROR cut"]
    assert kinds["referral"] > QUERIES // 50
    assert kinds["NXDOMAIN"] > (0 if more else QUERIES // 10)
