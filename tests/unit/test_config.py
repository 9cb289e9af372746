"""Settings: what is accepted, what is refused and with which words."""

from ipaddress import IPv4Address, IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

import pytest

from weavedns import config
from weavedns.containers.naming import AttachPolicy
from weavedns.errors import ConfigError


def settings(**given: Any) -> config.Settings:
    return config.settings(**{"name": "h1", "socket": Path("/run/w.sock"), **given})


def test_the_defaults_are_the_documented_ones() -> None:
    found = settings()
    assert found.domain == b"\x05weave\x05local\0"
    assert found.weave_range == found.subnet == IPv4Network("10.2.0.0/16")
    assert found.dns_subnet == IPv4Network("10.2.254.0/24")
    assert found.dns_address is None
    assert (found.network, found.attach, found.ttl_s) == (True, AttachPolicy.AUTO, 1)
    assert (found.listen, found.upstream, found.zones) == ((), (), ())
    assert found.http == ("127.0.0.1", 6782)
    assert found.state_dir == Path("/var/lib/weavedns")


@pytest.mark.parametrize(
    ("weave_range", "dns_subnet"),
    [
        ("10.2.0.0/16", "10.2.254.0/24"),
        ("10.0.0.0/8", "10.2.254.0/24"),
        ("10.32.0.0/16", "10.32.254.0/24"),
        ("10.32.0.0/12", "10.47.254.0/24"),
        ("192.168.7.0/24", "192.168.7.128/26"),
        ("192.168.7.16/28", "192.168.7.24/30"),
    ],
)
def test_a_range_has_its_dns_subnet_where_one_looks_for_it(weave_range: str, dns_subnet: str) -> None:
    found = settings(weave_range=weave_range)
    assert found.dns_subnet == IPv4Network(dns_subnet)
    assert found.dns_subnet.subnet_of(found.weave_range)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"weave_range": "nonsense"}, "--range 'nonsense' is no IPv4 network; write one such as 10.2.0.0/16"),
        ({"weave_range": "10.2.0.1/16"}, "did you mean 10.2.0.0/16?"),
        ({"weave_range": "fd00::/64"}, "--range 'fd00::/64' is no IPv4 network"),
        ({"weave_range": "10.2.0.0/29"}, "--range 10.2.0.0/29 is too small; give at least a /28"),
        ({"weave_range": "224.0.0.0/16"}, "--range 224.0.0.0/16 has no addresses for containers"),
        ({"weave_range": "240.0.0.0/16"}, "has no addresses for containers"),
        ({"weave_range": "0.0.0.0/0"}, "has no addresses for containers"),
        ({"dns_subnet": "x"}, "--dns-subnet 'x' is no IPv4 network"),
        ({"dns_subnet": "10.9.0.0/24"}, "--dns-subnet 10.9.0.0/24 is outside the range 10.2.0.0/16"),
        ({"dns_subnet": "10.0.0.0/8"}, "is outside the range"),
        ({"dns_subnet": "10.2.0.0/16"}, "takes the whole range"),
        ({"dns_subnet": "10.2.254.0/31"}, "--dns-subnet 10.2.254.0/31 is too small; give at least a /30"),
        ({"subnet": "10.9.0.0/24"}, "--subnet 10.9.0.0/24 is outside the range"),
        ({"subnet": "10.2.3.0/32"}, "--subnet 10.2.3.0/32 is too small"),
        ({"subnet": "10.2.254.128/25"}, "lies in the reserved DNS subnet 10.2.254.0/24"),
        ({"dns_address": "x"}, "--dns-address 'x' is no IPv4 address; write one in 10.2.254.0/24"),
        ({"dns_address": "10.2.3.4"}, "--dns-address 10.2.3.4 is no host address of the DNS subnet"),
        ({"dns_address": "10.2.254.0"}, "is no host address"),
        ({"dns_address": "10.2.254.255"}, "is no host address"),
        ({"network": False}, "--no-network leaves no address to serve on; give one with --listen"),
        ({"listen": ["0.0.0.0"]}, "--listen 0.0.0.0 is the wildcard"),
        ({"listen": ["[::]:53"]}, "is the wildcard"),
        ({"listen": ["localhost"]}, "--listen 'localhost' is no address; write 192.0.2.1"),
        ({"upstream": ["dns.example"]}, "--upstream 'dns.example' is no address"),
        (
            {"listen": ["192.0.2.1"], "upstream": ["192.0.2.1:53"]},
            "--upstream 192.0.2.1 port 53 is this daemon itself",
        ),
        ({"dns_address": "10.2.254.7", "upstream": ["10.2.254.7"]}, "is this daemon itself; give another server"),
        ({"forward": ["corp.example"]}, "--forward 'corp.example' is no rule; write corp.example=10.1.1.1"),
        ({"forward": ["=10.1.1.1"]}, "is no rule"),
        ({"forward": ["corp.example="]}, "is no rule"),
        ({"forward": ["corp..example=10.1.1.1"]}, "has an empty label"),
        ({"forward": [".=10.1.1.1"]}, "is for every name; use --upstream 10.1.1.1"),
        ({"forward": ["db.weave.local=10.1.1.1"]}, "lies in the domain weave.local, whose names are answered here"),
        ({"forward": ["corp.example=10.1.1.1,x"]}, "--forward corp.example: 'x' is no address"),
        ({"listen": ["192.0.2.1"], "forward": ["corp.example=192.0.2.1"]}, "is this daemon itself"),
        ({"allow_query": ["x"]}, "--allow-query 'x' is no network; write one such as 192.0.2.0/24 or any"),
        ({"allow_forward": ["192.0.2.1/24"]}, "did you mean 192.0.2.0/24?"),
        ({"http": "127.0.0.1:0"}, "--http '127.0.0.1:0' has no usable port; give one from 1 to 65535"),
        ({"domain": "."}, "--domain '.' is the root"),
        ({"domain": ""}, "is the root"),
        ({"domain": "a..b"}, "--domain: 'a..b' has an empty label"),
        ({"name": ""}, "--name '' is no peer name"),
        ({"name": "a b"}, "--name 'a b' is no peer name"),
        ({"name": "x" * 64}, "is no peer name"),
        ({"ttl_s": -1}, "--ttl: -1 is no TTL"),
        ({"ttl_s": 2**31}, "is no TTL"),
    ],
)
def test_a_setting_that_is_wrong_is_named_with_its_cure(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as raised:
        settings(**given)
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)


