"""What people register: saved before it is answered, all or nothing, and removable by whoever added it."""

import errno
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path

import pytest

from weavedns import added
from weavedns import registry as module
from weavedns.added import AddedStore, ContainerName
from weavedns.errors import RecordError, StoreError, UnknownRecordError
from weavedns.records import names, rdata, zonefile
from weavedns.records.catalog import Catalog, Change
from weavedns.records.record import Origin, Record, RecordType, type_name
from weavedns.registry import Registry

DOMAIN = names.parse("weave.local")
REDIS = "ca88a6e" + "0" * 57
APP = "0ff1ce" + "0" * 58


class FullStore(AddedStore):
    """A store whose disk fills up when told to."""

    full = False

    async def save(self, records: Iterable[Record], container_names: Iterable[ContainerName] = ()) -> None:
        if self.full:
            raise StoreError("the file cannot be written: No space left on device; make room there")
        await super().save(records, container_names)

    async def append(self, coming: Sequence[Record], going: Sequence[Record]) -> bool:
        if self.full:
            raise StoreError("the file cannot be written: No space left on device; make room there")
        return await super().append(coming, going)


class Book:
    """A registry with what it published and republished."""

    def __init__(self, path: Path) -> None:
        self.store = FullStore(path, owner="h1", domain=DOMAIN, default_ttl_s=1)
        self.catalog = Catalog()
        self.published: list[list[Change]] = []
        self.republished: list[str] = []
        self.registry = Registry(
            self.catalog,
            self.store,
            owner="h1",
            domain=DOMAIN,
            default_ttl_s=1,
            publish=self.published.append,
            republish=self.republished.append,
        )

    def records(self) -> list[str]:
        return [
            f"{names.render(each.name)} {each.ttl_s} {type_name(each.rtype)} {rdata.render(each.rtype, each.rdata)}"
            for each in self.catalog
        ]


@pytest.fixture
async def book(tmp_path: Path) -> AsyncIterator[Book]:
    made = Book(tmp_path / "added.zone")
    await made.registry.load()
    made.published.clear()
    yield made
    await made.store.close()


async def reread(book: Book, path: Path) -> Book:
    again = Book(path)
    await again.registry.load()
    await again.store.close()
    return again


async def test_what_was_added_is_there_after_a_restart_and_what_was_removed_is_not(
    book: Book, tmp_path: Path
) -> None:
    await book.registry.add("db", ["192.0.2.10", "2001:db8::10"])
    await book.registry.add("web", ["192.0.2.11"], ttl_s=30)
    await book.registry.add_container_name("cache", REDIS)
    await book.registry.remove("db", ["192.0.2.10"])
    again = await reread(book, tmp_path / "added.zone")
    assert sorted(again.records()) == sorted(book.records())
    assert sorted(book.records()) == ["db.weave.local 1 AAAA 2001:db8::10", "web.weave.local 30 A 192.0.2.11"]
    assert again.registry.names_of(REDIS) == (names.parse("cache.weave.local"),)


@pytest.mark.parametrize(
    ("data", "rtype", "record"),
    [
        ("192.0.2.10", "", "x.weave.local 1 A 192.0.2.10"),
        ("2001:DB8:0::1", "", "x.weave.local 1 AAAA 2001:db8::1"),
        ("0 5 80 web", "SRV", "x.weave.local 1 SRV 0 5 80 web.weave.local."),
        ("10 mail.example.com.", "mx", "x.weave.local 1 MX 10 mail.example.com."),
        ("10 mail.example.com", "MX", "x.weave.local 1 MX 10 mail.example.com."),
        ("web", "CNAME", "x.weave.local 1 CNAME web.weave.local."),
        ("web.weave.local", "CNAME", "x.weave.local 1 CNAME web.weave.local."),
        ("www.example.org", "cname", "x.weave.local 1 CNAME www.example.org."),
        (r"\# 3 016100", "CNAME", "x.weave.local 1 CNAME a."),
        ("ns", "NS", "x.weave.local 1 NS ns.weave.local."),
        ("ns.example.org", "NS", "x.weave.local 1 NS ns.example.org."),
        ('"two words" more', "TXT", 'x.weave.local 1 TXT "two words" "more"'),
        (r"\# 2 abcd", "TYPE65280", r"x.weave.local 1 TYPE65280 \# 2 abcd"),
    ],
)
async def test_data_is_read_as_a_zone_file_has_it(book: Book, data: str, rtype: str, record: str) -> None:
    await book.registry.add("x", [data], rtype=rtype)
    assert book.records() == [record]
    assert await book.registry.remove("x", [data]) == 1


