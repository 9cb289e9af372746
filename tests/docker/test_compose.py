"""What Docker's own resolver tells a container, ours tells it too: with the real docker-compose, glibc and musl.

Docker's resolver goes on living in each container's network namespace, at 127.0.0.11. So it can be asked beside ours
at any time, and the two must agree.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.docker.test_quick_start import run, wait_for
from tests.lab import Host, wait_until

pytestmark = pytest.mark.docker

DOCKERS, OURS = "127.0.0.11", "10.2.254.1"
SERVICES = """
version: "2.4"
services:
  db:
    image: busybox
    networks:
      default: {aliases: [database, db.internal.example]}
      back: {aliases: [store]}
  web:
    image: busybox
    environment: ["WEAVE_CIDR=net:default"]
    links: ["db:linked"]
  glibc:
    image: glibc
    environment: ["WEAVE_CIDR=net:default"]
  musl:
    image: musl
    hostname: musl.shop.weave.local
    networks: [default, back]
networks:
  default: {}
  back: {}
"""
ASKERS = ("web", "glibc", "musl")


class Project:
    """A Compose project of the services above."""

    def __init__(self, host: Host, name: str, folder: Path) -> None:
        self.host, self.name = host, name
        self._file = folder / "docker-compose.yml"
        self._file.write_text(SERVICES, encoding="utf-8")

    def compose(self, *args: str) -> None:
        self.host.run("docker-compose", "--file", self._file, "--project-name", self.name, *args, timeout_s=120)

    def container(self, service: str, number: int = 1) -> str:
        return f"{self.name}_{service}_{number}"

    def up(self, *args: str) -> None:
        self.compose("up", "--detach", "--timeout", "0", *args)
        for service in ASKERS:
            wait_for_our_resolver(self.host, self.container(service))

    def names(self) -> set[str]:
        """Every name that somebody could have for a container of this project, and names that nobody has."""
        found = {"linked", f"linked.{self.name}_default", "nosuch", f"nosuch.{self.name}_back"}
        listed = self.host.docker(
            "ps", "--quiet", "--filter", f"label=com.docker.compose.project={self.name}"
        ).split()
        for container in listed:
            inspection = self.host.inspect(container)
            for network, settings in inspection["NetworkSettings"]["Networks"].items():
                # What the hostname adds in the domain is ours to answer.
                aliases = {each for each in settings["Aliases"] if not each.endswith("weave.local")}
                for name in {inspection["Name"].lstrip("/"), inspection["Id"][:12], *aliases}:
                    found |= {name, name.upper(), f"{name}.{network}"}
                octets = reversed(settings["IPAddress"].split("."))
                found.add(".".join([*octets, "in-addr.arpa"]))
        return found


@pytest.fixture
def projects(host: Host, tmp_path: Path) -> list[Project]:
    """Two projects with the same services, up."""
    host.load("glibc", "musl")
    host.start_daemon()
    made = []
    for name in ("blog", "shop"):
        folder = tmp_path / name
        folder.mkdir()
        made.append(Project(host, name, folder))
        made[-1].up()
    return made


def wait_for_our_resolver(host: Host, container: str) -> None:
    wait_until(
        lambda: OURS in host.docker("exec", container, "cat", "/etc/resolv.conf"), what=f"{container} to be ours"
    )


def answers(host: Host, container: str, server: str, questions: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Status and data of each answer, as a container hears them from a server."""
    batch = "\n".join(f"{name}. {rtype}" for name, rtype in questions)
    told = host.run(
        *("nsenter", f"--target={host.container_pid(container)}", "--net"),
        *(
            "dig",
            f"@{server}",
            "+noall",
            "+comments",
            "+question",
            "+answer",
            "+time=3",
            "+tries=2",
            "-f",
            "/dev/stdin",
        ),
        stdin=batch + "\n",
    ).stdout
    found: dict[str, str] = {}
    for part in told.split(";; Got answer:")[1:]:
        status = re.search(r"status: (\w+)", part)
        question = re.search(r"^;(\S+)\s+IN\s+(\w+)", part, re.MULTILINE)
        assert status is not None
        assert question is not None
        data = sorted(line.split()[-1].lower() for line in part.splitlines() if line and not line.startswith(";"))
        found[f"{question[1]} {question[2]}"] = f"{status[1]} {' '.join(data)}"
    return found


