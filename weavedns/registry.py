"""What people register by hand: records and names for containers, durable before they are answered.

Every change is saved first and published after, so that what a command reported done outlives the daemon.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_address

from weavedns.added import HOLDER as ADDED
from weavedns.added import AddedStore, ContainerName
from weavedns.errors import RecordError, StoreError, UnknownRecordError, ZoneFileError
from weavedns.records import entries, names, rdata
from weavedns.records.alias import check_alone
from weavedns.records.catalog import Catalog, Change
from weavedns.records.record import Origin, Record, RecordType, check_ttl, type_code
from weavedns.records.zonefile import MAX_RECORDS_PER_NAME, check_supported

log = logging.getLogger(__name__)

MAX_RECORDS = 20_000
_ADDRESS_TYPES = frozenset({RecordType.A, RecordType.AAAA})
# Their data end with a name.
_TARGET_TYPES = frozenset({RecordType.NS, RecordType.CNAME, RecordType.PTR, RecordType.MX, RecordType.SRV})
_GENERIC = r"\#"


class Registry:
    """Adds and removes what people register; one change at a time."""

    def __init__(
        self,
        catalog: Catalog,
        store: AddedStore,
        *,
        owner: str,
        domain: bytes,
        default_ttl_s: int,
        publish: Callable[[list[Change]], None],
        republish: Callable[[str], None],
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._owner = owner
        self._domain = domain
        self._default_ttl_s = default_ttl_s
        self._publish = publish
        self._republish = republish
        self._container_names: tuple[ContainerName, ...] = ()
        self._changing = asyncio.Lock()

    async def load(self) -> None:
        """Publish what was saved; raises StoreError or ZoneFileError when it cannot be read."""
        records, self._container_names = await self._store.load()
        self._publish(self._catalog.replace(ADDED, records))

    def names_of(self, container_id: str) -> tuple[bytes, ...]:
        """The names that people gave a container."""
        return tuple(each.name for each in self._container_names if each.container_id == container_id)

    async def add(self, name: str, data: Sequence[str], *, rtype: str = "", ttl_s: int | None = None) -> None:
        """Add a record for each of `data`; all or none. Raises RecordError or StoreError."""
        if not data:
            raise RecordError(f"no data is given for {name}; give an address such as 10.2.1.7")
        fresh = [self._record(name, text, rtype, ttl_s) for text in data]
        async with self._changing:
            beside = [*self._catalog.of_name(fresh[0].name), *fresh]
            if any(record.rtype == RecordType.CNAME for record in beside):
                for record in fresh:
                    check_alone(record, beside)
            self._check_room(name, fresh)
            await self._save(fresh, [])
            self._publish([change for record in fresh for change in self._catalog.add(record)])

    async def add_container_name(self, name: str, container_id: str) -> None:
        """Give a container one more name; raises RecordError or StoreError."""
        extra = ContainerName(names.parse_host(name, self._domain), container_id)
        async with self._changing:
            if any(known.rtype == RecordType.CNAME for known in self._catalog.of_name(extra.name)):
                raise RecordError(f"{name} is a CNAME, which stands alone at its name; remove that first")
            if extra not in self._container_names:
                await self._save_container_names((*self._container_names, extra))
        self._republish(container_id)

    async def remove(self, name: str, data: Sequence[str] = ()) -> int:
        """Remove what was added under a name, or just `data` of it, and return how many records went.

        Raises UnknownRecordError when there is nothing to remove, saying why; then nothing is removed.
        """
        wire = names.parse_owner(name, self._domain)
        async with self._changing:
            added = self._added(wire)
            given = [each for each in self._container_names if each.name == wire]
            if data:
                going = list(dict.fromkeys(self._matching(added, name, text) for text in data))
                given = []
            else:
                going = added
            if not going and not given:
                raise UnknownRecordError(self._why_not(wire))
            if given:
                left = tuple(each for each in self._container_names if each not in given)
                await self._store.save(self._saved([], going), left)
                self._container_names = left
            else:
                await self._save([], going)
            self._publish([change for record in going for change in self._catalog.remove(record)])
        for each in given:
            self._republish(each.container_id)
        return len(going) + len(given)

    def check(self, name: str, data: Iterable[str]) -> None:
        """See that all of `data` were added here under a name; raises UnknownRecordError, saying why not."""
        added = self._added(names.parse_owner(name, self._domain))
        for text in data:
            self._matching(added, name, text)

    def has(self, wire: bytes, text: str) -> bool:
        """Whether a record with these data was added here under a name."""
        return matching(self._added(wire), text, self._domain) is not None

    async def remove_addresses(self, name: str | None, address: str | None) -> None:
        """Remove the added address records of a name, of an address, or of both; none is no error."""
        wire = names.parse_owner(name, self._domain) if name else None
        async with self._changing:
            added = self._catalog.of_holder(ADDED)
            going = [
                known
                for known in added
                if known.rtype in (RecordType.A, RecordType.AAAA)
                and wire in (None, known.name)
                and address in (None, rdata.render(known.rtype, known.rdata))
            ]
            if going:
                await self._save([], going)
            self._publish([change for record in going for change in self._catalog.remove(record)])

    async def remove_container_names(self, container_id: str, name: str | None = None) -> None:
        """Take one, or every, name back that people gave a container; none is no error."""
        wire = names.parse_host(name, self._domain) if name else None
        async with self._changing:
            left = tuple(
                each
                for each in self._container_names
                if each.container_id != container_id or wire not in (None, each.name)
            )
            if left != self._container_names:
                await self._save_container_names(left)
        self._republish(container_id)

    async def forget_container(self, container_id: str) -> None:
        """Drop the names of a container that does not exist any more; a full disk is only logged."""
        try:
            await self.remove_container_names(container_id)
        except StoreError as exc:
            log.warning("%s", exc)

    async def _save(self, coming: Sequence[Record], going: Sequence[Record]) -> None:
        if not await self._store.append(coming, going):
            await self._store.save(self._saved(coming, going), self._container_names)

    def _saved(self, coming: Sequence[Record], going: Sequence[Record]) -> Iterable[Record]:
        """All that is to be stored after a change."""
        wanted = {record: record for record in (*self._catalog.of_holder(ADDED), *coming)}
        for record in going:
            del wanted[record]
        return wanted.values()

    async def _save_container_names(self, wanted: tuple[ContainerName, ...]) -> None:
        await self._store.save(list(self._catalog.of_holder(ADDED)), wanted)
        self._container_names = wanted

    def _record(self, name: str, text: str, rtype: str, ttl_s: int | None) -> Record:
        code = type_code(rtype) if rtype else _type_of(text)
        # A service's name starts with labels such as _http, which parse_host lets through.
        wire = names.parse_owner(name, self._domain)
        check_supported(wire, code)
        data = rdata.parse(code, _fields(code, text), self._domain)
        ttl = self._default_ttl_s if ttl_s is None else check_ttl(ttl_s)
        return Record(self._owner, ADDED, wire, code, data, ttl, Origin.ADDED)

    def _added(self, wire: bytes) -> list[Record]:
        return [known for known in self._catalog.own.of_name(wire) if known.holder == ADDED]

    def _check_room(self, name: str, fresh: Iterable[Record]) -> None:
        new = [record for record in dict.fromkeys(fresh) if self._catalog.own.find(record) is None]
        if len(self._catalog.of_holder(ADDED)) + len(new) > MAX_RECORDS:
            raise RecordError(f"{MAX_RECORDS} records are added already; remove some, or use a zone file")
        if new and len(self._added(new[0].name)) + len(new) > MAX_RECORDS_PER_NAME:
            raise RecordError(f"{name} would have more than {MAX_RECORDS_PER_NAME} records; no answer holds more")

    def _matching(self, added: Sequence[Record], name: str, text: str) -> Record:
        if found := matching(added, text, self._domain):
            return found
        if not added:
            raise UnknownRecordError(self._why_not(names.parse_owner(name, self._domain)))
        raise UnknownRecordError(f"{name} has no added record with {text!r}; 'weavedns ls' shows what there is")

    def _why_not(self, wire: bytes) -> str:
        name = names.render(wire)
        for record in self._catalog.of_name(wire):
            match record.origin:
                case Origin.CONTAINER | Origin.ALIAS:
                    where = "" if record.owner == self._owner else f" on {record.owner}"
                    return (
                        f"{name} belongs to container {record.holder[:12]}{where}; it goes when that stops, "
                        f"or give the container the label works.weave.dns=off"
                    )
                case Origin.ZONE:
                    return f"{name} comes from the zone file {record.holder.removeprefix('zone:')}; edit that"
                case Origin.PEER:
                    return f"{name} is the server's own name and stays"
                case Origin.ADDED:
                    has = rdata.render(record.rtype, record.rdata)
                    return f"{name} was added on {record.owner} with {has!r}; remove it as a whole, or just that"
        return f"no record is named {name}; 'weavedns ls' shows what there is"


def matching(records: Sequence[Record], text: str, domain: bytes) -> Record | None:
    """The record whose data a person means by `text`, which may be spelled in any way that `add` takes."""
    for record in records:
        if rdata.render(record.rtype, record.rdata) == text:
            return record
    for record in records:
        try:
            if rdata.parse(record.rtype, _fields(record.rtype, text), domain) == record.rdata:
                return record
        except RecordError:
            continue
    return None


def _type_of(text: str) -> int:
    try:
        version = ip_address(text).version
    except ValueError:
        raise RecordError(
            f"{text!r} is no address; write one such as 10.2.1.7, or give the type with --type"
        ) from None
    return RecordType.A if version == 4 else RecordType.AAAA  # noqa: PLR2004


def _fields(code: int, text: str) -> list[str]:
    """Split data into fields as a master file does; a target with a dot in it is a name in full, as with NAME."""
    if code in _ADDRESS_TYPES:
        return [text]
    lines = text.splitlines()
    try:
        entry, end = entries.read(lines, 0, "")
    except ZoneFileError as exc:
        raise RecordError(str(exc).partition(": ")[2]) from exc
    if end < len(lines):
        raise RecordError(f"{text!r} is more than one line; give each record on its own")
    *before, last = entry.fields or [""]
    is_name = code in _TARGET_TYPES and last and before[:1] != [_GENERIC]
    return [*before, last + "."] if is_name and "." in last and not last.endswith(".") else entry.fields