@pytest.mark.parametrize(
    ("name", "data", "rtype", "ttl_s", "told"),
    [
        ("x", [], "", None, "no data is given for x"),
        ("x", ["192.0.2.300"], "", None, "'192.0.2.300' is no address; write one such as 10.2.1.7"),
        ("x", ["192.0.2.1", "nonsense"], "", None, "'nonsense' is no address"),
        ("x", ["192.0.2.1"], "AAAA", None, "is no IPv6 address"),
        ("x", ["fe80::1%eth0"], "", None, "fe80::1%eth0"),
        ("x", ["192.0.2.1"], "BLAH", None, "is no record type"),
        ("x", ["y", "z"], "CNAME", None, "x.weave.local has CNAME"),
        ("*.x", ["ns"], "NS", None, "*.x.weave.local is a wildcard, which hands no names to others"),
        ("x", [r"\# 1 00"], "DNAME", None, "is no record type"),
        ("x", [r"\# 1 00"], "TYPE39", None, "DNAME is not served"),
        ("*x", ["192.0.2.1"], "", None, "a wildcard is '*' alone before the first dot"),
        ("x.*", ["192.0.2.1"], "", None, "is no host name"),
        ("*.example.com", ["192.0.2.1"], "", None, "is outside the domain weave.local"),
        ("*.", ["192.0.2.1"], "", None, "wildcard"),
        ("x", ["192.0.2.1"], "", -1, "-1 is no TTL"),
        ("x", ["one\ntwo"], "TXT", None, "is more than one line"),
        ("x", ['"open'], "TXT", None, "has no closing quote"),
        ("x.example.com", ["192.0.2.1"], "", None, "is outside the domain weave.local"),
        ("weave.local", ["192.0.2.1"], "", None, "is the domain itself"),
        ("x y", ["192.0.2.1"], "", None, "is no host name"),
        ("", ["192.0.2.1"], "", None, "the name is empty"),
    ],
)
async def test_one_wrong_value_adds_nothing_at_all(
    book: Book, tmp_path: Path, name: str, data: list[str], rtype: str, ttl_s: int | None, told: str
) -> None:
    with pytest.raises(RecordError) as raised:
        await book.registry.add(name, data, rtype=rtype, ttl_s=ttl_s)
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)
    assert (book.records(), book.published) == ([], [])
    assert not (tmp_path / "added.zone").exists()


@pytest.mark.parametrize(
    ("name", "wire"),
    [("*", "*"), ("*.weave.local", "*"), ("*.apps.weave.local", "*.apps"), ("*.Apps.weave.local.", "*.apps")],
)
async def test_a_wildcard_is_added_and_removed_like_any_name(book: Book, name: str, wire: str) -> None:
    await book.registry.add(name, ["192.0.2.10"])
    assert book.records() == [f"{wire}.weave.local 1 A 192.0.2.10"]
    assert await book.registry.remove(name, ["192.0.2.10"]) == 1


async def test_an_alias_and_other_data_do_not_share_a_name_whoever_has_it(book: Book) -> None:
    wire = names.parse("app", DOMAIN)
    data = bytes((10, 2, 0, 1))
    book.catalog.add(Record("h1", APP, wire, RecordType.A, data, 1, Origin.CONTAINER))
    zone = Record("h1", "zone:/z", names.parse("www", DOMAIN), RecordType.CNAME, wire, 1, Origin.ZONE)
    book.catalog.add(zone)
    before = book.records()
    for name, text, rtype, told in (
        ("app", "www", "CNAME", f"app.weave.local has A 10.2.0.1 (of container {APP[:12]}) already"),
        ("www", "192.0.2.1", "", "www.weave.local has CNAME app.weave.local. (of /z) already"),
        ("www", "web", "CNAME", "CNAME web.weave.local. cannot stand beside it"),
    ):
        with pytest.raises(RecordError) as raised:
            await book.registry.add(name, [text], rtype=rtype)
        assert told in str(raised.value)
    with pytest.raises(RecordError, match="www is a CNAME"):
        await book.registry.add_container_name("www", REDIS)
    assert (book.records(), book.published) == (before, [])
    await book.registry.add("www", ["app"], rtype="CNAME")


