"""What resolvers of many makes make of our answers, each on a host whose resolv.conf names a daemon."""

from __future__ import annotations

import ipaddress
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conformance.served import HUGE, MANY, ZONE
from tests.lab import Host, Lab, wait_until
from tests.lab.sandbox import LabError

pytestmark = pytest.mark.linux

ROOT = Path(__file__).parents[2]
DIALED = 20
RESOLV_CONF = "nameserver {}\nsearch weave.local\n"
# The addresses of these names are this host's own: who resolves them only to connect can do so.
DIALED_ZONE = "\n".join(["dial A 127.0.2.99", *(f"dialmany A 127.0.2.{number + 1}" for number in range(MANY))])
# Another server has a part of the domain.
CHILD = "127.0.9.53"
HANDED_ZONE = f"child NS ns.child\nns.child A {CHILD}\ninto CNAME host.child"
CHILD_ZONE = "\n".join(["ns A 127.0.9.53", "host A 10.2.6.1", *(f"many A 10.2.6.{n}" for n in range(100))])
RESOLVED_USER = "systemd-resolve:x:990:990::/:/usr/sbin/nologin\n"
RESOLVED_GROUP = "systemd-resolve:x:990:\n"
RESOLVED_CONF = """[Resolve]
DNS=127.0.0.1
Domains=weave.local ~.
LLMNR=no
MulticastDNS=no
DNSSEC=no
Cache=no
"""
# Says what c-ares finds; it reads resolv.conf as glibc does, and asks by itself.
C_ARES = """
import json, socket, sys
import pycares
found = {}
def done(result, error):
    found["error"] = error
    found["addresses"] = [] if error else [node.addr[0].decode() for node in result.nodes]
channel = pycares.Channel()
family = socket.AF_INET6 if sys.argv[2] == "6" else socket.AF_INET
channel.getaddrinfo(sys.argv[1], None, family=family, callback=done)
channel.wait(20)
print(json.dumps(found))
channel.close()
"""
# Accepts one connection to an address and port, and says so.
LISTENER = """
import socket, sys
with socket.create_server((sys.argv[1], 2375)) as server:
    print("ready", flush=True)
    server.settimeout(20)
    server.accept()[0].close()
    print("connected", flush=True)
"""

