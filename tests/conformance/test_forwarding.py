"""The whole daemon in front of real upstream servers, unbound and dnsmasq, all on loopback and high ports."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import dns.edns
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import pytest

DEADLINE_S = 20.0
MANY = 100
TXT_BYTES = 240


@dataclass
class Process:
    """A server that was started, and where it answers."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def stop(self) -> None:
        """Close its port."""
        self.process.kill()
        self.process.wait(DEADLINE_S)

    def pause(self) -> None:
        """Keep the port open and answer nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)


Start = Callable[..., Process]


def free_port() -> int:
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
            udp.bind(("127.0.0.1", 0))
            port = int(udp.getsockname()[1])
            with contextlib.suppress(OSError):
                tcp.bind(("127.0.0.1", port))
                return port


def wait_until(condition: Callable[[], bool], told: Callable[[], str]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, told()
        time.sleep(0.01)


def query(
    port: int, name: str, rtype: str = "A", *, tcp: bool = False, options: tuple[dns.edns.Option, ...] = ()
) -> dns.message.Message:
    message = dns.message.make_query(name, rtype, use_edns=0, payload=1232, options=list(options))
    ask = dns.query.tcp if tcp else dns.query.udp
    return ask(message, "127.0.0.1", port=port, timeout=DEADLINE_S)


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def values(reply: dns.message.Message) -> list[str]:
    return sorted(item.to_text() for rrset in reply.answer for item in rrset)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a server and waits until it answers; all end with the test."""
    started: list[Process] = []

    def begin(command: list[str | Path], port: int) -> Process:
        log = tmp_path / f"log{len(started)}"
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment
            )
        started.append(Process(process, port, log))
        wait_until(lambda: process.poll() is not None or listens(port), log.read_text)
        assert process.poll() is None, log.read_text()
        return started[-1]

    yield begin
    for each in started:
        each.resume()
        each.stop()


@pytest.fixture
def dnsmasq(start: Start) -> Callable[..., Process]:
    def begin(*options: str) -> Process:
        port = free_port()
        command = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--pid-file="]
        command += ["--no-resolv", "--no-hosts", "--bind-interfaces", "--listen-address=127.0.0.1", f"--port={port}"]
        return start([*command, *options], port)

    return begin


@pytest.fixture
def unbound(start: Start, tmp_path: Path) -> Callable[..., Process]:
    def begin(*lines: str) -> Process:
        port = free_port()
        config = tmp_path / f"unbound{port}.conf"
        config.write_text(
            f"server:\ninterface: 127.0.0.1@{port}\naccess-control: 127.0.0.0/8 allow\ndo-daemonize: no\n"
            f'num-threads: 1\nchroot: ""\nusername: ""\ndirectory: "{tmp_path}"\npidfile: ""\nuse-syslog: no\n'
            'module-config: "iterator"\ndo-not-query-localhost: no\nroot-hints: ""\n'
            + "\n".join(lines)
            + "\nremote-control:\ncontrol-enable: no\n"
        )
        return start(["unbound", "-d", "-c", config], port)

    return begin


@dataclass
class Daemon:
    """Our daemon, and its command line."""

    process: Process
    socket: Path

    @property
    def port(self) -> int:
        return self.process.port

    def run(self, *arguments: str) -> str:
        command = [sys.executable, "-c", "from weavedns.cli import main; main()", *arguments]
        environment = os.environ | {
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "WEAVEDNS_SOCKET": str(self.socket),
        }
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=30)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def upstream(self) -> dict[str, object]:
        found = json.loads(self.run("status", "upstream", "--format", "json"))
        assert isinstance(found, dict)
        return found


@pytest.fixture
def daemon(start: Start, tmp_path: Path) -> Callable[..., Daemon]:
    def begin(*options: str, port: int = 0) -> Daemon:
        port = port or free_port()
        control = tmp_path / f"w{port}.sock"
        command = [
            sys.executable,
            "-c",
            "from weavedns.cli import main; main()",
            "launch",
            "--no-network",
            "--no-http",
        ]
        command += ["--listen", f"127.0.0.1:{port}", "--socket", str(control), "--state-dir", str(tmp_path)]
        started = Daemon(start([*command, "--name", "host1", *options], port), control)
        # It listens before it answers, and answers before it takes commands.
        query(port, "ready.weave.local")
        return started

    return begin


