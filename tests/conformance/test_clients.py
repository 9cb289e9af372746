"""What the usual clients make of our answers: dig, kdig and drill, over UDP and TCP, against a server on loopback."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncIterator

import dns.flags
import dns.message
import dns.rrset
import pytest
import pytest_asyncio

from tests.unit.dns.world import USUAL, World, record, serving

CLIENTS = ("dig", "kdig", "drill")
TRANSPORTS = ("udp", "tcp")
MANY = 100
_STATUS = re.compile(r"(?:status|rcode): (\w+)", re.IGNORECASE)
_DEADLINE_S = 20.0


class Elsewhere(asyncio.DatagramProtocol):
    """An upstream that knows one name."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        asked = dns.message.from_wire(data)
        reply = dns.message.make_response(asked)
        reply.flags |= dns.flags.RA | dns.flags.AA
        if asked.question[0].rdtype == dns.rdatatype.A:
            reply.answer.append(dns.rrset.from_text(asked.question[0].name, 60, "IN", "A", "192.0.2.80"))
        self.transport.sendto(reply.to_wire(), addr)  # type: ignore[attr-defined]


@pytest_asyncio.fixture
async def port() -> AsyncIterator[int]:
    """The port of a server with the usual names, one with many addresses, and an upstream."""
    many = [record("many", "A", f"10.2.9.{number}") for number in range(MANY)]
    world = World([*USUAL, *many])
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Elsewhere, ("127.0.0.1", 0))
    world.upstreams.replace([transport.get_extra_info("sockname")[:2]])
    async with serving(world) as server:
        yield server.listening[0][1]
    transport.close()


async def run(*command: str) -> str:
    assert shutil.which(command[0]), (
        f"{command[0]} is not installed: apt-get install bind9-dnsutils knot-dnsutils ldnsutils"
    )
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(_DEADLINE_S):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return output.decode()


async def ask(
    client: str, port: int, name: str, rtype: str = "A", *, transport: str = "udp", more: tuple[str, ...] = ()
) -> str:
    match client:
        case "dig" | "kdig":
            over = ("+tcp",) if transport == "tcp" else ()
            once = ("+tries=1", "+time=5") if client == "dig" else ("+retry=0", "+time=5")
            return await run(client, "@127.0.0.1", "-p", str(port), name, rtype, *over, *once, *more)
        case _:
            over = ("-t",) if transport == "tcp" else ("-u",)
            return await run("drill", *over, "-p", str(port), *more, "@127.0.0.1", name, rtype)


def status(output: str) -> str:
    found = _STATUS.search(output)
    assert found, output
    return found[1].upper()


def records(output: str) -> list[str]:
    """The records that a client shows, comments left out."""
    lines = (line.split() for line in output.splitlines() if line and not line.startswith(";"))
    return [" ".join(fields) for fields in lines]


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    ("name", "rtype", "expected"),
    [
        ("redis.weave.local", "A", "redis.weave.local. 1 IN A 10.2.0.1"),
        ("db.weave.local", "AAAA", "db.weave.local. 1 IN AAAA 2001:db8::5"),
        ("1.0.2.10.in-addr.arpa", "PTR", "1.0.2.10.in-addr.arpa. 1 IN PTR redis.weave.local."),
        ("_http._tcp.web.weave.local", "SRV", "_http._tcp.web.weave.local. 1 IN SRV 0 1 80 web.weave.local."),
        ("text.weave.local", "TXT", 'text.weave.local. 1 IN TXT "one" "two"'),
        ("mail.weave.local", "MX", "mail.weave.local. 1 IN MX 10 web.weave.local."),
        ("weave.local", "NS", "weave.local. 1 IN NS weavedns.weave.local."),
        (
            "weave.local",
            "SOA",
            "weave.local. 1 IN SOA weavedns.weave.local. hostmaster.weave.local. 1 3600 600 86400 1",
        ),
        ("redis", "A", "redis. 1 IN A 10.2.0.1"),
        ("localhost", "A", "localhost. 1 IN A 127.0.0.1"),
        ("example.org", "A", "example.org. 60 IN A 192.0.2.80"),
    ],
)
async def test_a_record_is_read_as_it_was_meant(
    client: str, transport: str, name: str, rtype: str, expected: str, port: int
) -> None:
    output = await ask(client, port, name, rtype, transport=transport)
    assert status(output) == "NOERROR"
    assert expected in records(output)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    ("name", "rtype", "expected"),
    [
        ("nope.weave.local", "A", "NXDOMAIN"),
        ("nope", "A", "NXDOMAIN"),
        ("redis.weave.local", "AAAA", "NOERROR"),
        ("project.weave.local", "A", "NOERROR"),
        ("200.0.2.10.in-addr.arpa", "PTR", "NXDOMAIN"),
    ],
)
async def test_what_is_not_there_is_told_with_the_soa(
    client: str, transport: str, name: str, rtype: str, expected: str, port: int
) -> None:
    output = await ask(client, port, name, rtype, transport=transport)
    assert status(output) == expected
    assert re.search(r"SOA weavedns.weave.local. hostmaster.weave.local.", " ".join(output.split()))


