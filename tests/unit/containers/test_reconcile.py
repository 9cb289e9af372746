"""The records that follow from a container and its addresses."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from weavedns.containers.naming import Container, describe
from weavedns.containers.reconcile import Address, records_for
from weavedns.records import names, rdata
from weavedns.records.catalog import Catalog
from weavedns.records.record import Origin, Record, type_name

DOMAIN = names.parse("weave.local")
ID = "ca88a6e0" * 8
ONE, TWO = IPv4Address("10.2.0.1"), IPv4Address("10.2.67.9")


@pytest.fixture
def redis() -> Container:
    labels = {
        "works.weave.dns.name": "cache",
        "works.weave.dns.srv._redis._tcp": "1 2 6379",
        "works.weave.dns.ttl": "30",
    }
    config: dict[str, Any] = {"Hostname": "redis.weave.local", "Labels": labels}
    inspection = {"Id": ID, "Name": "/r", "State": {"Running": True, "Pid": 5}, "Config": config}
    return describe(inspection, domain=DOMAIN)


def shown(records: list[Record]) -> list[str]:
    return [
        f"{names.render(each.name)} {type_name(each.rtype)} {rdata.render(each.rtype, each.rdata)}"
        for each in records
    ]


def test_each_name_has_each_address_the_host_name_first(redis: Container) -> None:
    records = records_for(redis, [ONE, TWO], owner="host1")

    assert shown(records) == [
        "redis.weave.local A 10.2.0.1",
        "redis.weave.local A 10.2.67.9",
        "cache.weave.local A 10.2.0.1",
        "cache.weave.local A 10.2.67.9",
        "_redis._tcp.redis.weave.local SRV 1 2 6379 redis.weave.local.",
        "_redis._tcp.cache.weave.local SRV 1 2 6379 redis.weave.local.",
    ]
    # So that each host knows it.
    assert [each.origin for each in records[:4]] == [Origin.CONTAINER] * 2 + [Origin.ALIAS] * 2


def test_records_belong_to_the_container_with_its_ttl(redis: Container) -> None:
    records = records_for(redis, [ONE], owner="host1")

    assert {(each.owner, each.holder, each.ttl_s) for each in records} == {("host1", ID, 30)}
    assert {each.origin for each in records} == {Origin.CONTAINER, Origin.ALIAS}


def test_an_ipv6_address_gives_aaaa(redis: Container) -> None:
    addresses: list[Address] = [ONE, IPv6Address("2001:db8::7")]

    assert "redis.weave.local AAAA 2001:db8::7" in shown(records_for(redis, addresses, owner="host1"))


def test_names_given_by_hand_come_after_its_own_and_count_once(redis: Container) -> None:
    extra = [names.parse("more.weave.local"), names.parse("cache.weave.local")]

    records = records_for(redis, [ONE], owner="host1", extra_names=extra)

    assert shown(records)[:3] == [
        "redis.weave.local A 10.2.0.1",
        "cache.weave.local A 10.2.0.1",
        "more.weave.local A 10.2.0.1",
    ]
    assert len(records) == len(set(records)) == 5


def test_a_container_without_an_address_has_no_records(redis: Container) -> None:
    assert records_for(redis, [], owner="host1", extra_names=[names.parse("more.weave.local")]) == []


def test_a_container_that_does_not_run_has_no_records(redis: Container) -> None:
    assert records_for(replace(redis, running=False), [ONE], owner="host1") == []


def test_a_renamed_container_loses_just_the_old_name(redis: Container) -> None:
    catalog = Catalog()
    catalog.replace(ID, records_for(redis, [ONE], owner="host1"))
    renamed = replace(redis, names=(names.parse("new.weave.local"), *redis.names[1:]), srv=())

    changes = catalog.replace(ID, records_for(renamed, [ONE], owner="host1"))

    touched = {names.render(change.record.name) for change in changes}
    assert "cache.weave.local" not in touched
    assert catalog.of_name(names.parse("redis.weave.local")) == ()
    assert len(catalog.of_name(names.parse("new.weave.local"))) == 1


def test_records_have_the_health_of_their_container(redis: Container) -> None:
    sick = replace(redis, healthy=False)

    assert {each.healthy for each in records_for(sick, [ONE], owner="host1")} == {False}
    assert {each.healthy for each in records_for(redis, [ONE], owner="host1")} == {True}
    assert records_for(sick, [ONE], owner="host1") == records_for(redis, [ONE], owner="host1")


def test_names_given_by_hand_are_told_apart_unless_the_container_has_them_itself(redis: Container) -> None:
    given = [names.parse("more.weave.local"), names.parse("redis.weave.local")]
    records = records_for(redis, [ONE], owner="host1", extra_names=given)
    added = [names.render(each.name) for each in records if each.origin is Origin.ADDED]
    assert added == ["more.weave.local"]