# What both kinds of server are given to know.
DNSMASQ = (
    "--auth-zone=example.test",
    "--auth-server=ns.example.test,127.0.0.1",
    "--host-record=www.example.test,192.0.2.80,2001:db8::80",
    "--local=/example.test/",
    "--local-ttl=60",
    "--neg-ttl=30",
    "--cname=alias.example.test,www.example.test",
    *(f"--txt-record=many.example.test,{number:0{TXT_BYTES}}" for number in range(MANY)),
)
UNBOUND = (
    'local-zone: "example.test." static',
    'local-data: "example.test. 300 IN SOA ns.example.test. host.example.test. 1 2 3 4 30"',
    'local-data: "www.example.test. 60 IN A 192.0.2.80"',
    'local-data: "www.example.test. 60 IN AAAA 2001:db8::80"',
    'local-data: "alias.example.test. 60 IN CNAME www.example.test."',
    *(f'local-data: "many.example.test. 60 IN TXT {number:0{TXT_BYTES}}"' for number in range(MANY)),
)


@pytest.fixture(params=["dnsmasq", "unbound"])
def upstream(request: pytest.FixtureRequest) -> Process:
    """A server that knows a few names of example.test."""
    begin = request.getfixturevalue(request.param)
    found = begin(*DNSMASQ[2:]) if request.param == "dnsmasq" else begin(*UNBOUND)
    assert isinstance(found, Process)
    return found


def test_names_of_others_are_answered_as_the_upstream_answers_them(
    upstream: Process, daemon: Callable[..., Daemon]
) -> None:
    ours = daemon("--upstream", f"127.0.0.1:{upstream.port}")
    for name, rtype in [
        ("www.example.test", "A"),
        ("www.example.test", "AAAA"),
        ("wWw.example.TEST", "A"),
        ("alias.example.test", "CNAME"),
        ("absent.example.test", "A"),
        ("www.example.test", "MX"),
        ("many.example.test", "TXT"),
    ]:
        for tcp in (True, False, True):
            theirs, found = (query(port, name, rtype, tcp=tcp) for port in (upstream.port, ours.port))
            assert found.rcode() == theirs.rcode()
            assert found.question == theirs.question
            assert found.question[0].name.to_text() == name + "."
            if not tcp and rtype == "TXT":
                assert found.flags & dns.flags.TC
                assert len(found.to_wire()) <= 1232
            else:
                assert values(found) == values(theirs)
            assert found.flags & dns.flags.RA
            assert not found.flags & dns.flags.AA


def test_the_second_answer_needs_no_upstream(upstream: Process, daemon: Callable[..., Daemon]) -> None:
    ours = daemon("--upstream", f"127.0.0.1:{upstream.port}")
    first = query(ours.port, "www.example.test")
    upstream.stop()
    second = query(ours.port, "www.example.test")
    assert values(second) == values(first) == ["192.0.2.80"]
    assert 0 < second.answer[0].ttl <= first.answer[0].ttl
    assert query(ours.port, "other.example.test").rcode() == dns.rcode.SERVFAIL
    assert ours.run("flush", "example.test").split() == ["1"]
    assert query(ours.port, "www.example.test").rcode() == dns.rcode.SERVFAIL


def test_what_does_not_exist_is_kept_as_long_as_the_soa_says(
    unbound: Callable[..., Process], daemon: Callable[..., Daemon]
) -> None:
    up = unbound(*UNBOUND)
    ours = daemon("--upstream", f"127.0.0.1:{up.port}")
    assert query(ours.port, "absent.example.test").authority[0].ttl == 30
    up.stop()
    again = query(ours.port, "absent.example.test")
    assert again.rcode() == dns.rcode.NXDOMAIN
    assert 0 < again.authority[0].ttl <= 30


