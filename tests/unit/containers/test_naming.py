"""What is read from a container's inspection."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weavedns.containers.naming import (
    MAX_ENDPOINTS,
    MAX_NAMES,
    MAX_SERVICES,
    AttachPolicy,
    Container,
    SrvWish,
    describe,
)
from weavedns.records import names

DOMAIN = names.parse("weave.local")
ID = "ca88a6e0" * 8
COMPOSE = {
    "com.docker.compose.service": "web",
    "com.docker.compose.project": "shop",
    "com.docker.compose.container-number": "2",
    "com.docker.compose.oneoff": "False",
}
MODES_WITHOUT_A_NETWORK = ["host", "none", "container:ca88a6e0"]


def inspection(
    *,
    hostname: str = "ca88a6e0ca88",
    domainname: str = "",
    name: str = "/app",
    labels: dict[str, str] | None = None,
    env: list[str] | None = None,
    mode: str = "default",
    **more: Any,
) -> dict[str, Any]:
    config = {"Hostname": hostname, "Domainname": domainname, "Labels": labels or {}, "Env": env}
    state = {"Running": True, "Restarting": False, "Pid": 4711, "StartedAt": "2026-11-23T21:00:28.959732875Z"}
    return {
        "Id": ID,
        "Name": name,
        "State": state,
        "Config": config,
        "HostConfig": {"NetworkMode": mode, "DnsSearch": []},
        "ResolvConfPath": "/var/lib/docker/containers/x/resolv.conf",
        **more,
    }


def look(policy: AttachPolicy = AttachPolicy.AUTO, **given_fields: Any) -> Container:
    return describe(inspection(**given_fields), domain=DOMAIN, policy=policy, default_ttl_s=1)


def texts(container: Container) -> list[str]:
    return [names.render(name).removesuffix(".weave.local") for name in container.names]


@pytest.mark.parametrize(
    ("hostname", "domainname"),
    [
        ("redis.weave.local", ""),
        ("redis", "weave.local"),
        ("redis.weave.local", "weave.local"),
        ("Redis.Weave.LOCAL", ""),
        ("redis", "WEAVE.local"),
        ("redis.weave.local.", ""),
        ("redis", ".weave.local."),
        ("redis.weave", "local"),
    ],
)
def test_a_host_name_in_the_domain_attaches_and_names_however_docker_gives_it(hostname: str, domainname: str) -> None:
    container = look(hostname=hostname, domainname=domainname)

    assert container.hostname == "redis.weave.local"
    assert texts(container) == ["redis"]
    assert container.wish.endpoints == ("",)
    assert container.resolver
    assert container.warnings == ()


@pytest.mark.parametrize(
    ("hostname", "domainname"),
    [
        ("ca88a6e0ca88", ""),
        ("redis", ""),
        ("redis.example.com", ""),
        ("redis", "example.com"),
        ("redis.notweave.local", ""),
        ("redis.notweave", "local"),
        ("weave.local", ""),
        ("local", ""),
        ("", ""),
        ("", "weave.local"),
    ],
)
def test_another_host_name_does_not_attach_and_leaves_the_container_name(hostname: str, domainname: str) -> None:
    container = look(hostname=hostname, domainname=domainname)

    assert not container.wish
    assert container.hostname == ""
    assert texts(container) == ["app"]


@pytest.mark.parametrize(
    ("hostname", "subdomain"),
    [
        ("redis.weave.local", ""),
        ("app.foo.weave.local", "foo.weave.local"),
        ("a.B.c.weave.local", "b.c.weave.local"),
        ("app.example.com", ""),
        ("ca88a6e0ca88", ""),
    ],
)
def test_a_host_name_below_the_domain_has_a_search_domain_of_its_own(hostname: str, subdomain: str) -> None:
    assert look(hostname=hostname).subdomain == subdomain


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("/app", ["app"]),
        ("/My_App", ["my_app"]),
        ("/app.foo", ["app.foo"]),
        ("/redis.weave.local", ["redis"]),
        ("/shop_web_1", ["shop_web_1"]),
    ],
)
def test_a_container_without_such_a_host_name_goes_by_its_own(name: str, expected: list[str]) -> None:
    container = look(name=name)

    assert texts(container) == expected
    assert container.name == name[1:]
    assert container.warnings == ()


@pytest.mark.parametrize(
    ("given_fields", "named"),
    [
        ({"name": "/" + "x" * 64}, "'" + "x" * 64),
        ({"name": "/app-"}, "'app-.weave.local'"),
        ({"name": "/a..b"}, "'a..b.weave.local'"),
        ({"hostname": "re dis.weave.local"}, "'re dis.weave.local'"),
        ({"hostname": "r\xe9dis.weave.local"}, "'r\xe9dis.weave.local'"),
        ({"hostname": "-x.weave.local"}, "'-x.weave.local'"),
        ({"labels": {"works.weave.dns.name": "db.example.com"}}, "'db.example.com'"),
        ({"labels": {"works.weave.dns.name": "weave.local"}}, "'weave.local'"),
        ({"labels": {"works.weave.dns": "maybe"}}, "'maybe'"),
        ({"labels": {"works.weave.dns.ttl": "1 day"}}, "'1 day'"),
        ({"labels": COMPOSE | {"com.docker.compose.service": "a b"}}, "'a b.shop.weave.local'"),
    ],
)
def test_what_is_wrong_is_told_once_with_the_value_and_the_rest_is_kept(
    given_fields: dict[str, Any], named: str
) -> None:
    labels = {"works.weave.dns.name": "kept"} | given_fields.pop("labels", {})
    labels["works.weave.dns.name"] += " kept"

    container = look(labels=labels, **given_fields)

    assert len(container.warnings) == 1
    assert named in container.warnings[0]
    assert "kept" in texts(container)


def test_a_malformed_host_name_still_attaches_and_gives_way_to_the_container_name() -> None:
    container = look(hostname="-x.weave.local")

    assert container.wish.endpoints == ("",)
    assert texts(container) == ["app"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("db", ["app", "db"]),
        ("db cache.foo.weave.local", ["app", "db", "cache.foo"]),
        ("db,cache ,  queue,", ["app", "db", "cache", "queue"]),
        ("DB db db.weave.local.", ["app", "db"]),
        ("app db", ["app", "db"]),
        ("", ["app"]),
        ("db.example.com db", ["app", "db"]),
        ("my_db", ["app", "my_db"]),
    ],
)
def test_the_name_label_gives_more_names(value: str, expected: list[str]) -> None:
    assert texts(look(labels={"works.weave.dns.name": value})) == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, ["app", "web.shop", "web-2.shop"]),
        ({"com.docker.compose.oneoff": "True"}, ["app"]),
        ({"com.docker.compose.oneoff": "true"}, ["app"]),
        ({"com.docker.compose.service": "my_web", "com.docker.compose.project": "_shop"}, 3),
        ({"com.docker.compose.container-number": "x"}, ["app", "web.shop"]),
        ({"com.docker.compose.container-number": ""}, ["app", "web.shop"]),
        ({"com.docker.compose.project": ""}, ["app"]),
        ({"com.docker.compose.service": ""}, ["app"]),
    ],
)
def test_a_compose_container_has_its_services_names(change: dict[str, str], expected: list[str] | int) -> None:
    container = look(labels=COMPOSE | change)

    if expected == 3:
        expected = ["app", "my_web._shop", "my_web-2._shop"]
    assert texts(container) == expected
    assert container.warnings == ()


def test_the_host_name_comes_first_then_the_label_then_compose() -> None:
    container = look(hostname="front.weave.local", labels=COMPOSE | {"works.weave.dns.name": "shop"})

    assert texts(container) == ["front", "shop", "web.shop", "web-2.shop"]


@pytest.mark.parametrize(
    ("env", "labels", "expected"),
    [
        (["WEAVE_CIDR=10.2.45.3/24"], {}, ("10.2.45.3/24",)),
        (["WEAVE_CIDR=10.2.45.3/24  net:10.2.67.0/24"], {}, ("10.2.45.3/24", "net:10.2.67.0/24")),
        (["WEAVE_CIDR="], {}, ("",)),
        (["WEAVE_CIDR=weave://"], {}, ("weave://",)),
        (["WEAVE_CIDR=nonsense"], {}, ("nonsense",)),
        (["WEAVE_CIDR=10.2.1.1/24 10.2.1.1/24"], {}, ("10.2.1.1/24",)),
        (["WEAVE_CIDR=10.2.1.1/24", "WEAVE_CIDR=10.2.1.2/24"], {}, ("10.2.1.2/24",)),
        (["XWEAVE_CIDR=10.2.1.1/24", "WEAVE_CIDRS=10.2.1.1/24", "WEAVE_CIDR"], {}, ()),
        (["WEAVE_CIDR=none"], {}, ()),
        (["WEAVE_CIDR=off"], {}, ()),
        (["WEAVE_CIDR=None"], {}, ()),
        (None, {"works.weave.attach": ""}, ("",)),
        (None, {"works.weave.attach": "true"}, ("",)),
        (None, {"works.weave.attach": "net:default"}, ("net:default",)),
        (None, {"works.weave.attach": "none"}, ()),
        (None, {"works.weave.attach": "false"}, ()),
        (["WEAVE_CIDR=10.2.1.1/24"], {"works.weave.attach": "none"}, ("10.2.1.1/24",)),
        (["WEAVE_CIDR=none"], {"works.weave.attach": "net:default"}, ()),
        (None, {}, ()),
    ],
)
def test_the_environment_then_the_label_say_what_is_attached(
    env: list[str] | None, labels: dict[str, str], expected: tuple[str, ...]
) -> None:
    assert look(env=env, labels=labels).wish.endpoints == expected


@pytest.mark.parametrize("env", [["WEAVE_CIDR=none"], ["WEAVE_CIDR=off"]])
def test_off_beats_a_host_name_in_the_domain_and_attach_all(env: list[str]) -> None:
    container = look(AttachPolicy.ALL, hostname="redis.weave.local", env=env)

    assert not container.wish
    assert texts(container) == ["redis"], "it may be attached by hand, and goes by its name then"


def test_addresses_together_with_none_are_none_and_a_warning() -> None:
    container = look(env=["WEAVE_CIDR=10.2.1.1/24 none"])

    assert not container.wish
    assert "'10.2.1.1/24 none'" in container.warnings[0]


@pytest.mark.parametrize(
    ("policy", "attached"), [(AttachPolicy.AUTO, False), (AttachPolicy.ALL, True), (AttachPolicy.NONE, False)]
)
def test_attach_all_takes_a_container_that_asks_for_nothing(policy: AttachPolicy, attached: bool) -> None:
    assert bool(look(policy).wish) is attached


@pytest.mark.parametrize(
    "given_fields",
    [
        {"hostname": "redis.weave.local"},
        {"env": ["WEAVE_CIDR=10.2.1.1/24"]},
        {"labels": {"works.weave.attach": "net:default"}},
    ],
)
def test_attach_none_takes_none(given_fields: dict[str, Any]) -> None:
    assert not look(AttachPolicy.NONE, **given_fields).wish


@pytest.mark.parametrize("mode", MODES_WITHOUT_A_NETWORK)
@pytest.mark.parametrize("policy", AttachPolicy)
def test_a_container_without_a_network_of_its_own_is_left_alone(mode: str, policy: AttachPolicy) -> None:
    container = look(policy, hostname="redis.weave.local", mode=mode, env=["WEAVE_CIDR="], labels=COMPOSE)

    assert not container.own_network
    assert not container.wish
    assert container.names == ()
    assert not container.resolver
    assert container.network_mode == mode


def test_a_container_whose_network_is_disabled_is_left_alone() -> None:
    config = {"Hostname": "redis.weave.local", "NetworkDisabled": True}

    assert not look(Config=config).own_network
    assert look(Config=config | {"NetworkDisabled": False}).own_network


@pytest.mark.parametrize("mode", ["", "default", "bridge", "shop_default", "hosts", "nonesuch"])
def test_a_container_on_a_network_of_docker_has_one_of_its_own(mode: str) -> None:
    assert look(mode=mode).own_network


@pytest.mark.parametrize("value", ["off", "OFF", " off ", "false", "none"])
def test_dns_off_means_no_names_and_no_resolver_but_attached(value: str) -> None:
    labels = {"works.weave.dns": value, "works.weave.dns.name": "db", "works.weave.dns.srv._http._tcp": "80"}

    container = look(hostname="redis.weave.local", labels=labels)

    assert container.names == ()
    assert container.srv == ()
    assert not container.resolver
    assert container.wish


@pytest.mark.parametrize("value", ["on", "true", "", "maybe"])
def test_dns_stays_on_for_anything_else(value: str) -> None:
    assert look(hostname="redis.weave.local", labels={"works.weave.dns": value}).resolver


@pytest.mark.parametrize(
    ("text", "ttl_s", "told"),
    [
        ("30", 30, False),
        ("0", 0, False),
        (" 5 ", 5, False),
        ("2147483647", 2147483647, False),
        ("2147483648", 1, True),
        ("-1", 1, True),
        ("1s", 1, True),
        ("", 1, True),
        ("\u0663", 1, True),
        ("9" * 5000, 1, True),
    ],
)
def test_the_ttl_label_sets_the_ttl(text: str, ttl_s: int, told: bool) -> None:
    container = look(labels={"works.weave.dns.ttl": text})

    assert container.ttl_s == ttl_s
    assert bool(container.warnings) is told


def test_without_a_label_the_ttl_is_the_default() -> None:
    assert describe(inspection(), domain=DOMAIN, default_ttl_s=7).ttl_s == 7


@pytest.mark.parametrize(
    ("value", "numbers"), [("80", (0, 0, 80)), ("10 20 8080", (10, 20, 8080)), (" 65535 ", (0, 0, 65535))]
)
def test_a_service_label_gives_an_srv_record_to_the_first_name(value: str, numbers: tuple[int, int, int]) -> None:
    container = look(hostname="redis.weave.local", labels={"works.weave.dns.srv._redis._tcp": value})

    target = names.parse("redis.weave.local")
    assert container.srv == (SrvWish(names.parse("_redis._tcp.redis.weave.local"), *numbers, target),)


def test_a_service_is_found_under_each_name_so_that_a_shared_name_lists_them_all() -> None:
    container = look(labels=COMPOSE | {"works.weave.dns.name": "all", "works.weave.dns.srv._http._tcp": "80"})

    assert [names.render(srv.name).removesuffix(".weave.local") for srv in container.srv] == [
        "_http._tcp.app",
        "_http._tcp.all",
        "_http._tcp.web.shop",
        "_http._tcp.web-2.shop",
    ]
    assert {srv.target for srv in container.srv} == {container.names[0]}


@pytest.mark.parametrize(
    ("service", "value"),
    [
        ("_http._tcp", "http"),
        ("_http._tcp", ""),
        ("_http._tcp", "0"),
        ("_http._tcp", "65536"),
        ("_http._tcp", "1 2"),
        ("_http._tcp", "1 2 3 4"),
        ("_http._tcp", "65536 0 80"),
        ("_http._tcp", "-1 0 80"),
        ("_http._tcp", "9" * 5000),
        ("http._tcp", "80"),
        ("_http", "80"),
        ("_http._tcp._x", "80"),
        ("", "80"),
        ("_" + "x" * 70 + "._tcp", "80"),
    ],
)
def test_a_bad_service_is_told_and_the_others_kept(service: str, value: str) -> None:
    labels = {f"works.weave.dns.srv.{service}": value, "works.weave.dns.srv._good._udp": "53"}

    container = look(hostname="redis.weave.local", labels=labels)

    assert [srv.port for srv in container.srv] == [53]
    assert len(container.warnings) == 1
    assert f"works.weave.dns.srv.{service}"[:80] in container.warnings[0]
    assert len(container.warnings[0]) < 400


@pytest.mark.parametrize(
    ("state", "running"),
    [
        ({"Running": True, "Pid": 5}, True),
        ({"Running": True, "Paused": True, "Pid": 5}, True),
        ({"Running": True, "Restarting": True, "Pid": 0}, False),
        ({"Running": True, "Restarting": True, "Pid": 5}, False),
        ({"Running": True, "Pid": 0}, False),
        ({"Running": False, "Pid": 0}, False),
        ({"Running": "yes", "Pid": 5}, False),
        ({"Status": "created"}, False),
        (None, False),
    ],
)
def test_only_a_container_with_a_process_runs(state: Any, running: bool) -> None:
    assert look(State=state).running is running


@pytest.mark.parametrize(
    ("text", "started_ns"),
    [
        ("2026-11-23T21:00:28.959732875Z", 1795467628959732875),
        ("2026-11-23T21:00:28Z", 1795467628000000000),
        ("2026-11-23T22:00:28.5+01:00", 1795467628500000000),
        ("0001-01-01T00:00:00Z", 0),
        ("2026-13-23T21:00:28Z", 0),
        ("soon", 0),
        (None, 0),
    ],
)
def test_the_start_is_known_to_the_nanosecond(text: str | None, started_ns: int) -> None:
    assert look(State={"StartedAt": text}).started_ns == started_ns


def test_the_rest_of_the_inspection_is_told_as_it_is() -> None:
    container = look(HostConfig={"DnsSearch": ["example.com"], "NetworkMode": "shop_default"})

    assert container.id == ID
    assert container.pid == 4711
    assert container.resolv_conf == "/var/lib/docker/containers/x/resolv.conf"
    assert container.dns_search_given
    assert container.network_mode == "shop_default"
    assert not look().dns_search_given


def test_one_container_cannot_ask_for_everything() -> None:
    many = " ".join(f"n{number}" for number in range(1000))
    services = {f"works.weave.dns.srv._s{number}._tcp": "80" for number in range(1000)}
    addresses = " ".join(f"10.2.{number}.1/24" for number in range(200))

    container = look(labels={"works.weave.dns.name": many, **services}, env=[f"WEAVE_CIDR={addresses}"])

    assert len(container.names) == MAX_NAMES
    assert len(container.srv) == MAX_SERVICES
    assert len(container.wish.endpoints) == MAX_ENDPOINTS
    assert len(container.warnings) == 3


def test_warnings_stay_short() -> None:
    container = look(
        hostname="x" * 9999 + "\n.weave.local",
        labels={"works.weave.dns.name": "y" * 9999 + "\\", "works.weave.dns": "z" * 9999},
    )

    assert len(container.warnings) == 3
    assert all(len(warning) < 400 and warning.isprintable() for warning in container.warnings)


KEYS = st.sampled_from(
    [
        *("Id", "Name", "State", "Config", "HostConfig", "ResolvConfPath", "Labels", "Env", "Hostname", "Domainname"),
        *("Running", "Pid", "StartedAt", "NetworkMode", "DnsSearch", "Restarting", "NetworkDisabled"),
        *("works.weave.dns", "works.weave.dns.name", "works.weave.dns.ttl", "works.weave.attach"),
        *("works.weave.dns.srv._http._tcp", "works.weave.dns.srv.", *COMPOSE),
    ]
)
TEXTS = st.text() | st.sampled_from(
    [
        "x.weave.local",
        ".weave.local",
        "..weave.local",
        "\\.weave.local",
        "weave.local",
        "WEAVE_CIDR=none",
        "80",
        "host",
    ]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(max_size=3), inner, max_size=8),
    max_leaves=40,
)
FIELDS = st.dictionaries(KEYS, JSON, max_size=12)
INSPECTIONS = JSON | st.fixed_dictionaries(
    {"Config": FIELDS | st.fixed_dictionaries({"Labels": st.dictionaries(KEYS, TEXTS), "Hostname": TEXTS})},
    optional={"Id": JSON, "Name": SCALARS, "State": FIELDS, "HostConfig": FIELDS, "ResolvConfPath": JSON},
)


@given(INSPECTIONS, st.sampled_from(AttachPolicy))
def test_no_inspection_raises(given_inspection: Any, policy: AttachPolicy) -> None:
    container = describe(given_inspection, domain=DOMAIN, policy=policy, default_ttl_s=1)

    assert all(names.is_under(name, DOMAIN) and name != DOMAIN for name in container.names)
    assert all(len(srv.name) <= 255 for srv in container.srv)
    assert container.own_network or not container.wish


def health(status: object) -> dict[str, Any]:
    return {"State": {"Running": True, "Pid": 4711, "Health": {"Status": status}}}


@pytest.mark.parametrize("status", ["healthy", "starting", "none", "", None, 5])
def test_only_a_failed_check_makes_a_container_unhealthy(status: object) -> None:
    assert look(**health(status)).healthy
    assert not look(**health("unhealthy")).healthy
    assert look().healthy
    assert look(State={"Running": True, "Pid": 4711, "Health": status}).healthy


def test_the_health_check_can_be_ignored() -> None:
    assert look(labels={"works.weave.dns.health": " Ignore "}, **health("unhealthy")).healthy


def test_a_health_label_that_says_something_else_is_told_and_heeds_the_check() -> None:
    found = look(labels={"works.weave.dns.health": "maybe"}, **health("unhealthy"))
    assert not found.healthy
    assert "'maybe' is not 'ignore'" in found.warnings[0]


def test_dockers_networks_come_with_the_container() -> None:
    settings = {"NetworkID": "f" * 64, "IPAddress": "172.18.0.2", "Aliases": ["web"]}
    (place,) = look(NetworkSettings={"Networks": {"shop_default": settings}}).networks
    assert place.network == names.parse("shop_default.")
    assert place.names == tuple(names.parse(text + ".") for text in ("app", "web", ID[:12]))