def test_settings_that_fit_together_are_taken_over() -> None:
    found = settings(
        domain="Shop.Example.",
        weave_range="10.32.0.0/16",
        dns_subnet="10.32.254.0/24",
        dns_address="10.32.254.7",
        subnet="10.32.1.0/24",
        attach="all",
        listen=["192.0.2.1", "127.0.0.1:5353"],
        upstream=["[2001:db8::1]:5353"],
        zones=[Path("/z")],
        ttl_s=0,
        http=None,
    )
    assert found.domain == b"\x04shop\x07example\0"
    assert found.dns_address == IPv4Address("10.32.254.7")
    assert found.subnet == IPv4Network("10.32.1.0/24")
    assert found.attach is AttachPolicy.ALL
    assert found.listen == (("192.0.2.1", 53), ("127.0.0.1", 5353))
    assert found.upstream == (("2001:db8::1", 5353),)
    assert (found.zones, found.ttl_s, found.http) == ((Path("/z"),), 0, None)


def test_rules_and_networks_for_forwarding_are_read() -> None:
    found = settings(
        forward=["corp.example=10.1.1.1, 10.1.1.2:5353", "Corp.Example.=10.1.1.3,10.1.1.1", "lab.corp.example=[::2]"],
        allow_query=["192.0.2.0/24", "2001:db8::/32"],
        allow_forward=["local", "192.0.2.1"],
    )
    assert found.forward == {
        b"\x04corp\x07example\0": (("10.1.1.1", 53), ("10.1.1.2", 5353), ("10.1.1.3", 53)),
        b"\x03lab\x04corp\x07example\0": (("::2", 53),),
    }
    assert found.allow_query == (IPv4Network("192.0.2.0/24"), IPv6Network("2001:db8::/32"))
    assert (found.allow_forward, found.allow_forward_local) == ((IPv4Network("192.0.2.1/32"),), True)


