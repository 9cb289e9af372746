"""Who finds whom by the names of Docker's networks."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, ip_address
from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weavedns.containers.memberships import Membership
from weavedns.containers.neighbours import Neighbours
from weavedns.records import names
from weavedns.records.record import RecordType

WEAVE, HOSTS = IPv4Network("10.2.0.0/16"), IPv4Network("10.2.254.0/24")


def wire(text: str) -> bytes:
    return names.parse(text + ".")


def packed(address: str) -> bytes:
    return ip_address(address).packed


def on(network: str, address: str, *known_as: str, links: dict[str, str] | None = None) -> Membership:
    pairs = tuple((wire(alias), wire(target)) for alias, target in (links or {}).items())
    addresses = tuple(packed(each) for each in address.split())
    return Membership(f"id of {network}", wire(network), addresses, tuple(map(wire, known_as)), pairs)


@pytest.fixture
def table() -> Neighbours:
    """Two Compose projects with a `db` each, and a container that is on both of their networks."""
    made = Neighbours(WEAVE, HOSTS)
    for number, project in enumerate(("blog", "shop"), start=1):
        net = f"{project}_default"
        made.update(f"{project}-db", [on(net, f"172.1{number}.0.2", f"{project}_db_1", "db")], weave_addresses=[])
        made.update(
            f"{project}-web",
            [on(net, f"172.1{number}.0.3", f"{project}_web_1", "web", links={"database": f"{project}_db_1"})],
            weave_addresses=[packed(f"10.2.0.{number}")],
        )
    made.update(
        "both",
        [on("blog_default", "172.11.0.9", "both"), on("shop_default", "172.12.0.9", "both")],
        weave_addresses=[packed("10.2.0.9")],
    )
    made.update("plain", [Membership("bridge", b"", (packed("172.17.0.2"),))], weave_addresses=[packed("10.2.0.7")])
    return made


def ask(table: Neighbours, asker: str, name: str, rtype: RecordType = RecordType.A) -> list[str] | None:
    data = table.find(packed(asker), wire(name))
    if data is None:
        return None
    assert wire(name) in table.names
    found = data.get(rtype, [])
    return [names.render(each) if rtype == RecordType.PTR else str(ip_address(each)) for each in found]


@pytest.mark.parametrize(
    ("asker", "name", "addresses"),
    [
        ("10.2.0.1", "db", ["172.11.0.2"]),
        ("10.2.0.2", "db", ["172.12.0.2"]),
        ("172.12.0.3", "db", ["172.12.0.2"]),
        ("10.2.0.2", "shop_db_1", ["172.12.0.2"]),
        ("10.2.0.2", "shop_db_1.shop_default", ["172.12.0.2"]),
        ("10.2.0.2", "db.shop_default", ["172.12.0.2"]),
        ("10.2.0.2", "web", ["172.12.0.3"]),
        ("10.2.0.2", "blog_db_1", None),
        ("10.2.0.2", "db.blog_default", None),
        ("10.2.0.2", "nosuch", None),
        ("10.2.0.2", "shop_default", None),
        ("10.2.0.9", "db", ["172.11.0.2"]),
        ("10.2.0.9", "db.shop_default", ["172.12.0.2"]),
        ("10.2.0.7", "db", None),
        ("10.2.0.99", "db", None),
        ("192.0.2.1", "db", None),
    ],
)
def test_a_container_finds_its_own_neighbours_and_no_others(
    table: Neighbours, asker: str, name: str, addresses: list[str] | None
) -> None:
    assert ask(table, asker, name) == addresses


def test_a_link_is_a_name_for_that_container_alone(table: Neighbours) -> None:
    assert ask(table, "10.2.0.2", "database") == ["172.12.0.2"]
    assert ask(table, "10.2.0.2", "database.shop_default") == ["172.12.0.2"]
    assert ask(table, "10.2.0.9", "database") is None


def test_a_link_beats_the_name_of_somebody_else(table: Neighbours) -> None:
    links = {"web": "shop_db_1", "gone": "nobody"}
    table.update("linked", [on("shop_default", "172.12.0.5", "linked", links=links)])
    assert ask(table, "172.12.0.5", "web") == ["172.12.0.2"]
    assert ask(table, "172.12.0.5", "gone") is None


def test_a_link_on_one_network_beats_a_name_on_another() -> None:
    table = Neighbours(WEAVE, HOSTS)
    table.update(
        "linked", [on("a", "172.1.0.1", "one", links={"x": "x"}), on("b", "172.2.0.1", "one", links={"y": "z"})]
    )
    table.update("other", [on("a", "172.1.0.2", "y"), on("b", "172.2.0.2", "z")])
    assert ask(table, "172.1.0.1", "y") == ["172.2.0.2"]
    table.update("other", [on("a", "172.1.0.2", "y")])
    assert ask(table, "172.1.0.1", "y") == ["172.1.0.2"]


def test_a_link_that_leads_nowhere_hides_the_name_on_its_network() -> None:
    table = Neighbours(WEAVE, HOSTS)
    table.update("linked", [on("a", "172.1.0.1", "one", links={"x": "gone"})])
    table.update("other", [on("a", "172.1.0.2", "x")])
    assert ask(table, "172.1.0.1", "x") is None
    assert ask(table, "172.1.0.2", "x") == ["172.1.0.2"]


def test_of_two_ways_to_cut_a_name_the_one_with_the_shorter_network_counts() -> None:
    table = Neighbours(WEAVE, HOSTS)
    table.update("one", [on("a.n", "172.1.0.1", "x"), on("n", "172.2.0.1", "x.a")])
    assert ask(table, "172.1.0.1", "x.a.n") == ["172.2.0.1"]


def test_all_instances_of_a_service_are_given_in_the_order_in_which_they_came(table: Neighbours) -> None:
    table.update("shop-db-2", [on("shop_default", "172.12.0.20", "shop_db_2", "db")])
    assert ask(table, "10.2.0.2", "db") == ["172.12.0.2", "172.12.0.20"]
    table.remove("shop-db")
    assert ask(table, "10.2.0.2", "db") == ["172.12.0.20"]


def test_a_name_without_an_ipv6_address_exists_all_the_same(table: Neighbours) -> None:
    assert ask(table, "10.2.0.2", "db", RecordType.AAAA) == []
    table.update("six", [on("shop_default", "172.12.0.30 fd00::30", "six")])
    assert ask(table, "10.2.0.2", "six", RecordType.AAAA) == ["fd00::30"]
    assert ask(table, "10.2.0.2", "six") == ["172.12.0.30"]


def test_an_address_has_the_containers_name_and_the_networks(table: Neighbours) -> None:
    reverse = "2.0.12.172.in-addr.arpa"
    assert ask(table, "10.2.0.2", reverse, RecordType.PTR) == ["shop_db_1.shop_default"]
    assert ask(table, "10.2.0.1", reverse, RecordType.PTR) is None
    assert ask(table, "10.2.0.7", "2.0.17.172.in-addr.arpa", RecordType.PTR) is None


def test_names_and_networks_may_have_dots(table: Neighbours) -> None:
    table.update("dots", [on("net.work", "172.13.0.2", "a.b"), on("work", "172.14.0.2", "x", "a.net")])
    assert ask(table, "172.13.0.2", "a.b") == ["172.13.0.2"]
    assert ask(table, "172.13.0.2", "a.b.net.work") == ["172.13.0.2"]
    assert ask(table, "172.13.0.2", "a.net.work") == ["172.14.0.2"]
    assert ask(table, "172.13.0.2", "x.net.work") is None


def test_moving_to_another_network_and_being_renamed_take_effect_at_once(table: Neighbours) -> None:
    table.update("shop-db", [on("blog_default", "172.11.0.50", "moved", "db")])
    assert ask(table, "10.2.0.2", "db") is None
    assert ask(table, "10.2.0.2", "shop_db_1") is None
    assert ask(table, "10.2.0.1", "db") == ["172.11.0.2", "172.11.0.50"]
    assert ask(table, "10.2.0.1", "moved") == ["172.11.0.50"]


def test_an_address_that_two_containers_have_tells_nobodys_names(table: Neighbours) -> None:
    table.update("twin", [on("elsewhere", "172.12.0.3", "twin")])
    assert ask(table, "172.12.0.3", "db") is None
    table.remove("twin")
    assert ask(table, "172.12.0.3", "db") == ["172.12.0.2"]


@pytest.mark.parametrize(
    ("asker", "stranger"),
    [
        ("10.2.0.2", False),
        ("10.2.0.7", False),
        ("10.2.0.99", True),
        ("10.2.254.1", False),
        ("10.2.254.2", False),
        ("192.0.2.1", False),
        ("127.0.0.1", False),
        ("fd00::1", False),
    ],
)
def test_a_stranger_is_a_container_of_the_weave_network_that_is_not_known_here(
    table: Neighbours, asker: str, stranger: bool
) -> None:
    assert table.is_stranger(packed(asker)) is stranger


def test_an_asker_without_an_address_is_nobody(table: Neighbours) -> None:
    assert not table.is_stranger(b"")
    assert table.find(b"", wire("db")) is None
    assert table.subdomain_of(b"") is None


def test_the_subdomain_of_a_container_is_remembered(table: Neighbours) -> None:
    table.update("plain", [], weave_addresses=[packed("10.2.0.7")], subdomain=wire("shop.weave.local"))
    assert table.subdomain_of(packed("10.2.0.7")) == wire("shop.weave.local")
    assert table.subdomain_of(packed("10.2.0.1")) is None


# A model in plain text, of what Docker's resolver does: for each way to cut the name, links and then names.


@dataclass(frozen=True)
class Place:
    network: str
    address: str
    names: tuple[str, ...]
    links: tuple[tuple[str, str], ...]

    def membership(self) -> Membership:
        return on(self.network, self.address, *self.names, links=dict(self.links))


Model = dict[str, tuple[Place, ...]]

NAMES = st.sampled_from(["a", "b", "n", "a.b", "b.n", "b.a"])
NETWORKS = ["n", "m", "a.n"]


QUESTIONS = [
    name + end for name in ("a", "b", "n", "a.b", "b.n", "b.a") for end in ("", *(f".{n}" for n in NETWORKS))
]


@st.composite
def places(draw: st.DrawFn) -> tuple[Place, ...]:
    networks = sorted(draw(st.sets(st.sampled_from(NETWORKS), max_size=3)))
    return tuple(
        Place(
            network,
            f"172.{NETWORKS.index(network)}.0.{draw(st.integers(1, 4))}",
            tuple(draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))),
            tuple(draw(st.dictionaries(NAMES, NAMES, max_size=2)).items()),
        )
        for network in networks
    )


def expected(model: Model, asker: str, name: str) -> set[str] | None:
    labels = name.split(".")
    for cut in range(len(labels), 0, -1):
        wanted, network = ".".join(labels[:cut]), ".".join(labels[cut:])
        mine = [place for place in model[asker] if network in ("", place.network)]
        for place in mine:
            found = at(model, place.network, dict(place.links).get(wanted, ""))
            if found:
                return found
        for place in mine:
            found = at(model, place.network, "" if wanted in dict(place.links) else wanted)
            if found:
                return found
    return None


def at(model: Model, network: str, name: str) -> set[str]:
    return {
        place.address
        for several in model.values()
        for place in several
        if place.network == network and name in place.names
    }


@given(st.lists(st.tuples(st.sampled_from("xyz"), st.none() | places()), max_size=8))
def test_the_table_answers_as_dockers_resolver_would_after_any_changes(
    steps: list[tuple[str, tuple[Place, ...] | None]],
) -> None:
    table, model = Neighbours(WEAVE, HOSTS), Model()
    for container, wanted in steps:
        if wanted is None:
            table.remove(container)
            model.pop(container, None)
        else:
            weave = packed(f"10.2.0.{ord(container)}")
            table.update(container, [place.membership() for place in wanted], weave_addresses=[weave])
            model[container] = wanted
        for asker, name in product(model, QUESTIONS):
            found = ask(table, f"10.2.0.{ord(asker)}", name)
            assert (None if found is None else set(found)) == expected(model, asker, name)
    assert table.containers() == model.keys()
    for container in list(model):
        table.remove(container)
    fresh = Neighbours(WEAVE, HOSTS)
    assert vars(table) == vars(fresh)


def test_an_update_that_changes_nothing_keeps_the_order(table: Neighbours) -> None:
    for number in range(3):
        table.update(f"n{number}", [on("shop_default", f"172.12.1.{number}", "many")])
    before = ask(table, "10.2.0.2", "many")
    table.update("n0", [on("shop_default", "172.12.1.0", "many")])
    assert ask(table, "10.2.0.2", "many") == before
    assert before is not None
    assert all(first < second for first, second in pairwise(before))