async def test_many_records_are_published_at_once(book: Book) -> None:
    await book.registry.add("x", [f"192.0.2.{number}" for number in range(100)])
    assert [len(changes) for changes in book.published] == [100]
    await book.registry.remove("x")
    assert [len(changes) for changes in book.published] == [100, 100]


async def test_adding_again_changes_at_most_the_ttl(book: Book) -> None:
    await book.registry.add("x", ["192.0.2.1"])
    await book.registry.add("X.weave.local.", ["192.0.2.1"], ttl_s=9)
    assert book.records() == ["x.weave.local 9 A 192.0.2.1"]


async def test_there_is_a_bound_to_what_can_be_added(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_RECORDS", 2)
    await book.registry.add("x", ["192.0.2.1", "192.0.2.2"])
    await book.registry.add("x", ["192.0.2.1"], ttl_s=5)  # in the place of the old one
    with pytest.raises(RecordError, match="2 records are added already; remove some, or use a zone file"):
        await book.registry.add("x", ["192.0.2.3"])


async def test_a_full_disk_changes_nothing(book: Book, tmp_path: Path) -> None:
    await book.registry.add("db", ["192.0.2.10"])
    await book.registry.add_container_name("cache", REDIS)
    before = book.records(), book.registry.names_of(REDIS), (tmp_path / "added.zone").read_text()
    book.published.clear()
    book.republished.clear()
    book.store.full = True
    for refused in (
        book.registry.add("web", ["192.0.2.11"]),
        book.registry.add_container_name("kv", REDIS),
        book.registry.remove("db"),
        book.registry.remove("cache"),
        book.registry.remove_addresses("db", None),
        book.registry.remove_container_names(REDIS),
    ):
        with pytest.raises(StoreError):
            await refused
    await book.registry.forget_container(REDIS)  # nobody waits for an answer to this one
    assert (book.records(), book.registry.names_of(REDIS), (tmp_path / "added.zone").read_text()) == before
    assert (book.published, book.republished) == ([], [])


async def test_removing_takes_all_of_a_name_or_the_data_alone(book: Book) -> None:
    await book.registry.add("x", ["192.0.2.1", "192.0.2.2", "2001:db8::1"])
    await book.registry.add_container_name("x", REDIS)
    assert await book.registry.remove("x", ["192.0.2.1", "2001:DB8::1"]) == 2
    assert book.registry.names_of(REDIS) != ()
    assert await book.registry.remove("x") == 2
    assert (book.records(), book.registry.names_of(REDIS)) == ([], ())
    assert book.republished[-1] == REDIS


async def test_one_wrong_value_removes_nothing_at_all(book: Book) -> None:
    await book.registry.add("x", ["192.0.2.1", "192.0.2.2"])
    book.registry.check("x", ["192.0.2.1", "192.0.2.2"])
    with pytest.raises(UnknownRecordError, match=r"x has no added record with '192\.0\.2\.3'"):
        book.registry.check("x", ["192.0.2.1", "192.0.2.3"])
    with pytest.raises(UnknownRecordError, match=r"x has no added record with '192\.0\.2\.3'"):
        await book.registry.remove("x", ["192.0.2.1", "192.0.2.3"])
    assert len(book.records()) == 2


@pytest.mark.parametrize("data", [[], ["10.2.0.1"]])
async def test_what_was_not_added_is_refused_with_whose_it_is(book: Book, data: list[str]) -> None:
    for holder, origin, told in (
        (REDIS, Origin.CONTAINER, "belongs to container ca88a6e00000; it goes when that stops"),
        ("zone:/z/our.zone", Origin.ZONE, "comes from the zone file /z/our.zone; edit that"),
        ("peer", Origin.PEER, "is the server's own name and stays"),
    ):
        name = f"{origin}.weave.local"
        book.catalog.add(Record("h1", holder, names.parse(name), RecordType.A, b"\x0a\x02\x00\x01", 1, origin))
        with pytest.raises(UnknownRecordError, match=told):
            await book.registry.remove(str(origin), data)
    with pytest.raises(UnknownRecordError, match=r"no record is named nobody\.weave\.local"):
        await book.registry.remove("nobody", data)
    assert len(book.records()) == 3


async def test_addresses_are_removed_by_name_or_address_or_both(book: Book) -> None:
    await book.registry.add("x", ["192.0.2.1", "192.0.2.2"])
    await book.registry.add("y", ["192.0.2.1"])
    await book.registry.add("x", ["text"], rtype="TXT")
    await book.registry.remove_addresses("x", "192.0.2.1")
    assert len(book.records()) == 3
    await book.registry.remove_addresses(None, "192.0.2.1")
    await book.registry.remove_addresses("x", None)
    await book.registry.remove_addresses("nobody", None)
    assert book.records() == ['x.weave.local 1 TXT "text"']


async def test_names_of_containers_are_kept_apart_and_forgotten_with_them(book: Book, tmp_path: Path) -> None:
    await book.registry.add_container_name("cache", REDIS)
    await book.registry.add_container_name("cache", REDIS)
    await book.registry.add_container_name("kv", REDIS)
    await book.registry.add_container_name("cache", APP)
    await book.registry.remove_container_names(REDIS, "kv")
    assert book.registry.names_of(REDIS) == book.registry.names_of(APP) == (names.parse("cache.weave.local"),)
    await book.registry.forget_container(REDIS)
    assert (book.registry.names_of(REDIS), len(book.registry.names_of(APP))) == ((), 1)
    assert (await reread(book, tmp_path / "added.zone")).registry.names_of(REDIS) == ()


async def test_a_real_disk_that_fails_is_told_in_one_line(book: Book, tmp_path: Path) -> None:
    (tmp_path / "added.zone.new").mkdir()  # nothing can be written in its place
    with pytest.raises(StoreError, match=r"added\.zone cannot be written: ") as raised:
        await book.registry.add("x", ["192.0.2.1"])
    assert isinstance(raised.value.__cause__, OSError)
    assert raised.value.__cause__.errno in {errno.EISDIR, errno.EEXIST}
    assert book.records() == []


async def test_what_is_added_and_removed_again_and_again_is_there_after_a_restart(
    book: Book, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(added, "_MAX_CHANGES", 7)
    for number in range(30):
        await book.registry.add(f"h{number}", ["192.0.2.1"], ttl_s=number)
        if number % 3:
            await book.registry.remove(f"h{number - 1}")
    await book.registry.add("h29", ["192.0.2.1"], ttl_s=99)
    again = Book(tmp_path / "added.zone")
    await again.registry.load()
    assert sorted(again.records()) == sorted(book.records())
    assert "h29.weave.local 99 A 192.0.2.1" in again.records()
    await again.store.close()


async def test_a_name_is_given_no_more_records_than_a_file_may_hold(
    book: Book, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_RECORDS_PER_NAME", 3)
    monkeypatch.setattr(zonefile, "MAX_RECORDS_PER_NAME", 3)
    await book.registry.add("web", ["10.2.1.1", "10.2.1.2"])
    with pytest.raises(RecordError, match="web would have more than 3 records"):
        await book.registry.add("web", ["10.2.1.3", "10.2.1.4"])
    await book.registry.add("web", ["10.2.1.2", "10.2.1.3"], ttl_s=7)
    assert (await reread(book, tmp_path / "added.zone")).records() == book.records()


async def test_no_more_is_saved_than_can_be_read_again(
    book: Book, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zonefile, "MAX_FILE_BYTES", 1000)
    await book.registry.add("a", ["x" * 200], rtype="TXT")
    await book.registry.add("b", ["x" * 200], rtype="TXT")
    with pytest.raises(StoreError, match="remove some of it first"):
        await book.registry.add("c", ["x" * 200, "y" * 200, "z" * 200], rtype="TXT")
    assert (await reread(book, tmp_path / "added.zone")).records() == book.records()
    await book.registry.remove("a")
    assert (await reread(book, tmp_path / "added.zone")).records() == book.records()


async def test_what_is_named_twice_is_removed_once(book: Book, tmp_path: Path) -> None:
    await book.registry.add("web", ["10.2.1.7", "10.2.1.8"])
    again = Book(tmp_path / "added.zone")
    await again.registry.load()
    # The first change after a start writes the file anew, the second one adds to it.
    for kept in (again, book):
        await kept.registry.add("web", ["10.2.1.8"])
        assert await kept.registry.remove("web", ["10.2.1.8", "10.2.1.8"]) == 1
        assert kept.records() == ["web.weave.local 1 A 10.2.1.7"]
    await again.store.close()