Resolve = Callable[[Host, str, int], list[str]]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host with a daemon and no engine."""
    zone = tmp_path_factory.mktemp("zones") / "names.zone"
    zone.write_text(f"{ZONE}\n{DIALED_ZONE}\n{HANDED_ZONE}\n")
    child_zone = zone.with_name("child.zone")
    child_zone.write_text(CHILD_ZONE + "\n")
    with Lab(engine=False) as lab:
        (made,) = lab.hosts
        listen = ("--listen", "127.0.0.1:53", "--upstream", lab.upstream.address)
        made.start_daemon("--no-network", "--no-http", *listen, "--zones", str(zone))
        (made.directory / "etc/resolv.conf").write_text(RESOLV_CONF.format("127.0.0.1"))
        wait_until(lambda: made.dig("ready.weave.local", server="127.0.0.1") == ["10.2.0.9"])
        made.run("weavedns", "log-queries", "on")
        child = made.popen(
            *("weavedns", "launch", "--no-network", "--no-http", "--name", "child", "--domain", "child.weave.local"),
            *("--listen", f"{CHILD}:53", "--socket", "/run/child.sock", "--state-dir", made.directory / "child"),
            *("--zones", child_zone),
            log="child",
        )
        wait_until(
            lambda: child.poll() is None and made.dig("ns.child.weave.local", server=CHILD) == [CHILD],
            what=lambda: made.log("child"),
            ignore=(LabError,),
        )
        yield made
        child.terminate()
        child.wait(20)
        daemon = made.daemon
        assert daemon
        assert "Traceback" not in daemon.log


def addresses_in(text: str) -> list[str]:
    """The words of a text that are addresses, each once."""
    found = set()
    for word in text.split():
        try:
            found.add(str(ipaddress.ip_address(word)))
        except ValueError:
            continue
    return sorted(found)


# Resolvers of programs: they read resolv.conf, try its domain, and ask again over TCP.


def glibc(*options: str) -> Resolve:
    def resolve(host: Host, name: str, family: int) -> list[str]:
        asked = host.run("getent", f"ahostsv{family}", name, check=False, env={"RES_OPTIONS": " ".join(options)})
        assert asked.returncode in {0, 2}, asked.stderr
        # It makes IPv6 addresses of IPv4 ones where there are no others.
        return [each for each in addresses_in(asked.stdout) if not each.startswith("::ffff:")]

    return resolve


def c_ares(host: Host, name: str, family: int) -> list[str]:
    found = json.loads(host.run(sys.executable, "-c", C_ARES, name, str(family)).stdout)
    # No such data, and no such name.
    assert found["error"] in {None, 0, 1, 4}
    return sorted(set(found["addresses"]))


def dig(host: Host, name: str, family: int) -> list[str]:
    return addresses_in(host.run("dig", "+search", "+short", name, "AAAA" if family == 6 else "A").stdout)


def host_(host: Host, name: str, family: int) -> list[str]:
    asked = host.run("host", "-t", "AAAA" if family == 6 else "A", name, check=False)
    return addresses_in(asked.stdout)


def nslookup(host: Host, name: str, family: int) -> list[str]:
    asked = host.run("nslookup", f"-type={'AAAA' if family == 6 else 'A'}", name, check=False)
    return addresses_in(asked.stdout.partition("\n\n")[2])


WHOLE: dict[str, Resolve] = {
    "glibc": glibc(),
    "glibc edns0": glibc("edns0"),
    "glibc use-vc": glibc("use-vc"),
    "glibc single-request": glibc("single-request"),
    "glibc single-request-reopen": glibc("single-request-reopen", "rotate"),
    "glibc trust-ad": glibc("trust-ad", "edns0"),
    "glibc ndots:5": glibc("ndots:5"),
    "c-ares": c_ares,
    "dig": dig,
    "host": host_,
    "nslookup": nslookup,
}
# These look for a name with a dot as it is, and nowhere else.
LITERAL = frozenset({"dig", "host", "nslookup"})
RELATIVE = frozenset({"app.project", "host.child"})


CASES: list[tuple[str, int, list[str]]] = [
    ("redis.weave.local", 4, ["10.2.0.1"]),
    ("redis.weave.local.", 4, ["10.2.0.1"]),
    ("ReDis.Weave.Local", 4, ["10.2.0.1"]),
    ("redis", 4, ["10.2.0.1"]),
    ("app.project", 4, ["10.2.0.7"]),
    ("web", 4, ["10.2.0.2", "10.2.0.3", "10.2.0.4"]),
    ("db", 6, ["2001:db8::5"]),
    ("db.weave.local", 4, ["10.2.0.5"]),
    ("redis.weave.local", 6, []),
    ("absent.weave.local", 4, []),
    ("absent.weave.local", 6, []),
    ("absent", 4, []),
    ("project.weave.local", 4, []),
    ("many.weave.local", 4, sorted(f"10.2.8.{number}" for number in range(MANY))),
    ("many", 4, sorted(f"10.2.8.{number}" for number in range(MANY))),
    ("huge.weave.local", 4, sorted(f"10.2.9.{number}" for number in range(HUGE))),
    ("host.child.weave.local", 4, ["10.2.6.1"]),
    ("host.child", 4, ["10.2.6.1"]),
    ("into", 4, ["10.2.6.1"]),
    ("absent.child.weave.local", 4, []),
    ("many.child.weave.local", 4, sorted(f"10.2.6.{number}" for number in range(100))),
    ("example.test", 4, ["192.0.2.80"]),
    ("example.test", 6, ["2001:db8::80"]),
    ("alias.example.test", 4, ["192.0.2.80"]),
    ("absent.test", 4, []),
    ("many.example.test", 4, sorted(f"198.51.100.{number}" for number in range(1, 101))),
]


@pytest.mark.parametrize(("name", "family", "expected"), CASES)
@pytest.mark.parametrize("client", WHOLE)
def test_names_resolve_for_every_maker_of_resolvers(
    host: Host, client: str, name: str, family: int, expected: list[str]
) -> None:
    missed = client in LITERAL and name in RELATIVE
    assert WHOLE[client](host, name, family) == ([] if missed else expected)


@pytest.mark.parametrize("client", ["c-ares", "glibc", "dig"])
def test_what_does_not_fit_is_asked_again_over_tcp(host: Host, client: str) -> None:
    before = len(log_of(host))
    WHOLE[client](host, "huge.weave.local", 4)
    asked = [line.partition(" huge.weave.local A: ")[0].split()[-1] for line in log_of(host)[before:]]
    # Some ask twice.
    assert asked in (["udp", "tcp"], ["udp", "tcp"] * 2)


def log_of(host: Host) -> list[str]:
    assert host.daemon
    return host.daemon.log.splitlines()


def test_addresses_have_names(host: Host) -> None:
    assert host.run("getent", "hosts", "10.2.0.5").stdout.split() == ["10.2.0.5", "db.weave.local"]
    assert "db.weave.local." in host.run("host", "10.2.0.5").stdout
    assert host.run("getent", "hosts", "10.2.0.250", check=False).returncode == 2


# musl


@pytest.fixture(scope="module")
def musl(tmp_path_factory: pytest.TempPathFactory) -> Resolve:
    program = tmp_path_factory.mktemp("musl") / "lookup"
    source = ROOT / "tests/lab/lookup.c"
    subprocess.run(["musl-gcc", "-O2", "-static", "-o", program, source], check=True, timeout=60)

    def resolve(host: Host, name: str, family: int) -> list[str]:
        asked = host.run(program, name, str(family), check=False)
        assert asked.returncode == 0 or asked.stderr.endswith(
            ("Name does not resolve\n", "Name has no usable address\n", "does not exist\n")
        ), asked.stderr
        return addresses_in(asked.stdout)

    return resolve


@pytest.mark.parametrize(("name", "family", "expected"), [case for case in CASES if len(case[2]) < MANY])
def test_names_resolve_with_musl(host: Host, musl: Resolve, name: str, family: int, expected: list[str]) -> None:
    # musl takes what is in resolv.conf as it is: a name with a dot is not tried in the domain.
    assert musl(host, name, family) == ([] if name in RELATIVE else expected)


def test_musl_that_knows_no_tcp_has_the_addresses_that_fit(host: Host, musl: Resolve) -> None:
    # Until 1.2.4 it takes a truncated answer for what it holds; later ones ask again, for 48 addresses at most.
    found = musl(host, "many.weave.local", 4)
    assert len(found) in {(512 - 12 - 22) // 16, MANY}
    assert set(found) <= {f"10.2.8.{number}" for number in range(MANY)}


# Go's own resolver, as every Go program carries it: the docker command, told to use it.


def dial(host: Host, name: str) -> str:
    asked = host.run(
        *("docker", "--host", f"tcp://{name}:2375", "version"),
        check=False,
        env={"GODEBUG": "netdns=go+2"},
        timeout_s=30,
    )
    assert "= files,dns" in asked.stderr
    return asked.stderr


def connected(host: Host, name: str, address: str) -> bool:
    """Whether a Go program reaches this address, where somebody listens, by that name."""
    with host.popen(sys.executable, "-c", LISTENER, address, stdout=subprocess.PIPE) as listener:
        assert listener.stdout
        try:
            assert listener.stdout.readline() == "ready\n"
            dial(host, name)
        finally:
            if listener.poll() is None:
                listener.terminate()
        return "connected" in listener.stdout.read()


@pytest.mark.parametrize("name", ["dial.weave.local", "dial", "DIAL.weave.local."])
def test_go_resolves_full_and_short_names(host: Host, name: str) -> None:
    assert connected(host, name, "127.0.2.99")


def test_go_asks_over_tcp_for_what_does_not_fit(host: Host) -> None:
    before = len(log_of(host))
    # Whichever of the forty listens is reached, the last one as well.
    for number in (1, DIALED, MANY):
        assert connected(host, "dialmany.weave.local", f"127.0.2.{number}")
    asked = [line for line in log_of(host)[before:] if "tcp dialmany.weave.local A: NOERROR, 40 answers" in line]
    told = [line for line in log_of(host)[before:] if "dialmany.weave.local A:" in line]
    # It asks with room for 1232 bytes or for 512, by its version.
    assert asked or all("NOERROR, 40 answers" in line for line in told), told


@pytest.mark.parametrize("name", ["absent.weave.local", "absent"])
def test_go_says_that_there_is_no_such_host(host: Host, name: str) -> None:
    assert "no such host" in dial(host, name)


# Programs that ask one server for a full name


def kdig(host: Host, name: str, rtype: str) -> str:
    return host.run("kdig", "@127.0.0.1", name, rtype).stdout


def drill(host: Host, name: str, rtype: str) -> str:
    told = host.run("drill", "@127.0.0.1", name, rtype).stdout
    return "\n".join(line for line in told.splitlines() if "SERVER:" not in line)


def delv(host: Host, name: str, rtype: str) -> str:
    asked = host.run("delv", "@127.0.0.1", "-i", name, rtype, check=False)
    return asked.stdout + asked.stderr


def busybox(host: Host, name: str, rtype: str) -> str:
    told = host.run("busybox", "nslookup", f"-type={rtype}", name, "127.0.0.1", check=False).stdout
    return told.partition("\n\n")[2]


DIRECT = {"kdig": kdig, "drill": drill, "delv": delv, "busybox nslookup": busybox}


@pytest.mark.parametrize("ask", DIRECT.values(), ids=list(DIRECT))
def test_full_names_resolve_for_programs_that_ask_a_server(host: Host, ask: Callable[[Host, str, str], str]) -> None:
    assert addresses_in(ask(host, "redis.weave.local", "A")) == ["10.2.0.1"]
    assert addresses_in(ask(host, "db.weave.local", "AAAA")) == ["2001:db8::5"]
    assert "redis.weave.local" in ask(host, "1.0.2.10.in-addr.arpa", "PTR")
    assert addresses_in(ask(host, "example.test", "A")) == ["192.0.2.80"]
    assert addresses_in(ask(host, "absent.weave.local", "A")) == []
    assert "NXDOMAIN" in ask(host, "absent.weave.local", "A").upper() or ask is delv or ask is busybox


@pytest.mark.parametrize("ask", [kdig, delv])
def test_programs_that_ask_a_server_go_on_over_tcp(host: Host, ask: Callable[[Host, str, str], str]) -> None:
    assert len(addresses_in(ask(host, "huge.weave.local", "A"))) == HUGE
    assert ask(host, "texts.weave.local", "TXT").count("0000") >= 150


def test_delv_takes_our_names_for_unsigned_and_no_worse(host: Host) -> None:
    assert "ncache nxrrset" in delv(host, "redis.weave.local", "MX")
    assert "ncache nxdomain" in delv(host, "absent.weave.local", "A")
    assert "resolution failed: timed out" not in delv(host, "redis.weave.local", "DNSKEY")


# systemd-resolved between programs and the daemon


@pytest.fixture(scope="module")
def resolved(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """The host with systemd-resolved at 127.0.0.53, which needs neither systemd nor D-Bus to serve programs."""
    program, environment = _systemd_resolved(tmp_path_factory.mktemp("resolved"))
    etc = host.directory / "etc"
    for name, line in (("passwd", RESOLVED_USER), ("group", RESOLVED_GROUP)):
        if "systemd-resolve:" not in (etc / name).read_text():
            with (etc / name).open("a") as file:
                file.write(line)
    (etc / "systemd").mkdir(exist_ok=True)
    (etc / "systemd/resolved.conf").write_text(RESOLVED_CONF)
    host.run("mkdir", "-p", "/run/systemd")
    process = host.popen(program, log="resolved", env={"SYSTEMD_LOG_TARGET": "console", **environment})

    def answers() -> bool:
        if process.poll() is not None:
            raise LabError(host.log("resolved"))
        return host.dig("ready.weave.local", server="127.0.0.53") == ["10.2.0.9"]

    wait_until(answers, ignore=(LabError,), what=lambda: host.log("resolved"))
    (etc / "resolv.conf").write_text(RESOLV_CONF.format("127.0.0.53") + "options edns0 trust-ad\n")
    yield host
    (etc / "resolv.conf").write_text(RESOLV_CONF.format("127.0.0.1"))
    process.terminate()
    process.wait(20)


def _systemd_resolved(scratch: Path) -> tuple[Path, dict[str, str]]:
    """The program: this machine's, or from the package, which must not be installed: it takes over resolv.conf."""
    for folder in (Path("/lib/systemd"), Path("/usr/lib/systemd")):
        if (folder / "systemd-resolved").exists():
            return folder / "systemd-resolved", {}
    # As nobody else may read this folder, apt would warn that it goes on as root.
    fetch = ("apt-get", "-q", "-o", "APT::Sandbox::User=root")
    packages = ("download", "systemd-resolved", "libsystemd-shared", "libkmod2")
    if subprocess.run([*fetch, *packages], cwd=scratch, check=False, timeout=120, capture_output=True).returncode:
        subprocess.run([*fetch, "update"], check=False, timeout=120, capture_output=True)
        subprocess.run([*fetch, *packages], cwd=scratch, check=True, timeout=120, capture_output=True)
    for package in scratch.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", package, scratch / "root"], check=True, timeout=60)
    libraries = {str(library.parent) for library in (scratch / "root").glob("**/*.so*")}
    return scratch / "root/lib/systemd/systemd-resolved", {"LD_LIBRARY_PATH": ":".join(sorted(libraries))}


@pytest.mark.parametrize(("name", "family", "expected"), CASES)
def test_names_resolve_through_systemd_resolved(resolved: Host, name: str, family: int, expected: list[str]) -> None:
    assert glibc()(resolved, name, family) == expected


def test_systemd_resolved_gives_records_on_whole(resolved: Host) -> None:
    told = resolved.run("dig", "@127.0.0.53", "+short", "text.weave.local", "TXT").stdout
    assert told == '"one" "two"\n'
    assert resolved.dig("-x", "10.2.0.5", server="127.0.0.53") == ["db.weave.local."]
    assert "NXDOMAIN" in resolved.run("dig", "@127.0.0.53", "absent.weave.local").stdout
    log = resolved.log("resolved")
    # It would ask with less and less if it did not trust the answers.
    assert "degraded" not in log
