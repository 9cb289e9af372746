"""README's lines for several hosts, word for word, each on the host that its prompt names."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.docker.hosts import own_address
from tests.lab import Host, Lab, wait_until

pytestmark = pytest.mark.docker

ROOT = Path(__file__).parents[2]
SECTION = re.compile(r"^## Several hosts$(.*?)^## ", re.MULTILINE | re.DOTALL)
LINE = re.compile(r"^    (?P<host>host\d)# (?P<command>[^#\n]+?)(?: +# (?P<comment>.+))?$", re.MULTILINE)
ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+")
# What may be asked again until it is so: names spread within milliseconds, not at once.
QUESTIONS = ("dig ", "docker exec ", "weavedns lookup ", "weavedns status ")


@dataclass(frozen=True, slots=True)
class Line:
    """One line as a reader types it; `says` is the address that its comment promises, or nothing."""

    host: str
    command: str
    says: str


def readme_lines() -> list[Line]:
    section = SECTION.search((ROOT / "README.md").read_text(encoding="utf-8"))
    assert section
    return [
        Line(found["host"], found["command"], (ADDRESS.match(found["comment"] or "") or [""])[0])
        for found in LINE.finditer(section[1])
    ]


@pytest.fixture
def hosts() -> Iterator[dict[str, Host]]:
    """Hosts that know each other as the README calls them, and have its images, without a registry."""
    with Lab(hosts=3) as lab:
        named = {f"host{number}": host for number, host in enumerate(lab.hosts, 1)}
        for host in named.values():
            with (host.directory / "etc" / "hosts").open("a", encoding="ascii") as file:
                file.writelines(f"{other.address} {name}\n" for name, other in named.items())
            for image in ("redis", "alpine"):
                host.docker("tag", "busybox", image)
        yield named


def follow(host: Host, line: Line) -> None:
    command = shlex.split(line.command)
    if command[:2] == ["weavedns", "launch"]:
        host.start_daemon(*command[2:])
        # Nobody types the next line before this server has its address: the addresses go by who came first.
        wait_until(lambda: own_address(host) != "None", 30.0, what=f"{line.host}# {line.command}: a DNS address")
    elif line.command.startswith(QUESTIONS):
        said = ""

        def comes_true() -> bool:
            nonlocal said
            done = host.run(*command, check=False)
            said = done.stdout + done.stderr
            return done.returncode == 0 and (not line.says or done.stdout.split() == [line.says])

        wait_until(comes_true, 15.0, what=lambda: f"{line.host}# {line.command}  # {line.says}, it says {said}")
    else:
        host.run(*command, timeout_s=60)


def test_the_several_hosts_of_the_readme_do_what_it_says(hosts: dict[str, Host]) -> None:
    lines = readme_lines()
    assert {line.host for line in lines} == set(hosts)
    assert {line.says for line in lines} == {"", "10.2.0.1", "192.0.2.10"}
    for line in lines:
        follow(hosts[line.host], line)

    one, two, three = hosts.values()
    assert one.run("weavedns", "lookup", "db", check=False).returncode == 1
    listed = two.run("weavedns", "status", "peers").stdout
    assert re.findall(r"(h\d) at .*: connected", listed) == ["h1", "h3"]
    assert re.findall(r"(h\d) owns \d+", two.run("weavedns", "status", "ipam").stdout) == ["h1", "h2", "h3"]
    assert len(three.run("weavedns", "lookup", "weavedns").stdout.split()) == 3