@pytest.mark.parametrize("client", CLIENTS)
async def test_more_than_fits_comes_over_tcp(client: str, port: int) -> None:
    # dig and kdig ask again over TCP by themselves; drill is told to.
    output = await ask(client, port, "many.weave.local", transport="tcp" if client == "drill" else "udp")
    assert sum("10.2.9." in line for line in records(output)) == MANY


async def test_a_truncated_reply_holds_whole_records(port: int) -> None:
    output = await ask("dig", port, "many.weave.local", more=("+ignore", "+noedns"))
    assert re.search(r"flags:[a-z ]* tc", output)
    assert sum("10.2.9." in line for line in records(output)) == (512 - 12 - 22) // 16


async def test_what_a_dig_without_options_sends_is_answered(port: int) -> None:
    output = await ask("dig", port, "redis.weave.local")
    assert "EDNS: version: 0, flags:; udp: 1232" in output
    assert re.search(r"flags: qr aa rd ra;", output)
    assert "WARNING: recursion requested but not available" not in output
    assert "Malformed" not in output


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (("+edns=1", "+noednsnegotiation"), "BADVERS"),
        (("+opcode=UPDATE",), "NOTIMP"),
        (("+opcode=NOTIFY",), "NOTIMP"),
        (("+header-only", "+nocookie"), "FORMERR"),
        # With its cookie it is a question for a cookie alone (RFC 7873 section 5.4).
        (("+header-only", "+cookie"), "NOERROR"),
        (("+ednsopt=65001:abcd",), "NOERROR"),
        (("+nsid", "+subnet=192.0.2.0/24"), "NOERROR"),
        (("+dnssec", "+cd"), "NOERROR"),
        (("+noedns",), "NOERROR"),
        (("+bufsize=512",), "NOERROR"),
        (("+norecurse",), "NOERROR"),
        (("+ednsflags=0x4000",), "NOERROR"),
        (("+zflag",), "NOERROR"),
        (("+adflag",), "NOERROR"),
    ],
)
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_dig_finds_us_in_keeping_with_the_standards(
    more: tuple[str, ...], expected: str, transport: str, port: int
) -> None:
    output = await ask("dig", port, "redis.weave.local", transport=transport, more=more)
    assert status(output) == expected
    assert "Malformed" not in output
    assert "extra bytes" not in output


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("version.bind", "CH", "TXT"), "REFUSED"),
        (("redis.weave.local", "TYPE1234"), "NOERROR"),
        (("redis.weave.local", "TYPE65"), "NOERROR"),
        (("redis.weave.local", "ANY", "+notcp"), "NOERROR"),
        (("example.org", "+norecurse"), "REFUSED"),
    ],
)
async def test_unusual_questions_get_an_answer(arguments: tuple[str, ...], expected: str, port: int) -> None:
    output = await run("dig", "@127.0.0.1", "-p", str(port), *arguments, "+tries=1", "+time=5")
    assert status(output) == expected


async def test_a_zone_transfer_is_refused(port: int) -> None:
    output = await run("dig", "@127.0.0.1", "-p", str(port), "weave.local", "AXFR", "+tries=1", "+time=5")
    assert "Transfer failed" in output


async def test_refusals_say_why(port: int) -> None:
    output = await ask("dig", port, "example.org", more=("+norecurse",))
    assert "EDE: 20 (Not Authoritative)" in output


async def test_one_connection_carries_several_questions(port: int) -> None:
    names = ("redis.weave.local", "nope.weave.local", "example.org", "db.weave.local")
    questions = [part for name in names for part in (name, "A")]
    output = await run("dig", "@127.0.0.1", "-p", str(port), "+tcp", "+keepopen", "+tries=1", *questions)
    assert re.findall(r"status: (\w+)", output) == ["NOERROR", "NXDOMAIN", "NOERROR", "NOERROR"]


@pytest.mark.parametrize("client", ["dig", "drill"])
async def test_the_letters_of_a_question_come_back(client: str, port: int) -> None:
    output = await ask(client, port, "ReDiS.wEaVe.LoCaL")
    assert "ReDiS.wEaVe.LoCaL." in output
    assert "10.2.0.1" in output