def test_anybody_may_ask_and_only_this_hosts_containers_may_have_queries_forwarded_unless_told_otherwise() -> None:
    found = settings()
    assert (found.allow_query, found.allow_forward, found.allow_forward_local) == (None, (), True)
    found = settings(allow_query=["any"], allow_forward=["any"])
    assert (found.allow_query, found.allow_forward_local) == (None, False)
    assert found.allow_forward == (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", ("192.0.2.1", 53)),
        ("192.0.2.1:5353", ("192.0.2.1", 5353)),
        ("[2001:db8::1]", ("2001:db8::1", 53)),
        ("[2001:db8::1]:65535", ("2001:db8::1", 65535)),
        ("2001:db8::1", ("2001:db8::1", 53)),
        ("::1", ("::1", 53)),
    ],
)
def test_an_address_is_read_with_or_without_its_port(text: str, address: tuple[str, int]) -> None:
    assert config.socket_address("--listen", text, 53) == address


@pytest.mark.parametrize(
    "text", ["", ":53", "192.0.2.1:", "192.0.2.1:x", "192.0.2.1:53:53", "[::1", "192.0.2.1:70000"]
)
def test_an_address_that_is_none_is_refused_with_its_flag(text: str) -> None:
    with pytest.raises(ConfigError, match="--listen"):
        config.socket_address("--listen", text, 53)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("host1", ("host1", 6783)),
        ("192.0.2.1", ("192.0.2.1", 6783)),
        ("host1.example:7000", ("host1.example", 7000)),
    ],
)
def test_a_peer_is_a_host_maybe_with_a_port(text: str, expected: tuple[str, int]) -> None:
    assert config.peer_address(text) == expected


@pytest.mark.parametrize("text", ["", ":6783", "host1:", "host1:0", "host1:70000", "a/b", "host 1", "-x", "h:1:2"])
def test_what_is_no_host_is_no_peer(text: str) -> None:
    with pytest.raises(ConfigError, match="PEER"):
        config.peer_address(text)


def test_without_a_network_the_port_is_only_taken_when_it_is_asked_for() -> None:
    alone = config.settings(name="h1", socket=Path("/s"), network=False, listen=["127.0.0.1:5353"])
    assert alone.port is None
    asked = config.settings(name="h1", socket=Path("/s"), network=False, listen=["127.0.0.1:5353"], peers=["h2"])
    assert asked.port == 6783
    assert config.settings(name="h1", socket=Path("/s")).port == 6783


@pytest.mark.parametrize(
    "wrong",
    [
        {"port": 0},
        {"overlay_port": 70_000},
        {"port": 6784},
        {"advertise": "host1"},
        {"advertise": "0.0.0.0"},
        {"cluster": ""},
        {"cluster": "two words"},
        {"max_peer_records": 0},
        {"max_peer_records": 2_000_000},
    ],
)
def test_what_is_wrong_about_peers_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        config.settings(name="h1", socket=Path("/s"), **wrong)  # type: ignore[arg-type]


def test_a_password_file_has_one_password_or_two_while_it_is_changed(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("new\n\nold\n")
    assert config.passwords(None, path) == ["new", "old"]
    assert config.passwords("given", None) == ["given"]
    assert config.passwords(None, None) == []
    with pytest.raises(ConfigError, match="both"):
        config.passwords("given", path)
    for text in ("", "\n", "1\n2\n3\n", "x" * 1025):
        path.write_text(text)
        with pytest.raises(ConfigError, match="password"):
            config.passwords(None, path)
    with pytest.raises(ConfigError, match="cannot be read"):
        config.passwords(None, tmp_path / "none")
    with pytest.raises(ConfigError, match="empty"):
        config.passwords(" ", None)


def test_passwords_are_not_shown_with_the_settings() -> None:
    assert "geheim" not in repr(config.settings(name="h1", socket=Path("/s"), passwords=["geheim"]))