def test_a_server_that_falls_silent_or_dies_is_replaced_by_the_other(
    dnsmasq: Callable[..., Process], unbound: Callable[..., Process], daemon: Callable[..., Daemon]
) -> None:
    first, second = unbound(*UNBOUND), dnsmasq(*DNSMASQ[2:])
    ours = daemon("--upstream", f"127.0.0.1:{first.port}", "--upstream", f"127.0.0.1:{second.port}")
    for disturb in (first.pause, first.resume, first.stop):
        disturb()
        ours.run("flush")
        for _ in range(3):
            assert values(query(ours.port, "www.example.test")) == ["192.0.2.80"]
    servers = ours.upstream()["servers"]
    assert isinstance(servers, list)
    assert [row["answered"] > 0 for row in servers] == [True, True]


def test_rules_choose_the_server_by_the_longest_suffix(
    dnsmasq: Callable[..., Process], daemon: Callable[..., Daemon]
) -> None:
    everything, corp, lab = (dnsmasq(f"--address=/#/192.0.2.{number}") for number in (1, 2, 3))
    ours = daemon(
        *("--upstream", f"127.0.0.1:{everything.port}"),
        *("--forward", f"corp.example=127.0.0.1:{corp.port}"),
        *("--forward", f"Lab.Corp.Example.=127.0.0.1:{lab.port},127.0.0.1:{free_port()}"),
    )
    for name, value in [
        ("example.org", "192.0.2.1"),
        ("xcorp.example", "192.0.2.1"),
        ("corp.example", "192.0.2.2"),
        ("a.b.CORP.example", "192.0.2.2"),
        ("www.lab.corp.example", "192.0.2.3"),
    ]:
        assert values(query(ours.port, name)) == [value]


@pytest.mark.parametrize("kind", ["dnsmasq", "unbound"])
def test_a_loop_through_a_real_forwarder_is_noticed_and_told_of_once(
    kind: str, request: pytest.FixtureRequest, daemon: Callable[..., Daemon]
) -> None:
    port = free_port()
    begin = request.getfixturevalue(kind)
    if kind == "dnsmasq":
        up = begin(f"--server=127.0.0.1#{port}")
    else:
        up = begin(f'forward-zone:\nname: "."\nforward-addr: 127.0.0.1@{port}')
    ours = daemon("--upstream", f"127.0.0.1:{up.port}", port=port)
    for number in range(3):
        began = time.monotonic()
        assert query(port, f"n{number}.example.net").rcode() == dns.rcode.SERVFAIL
        assert time.monotonic() - began < 3
    log = ours.process.log.read_text()
    assert log.count("our own queries") == 1
    assert f"127.0.0.1 port {up.port}" in log


def test_a_real_client_gets_a_cookie_it_takes_for_good(daemon: Callable[..., Daemon]) -> None:
    ours = daemon()
    command = ["dig", "@127.0.0.1", "-p", str(ours.port), "+nsid", "+tries=1", "absent.weave.local"]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    assert "(good)" in told
    assert '("host1")' in told


def test_the_query_log_is_switched_while_the_daemon_runs(daemon: Callable[..., Daemon]) -> None:
    ours = daemon("--log-level", "warning")
    query(ours.port, "before.weave.local")
    ours.run("log-queries", "on")
    query(ours.port, "during.weave.local")
    ours.run("log-queries", "off")
    query(ours.port, "after.weave.local")
    lines = [line for line in ours.process.log.read_text().splitlines() if "weave.local A" in line]
    assert len(lines) == 1
    assert "127.0.0.1 udp during.weave.local A: NXDOMAIN, 0 answers, ours" in lines[0]


def test_only_networks_that_are_named_may_ask_or_have_queries_forwarded(
    dnsmasq: Callable[..., Process], daemon: Callable[..., Daemon]
) -> None:
    up = dnsmasq("--address=/#/192.0.2.1")
    ours = daemon("--upstream", f"127.0.0.1:{up.port}", "--allow-query", "192.0.2.0/24", "--allow-forward", "any")
    # Loopback always may.
    assert values(query(ours.port, "example.org")) == ["192.0.2.1"]
    report = ours.upstream()
    assert report["forwarded"] == 1