def fits(theirs: str, ours: str) -> bool:
    """Whether ours is their answer; a name that Docker does not know may be one of the weave domain."""
    status, *data = ours.split()
    of_the_domain = status == "NOERROR" and all(each.startswith("10.2.") for each in data)
    return theirs == ours or (theirs.startswith("NXDOMAIN") and of_the_domain)


def disagreements(project: Project, askers: Iterable[str], more: Iterable[str] = ()) -> dict[str, tuple[str, str]]:
    """Where the two resolvers do not say the same to a container about any name."""
    names = sorted(project.names() | set(more))
    questions = [
        (name, "PTR") if name.endswith("arpa") else (name, rtype) for name in names for rtype in ("A", "AAAA")
    ]
    different: dict[str, tuple[str, str]] = {}
    for asker in askers:
        theirs, ours = (answers(project.host, asker, server, questions) for server in (DOCKERS, OURS))
        assert len(theirs) == len(set(questions)), "Docker's resolver did not answer"
        different |= {
            f"{asker}: {key}": (each, ours[key]) for key, each in theirs.items() if not fits(each, ours[key])
        }
    return different


def wait_for_agreement(project: Project, *askers: str, more: Iterable[str] = ()) -> None:
    asking = askers or [project.container(service) for service in ASKERS]
    seen: list[dict[str, tuple[str, str]]] = [{}]

    def agree() -> bool:
        seen[0] = disagreements(project, asking, more)
        return not seen[0]

    wait_until(agree, what=lambda: json.dumps(seen[0], indent=1))


def resolved(host: Host, container: str, name: str) -> list[set[str]]:
    """The addresses that each C library in a container, glibc or musl, finds."""
    if "glibc" in container:
        asked = [["getent", "ahostsv4", name]]
    else:
        asked = [["lookup", name, "4"], ["lookup-static", name, "4"], ["lookup", name]]
    told = [host.run("docker", "exec", container, *command, check=False).stdout for command in asked]
    return [{line.split()[0] for line in each.splitlines() if line.strip()} for each in told]


def address_of(host: Host, container: str, network: str) -> str:
    return str(host.inspect(container)["NetworkSettings"]["Networks"][network]["IPAddress"])


def test_every_name_of_compose_resolves_to_the_same_addresses_as_before(projects: list[Project]) -> None:
    blog, shop = projects
    for project, other in ((blog, shop), (shop, blog)):
        wait_for_agreement(project, more=other.names())


@pytest.mark.parametrize("service", ["glibc", "musl"])
def test_two_projects_with_a_service_of_one_name_each_get_their_own(projects: list[Project], service: str) -> None:
    host = projects[0].host
    run(host, "--name", "weave-db", "--hostname", "db.weave.local")
    run(host, "--name", "redis", "--hostname", "redis.weave.local")
    run(host, "--name", "near", "--hostname", "near.shop.weave.local")
    wait_for(host, "near.shop.weave.local", *attached_addresses(host, "near"))
    for project in projects:
        asker = project.container(service)
        for name in ("db", "database", f"db.{project.name}_default", project.container("db")):
            # On two networks with it, Docker gives the address on the first of them.
            both = service == "musl" and name in {"db", project.container("db")}
            own = address_of(host, project.container("db"), f"{project.name}_{'back' if both else 'default'}")
            found = resolved(host, asker, name)
            assert found == [{own}] * len(found), name
        for name in ("redis", "redis.weave.local", "db.weave.local"):
            wanted = set(attached_addresses(host, "redis" if "redis" in name else "weave-db"))
            found = resolved(host, asker, name)
            assert found == [wanted] * len(found), name
        assert not any(resolved(host, asker, "nosuch"))
    shop_musl = projects[1].container("musl")
    assert resolved(host, shop_musl, "near") == [set(attached_addresses(host, "near"))] * 3


def test_names_follow_scale_restart_rename_and_down(projects: list[Project]) -> None:
    blog, shop = projects
    host = blog.host
    blog.up("--scale", "db=3")
    wait_for_agreement(blog)
    assert len(answers(host, blog.container("web"), OURS, [("db", "A")])["db. A"].split()) == 4
    blog.up("--scale", "db=1")
    wait_for_agreement(blog, more=[blog.container("db", 2), blog.container("db", 3)])
    blog.compose("restart", "--timeout", "0")
    for service in ASKERS:
        wait_for_our_resolver(host, blog.container(service))
    wait_for_agreement(blog)
    host.docker("rename", blog.container("db"), "renamed")
    wait_for_agreement(blog, more=[blog.container("db"), "renamed", "renamed.blog_default"])
    shop_db = shop.container("db")
    shop.compose("stop", "--timeout", "0", "db")
    wait_for_agreement(shop, more=["db", "database", shop_db, f"{shop_db}.shop_default"])
    shop.compose("start", "db")
    wait_for_agreement(shop)
    blog.compose("down", "--timeout", "0")
    wait_for_agreement(shop, more=["renamed", "web.blog_default"])


def test_names_follow_a_container_from_network_to_network(projects: list[Project]) -> None:
    blog, shop = projects
    host = blog.host
    run(host, "--name", "mover", "--hostname", "mover.weave.local")
    wait_for_our_resolver(host, "mover")
    assert host.run("docker", "exec", "mover", "ping", "-c1", "store", check=False).returncode != 0
    assert "NXDOMAIN" in answers(host, "mover", OURS, [("db", "A")])["db. A"]
    host.docker("network", "connect", "--alias", "guest", "shop_back", "mover")
    wait_until(lambda: "store" in host.run("docker", "exec", "mover", "ping", "-c1", "store", check=False).stdout)
    wait_for_agreement(shop, shop.container("musl"), more=["mover", "guest"])
    wait_until(lambda: "ndots:0" in host.docker("exec", "mover", "cat", "/etc/resolv.conf"), what="Docker's ndots")
    wait_for_our_resolver(host, "mover")
    wait_for_agreement(shop, "mover", more=[*blog.names(), "mover", "guest"])
    host.docker("network", "connect", "--link", f"{blog.container('db')}:mine", "blog_default", "mover")
    wait_for_our_resolver(host, "mover")
    wait_for_agreement(shop, "mover", more=[*blog.names(), "mine"])
    host.docker("network", "disconnect", "shop_back", "mover")
    wait_for_agreement(blog, "mover", more=[*shop.names(), "mine"])
    wait_for_agreement(shop, shop.container("musl"), more=["mover", "guest"])


def test_a_daemon_that_returns_knows_all_names_before_it_answers(projects: list[Project]) -> None:
    blog, shop = projects
    blog.host.kill_daemon()
    blog.up("--scale", "db=2", "--no-recreate")
    shop.compose("stop", "--timeout", "0", "db")
    blog.host.start_daemon()
    for project in projects:
        assert disagreements(project, [project.container(service) for service in ASKERS]) == {}


def test_a_container_of_the_weave_network_that_is_not_known_here_is_told_nothing_of_short_names(host: Host) -> None:
    host.start_daemon()
    run(host, "--name", "redis", "--hostname", "redis.weave.local")
    wait_for(host, "redis.weave.local", "10.2.0.1")
    host.run("ip", "address", "add", "10.2.99.99/16", "dev", "weave")

    def ask(name: str) -> str:
        return host.run("dig", "-b", "10.2.99.99", f"@{OURS}", name, check=False).stdout

    assert "SERVFAIL" in ask("redis.")
    assert "EDE: 14" in ask("nosuch.")
    assert "10.2.0.1" in ask("redis.weave.local.")
    assert "NXDOMAIN" in host.run("dig", f"@{OURS}", "nosuch.").stdout


def attached_addresses(host: Host, container: str) -> list[str]:
    """The weave addresses of a container once it has some."""

    def found() -> list[str]:
        lines = host.run("weavenet", "ps", "--format", "json").stdout.splitlines()
        rows = [row for row in map(json.loads, lines) if row["name"] == container]
        return [address.partition("/")[0] for row in rows for address in row["addresses"]]

    return wait_until(found, what=f"the address of {container}")
