r"""RFC 1035 master files to records and back. Opens no file: an included one comes from a function given in.

Read are ``$ORIGIN``, ``$TTL``, ``$INCLUDE``, comments, parentheses, quotes, escapes, ``@``, a blank owner, TTLs such
as ``1h30m``, ``TYPEnnn`` and ``\# LENGTH HEX``. SOA and NS of the domain itself are checked and then left out,
because the server makes its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from weavedns.errors import RecordError, ZoneFileError
from weavedns.records import entries, names, rdata
from weavedns.records.alias import alone, check_alone
from weavedns.records.entries import Entry, failure
from weavedns.records.record import MAX_TTL_S, Origin, Record, RecordType, check_ttl, type_code, type_name

MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_RECORDS = 500_000
# More addresses of one name than these do not fit a DNS message.
MAX_RECORDS_PER_NAME = 4000
MAX_INCLUDE_DEPTH = 8
PAUSE_LINES = 20

Include = Callable[[str, str], tuple[str, bytes]]
"""What ``$INCLUDE`` says and the file that says so, to the path and the contents; raises RecordError."""

# The line that big files are made of: a plain name, perhaps a TTL, perhaps the class, and an IPv4 address.
_LABEL = r"[A-Za-z0-9_-]{1,63}"
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
PLAIN_LINE = re.compile(
    rf"({_LABEL}(?:\.{_LABEL})*+)(\.?)[ \t]+(?:([0-9]{{1,9}})[ \t]+)?(?:[Ii][Nn][ \t]+)?[Aa][ \t]+"
    rf"({_OCTET}\.{_OCTET}\.{_OCTET}\.{_OCTET})[ \t]*\r?"
)
_LENGTH = [bytes((length,)) for length in range(names.MAX_LABEL_BYTES + 1)]
_TTL = re.compile(r"[0-9]{1,10}|(?:[0-9]{1,10}[wdhms])+", re.IGNORECASE)
_TTL_PART = re.compile(r"([0-9]+)([wdhms]?)")
_UNIT_S = {"w": 604_800, "d": 86_400, "h": 3600, "m": 60, "s": 1, "": 1}
_CLASS = re.compile(r"IN|CH|HS|CS|CLASS[0-9]{1,5}", re.IGNORECASE)
_OUR_CLASS = frozenset({"IN", "CLASS1"})
_DNAME = 39
# RFC 6895 section 3.1: these are asked for or describe a message, and no zone holds them.
_NEVER_HELD = frozenset({0, RecordType.OPT, *range(128, 256)})
_WILDCARD = b"\1*"
_SOA_FIELDS = 7
_HOST = frozenset({RecordType.A, RecordType.AAAA})
_LOCALHOST = names.parse("localhost.")
_SOA_TIMERS = (3600, 600, 86400)


def check_supported(name: bytes, rtype: int) -> None:
    """Raise RecordError, saying so, when a record with this name and type cannot be answered."""
    if rtype in _NEVER_HELD:
        raise RecordError(f"{type_name(rtype)} is never held as a record; use A, AAAA, SRV and so on")
    if rtype == RecordType.SOA:
        raise RecordError("SOA stands at the domain itself and the server makes its own; remove it")
    if rtype == _DNAME:
        raise RecordError(f"DNAME is not served; give {names.render(name)} and the names under it CNAME records")
    if rtype == RecordType.NS and name.startswith(_WILDCARD):
        # RFC 4592 section 4.2: nobody knows what that would mean.
        raise RecordError(f"{names.render(name)} is a wildcard, which hands no names to others; name each one")


def parse(
    data: bytes,
    *,
    file: str,
    origin: bytes,
    default_ttl_s: int,
    owner: str,
    holder: str,
    origin_kind: Origin,
    include: Include | None = None,
    max_records: int = MAX_RECORDS,
    elsewhere: Iterable[Record] = (),
    alias: Callable[[Record, str, int], None] | None = None,
    pause: Callable[[], None] | None = None,
) -> list[Record]:
    """Read a master file for the domain `origin`; what is there twice comes once, in the order of the file.

    `elsewhere` are CNAME records of other files, which nothing may stand beside; `alias` hears of each CNAME of this
    file, with file and line. `pause` is called after every `PAUSE_LINES` lines, for who has other work to let in.

    A record without TTL gets that of ``$TTL``, else the last one stated (RFC 1035), else the minimum of an SOA
    above it, else `default_ttl_s`. Raises ZoneFileError, whose message starts with ``file:line:``.
    """
    make = _Maker(owner, holder, origin_kind)
    reader = _Reader(origin, make, include, max_records, elsewhere, alias, pause)
    reader.read(data, _Scope(file, origin, default_ttl_s))
    return list(reader.records)


def render(records: Iterable[Record], *, domain: bytes, ns: bytes, serial: int, ttl_s: int) -> str:
    """Write a whole master file for the domain: SOA and NS, and every record once, sorted by name.

    A CNAME that gives way to other records is left out, as no reader takes both. Nor does one take a name server of
    the domain without an address, which ours is while the network is not used: ``localhost`` stands in for it then.
    """
    refresh, retry, expire = _SOA_TIMERS
    answered = _answered(records, domain)
    has_address = any(record.name == ns and record.rtype in _HOST for record in answered)
    server = ns if has_address or not names.is_under(ns, domain) else _LOCALHOST
    apex = [
        f"$ORIGIN {_absolute(domain)}",
        f"$TTL {ttl_s}",
        f"@ IN SOA {_absolute(ns)} hostmaster.{_absolute(domain)} (",
        f"    {serial % 2**32} {refresh} {retry} {expire} {ttl_s} )  ; serial refresh retry expire negative-ttl",
        f"@ IN NS {_absolute(server)}",
    ]
    return "\n".join([*apex, *_render_lines(answered, domain, ttl_s)]) + "\n"


def render_records(records: Iterable[Record], *, domain: bytes, ttl_s: int) -> str:
    """Write records alone, for a file that is read with this domain, without SOA and NS."""
    head = [f"$ORIGIN {_absolute(domain)}", f"$TTL {ttl_s}"]
    return "\n".join([*head, *_render_lines(records, domain, ttl_s)]) + "\n"


def render_line(record: Record) -> str:
    """Write one record as a line that says the same in any file."""
    data = rdata.render(record.rtype, record.rdata)
    return f"{_absolute(record.name)} {record.ttl_s} IN {type_name(record.rtype)} {data}"


@dataclass(frozen=True, slots=True)
class _Maker:
    owner: str
    holder: str
    origin_kind: Origin

    def __call__(self, name: bytes, rtype: int, data: bytes, ttl_s: int) -> Record:
        return Record(self.owner, self.holder, name, rtype, data, ttl_s, self.origin_kind)


@dataclass(slots=True)
class _Scope:
    """What holds from one entry of a file to the next; an included file has its own (RFC 1035 section 5.1)."""

    file: str
    origin: bytes
    ttl_s: int
    ttl_stated: bool = False  # by $TTL: a TTL at a record is for that record alone
    ttl_known: bool = False
    name: bytes | None = None


class _Reader:
    """Reads one file and what it includes into `records`; used once."""

    def __init__(
        self,
        domain: bytes,
        make: _Maker,
        include: Include | None,
        max_records: int,
        elsewhere: Iterable[Record],
        alias: Callable[[Record, str, int], None] | None,
        pause: Callable[[], None] | None,
    ) -> None:
        self.records: dict[Record, None] = {}
        self._domain = domain
        self._make = make
        self._include = include
        self._max_records = max_records
        self._open_files: list[str] = []
        self._bytes_left = MAX_FILE_BYTES
        self._per_name: dict[bytes, int] = {}
        self._elsewhere = {record.name: record for record in elsewhere}
        self._aliases = set(self._elsewhere)
        self._tell_alias = alias
        self._pause = pause
        self._line = 0
        self._ttls: dict[int, int] = {}  # one object for each TTL, not one for each record

    def read(self, data: bytes, scope: _Scope) -> None:
        """Read one file to its end."""
        lines = self._text(data, scope.file).split("\n")
        self._open_files.append(scope.file)
        at = pause_at = 0
        while at < len(lines):
            if self._pause and at >= pause_at:
                pause_at = at + PAUSE_LINES
                self._pause()
            plain = PLAIN_LINE.fullmatch(lines[at])
            if plain and self._add_plain(plain, scope, at + 1):
                at += 1
                continue
            entry, at = entries.read(lines, at, scope.file)
            if entry.fields:
                self._line = entry.line
                try:
                    self._read_entry(entry, scope)
                except ZoneFileError:
                    raise
                except RecordError as exc:
                    raise failure(scope.file, entry.line, str(exc)) from None
        self._open_files.pop()

    def _text(self, data: bytes, file: str) -> str:
        self._bytes_left -= len(data)
        if self._bytes_left < 0:
            raise failure(file, 1, f"the file, with what it includes, is over {MAX_FILE_BYTES >> 20} MiB; split it")
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as exc:
            line = exc.object.count(b"\n", 0, exc.start) + 1
            byte = exc.object[exc.start]
            raise failure(file, line, f"byte 0x{byte:02x} is not UTF-8; save the file as UTF-8") from None

    def _add_plain(self, line: re.Match[str], scope: _Scope, number: int) -> bool:
        """Add the record of a plain line; False leaves the line, and what is wrong with it, to the careful way."""
        text, dot, ttl, address = line.groups()
        labels = text.lower().encode("ascii").split(b".")
        name = b"".join([_LENGTH[len(label)] + label for label in labels]) + (names.ROOT if dot else scope.origin)
        if len(name) > names.MAX_NAME_BYTES or not names.is_under(name if dot else scope.origin, self._domain):
            return False
        scope.name = name
        ttl_s = self._state_ttl(int(ttl), scope) if ttl else scope.ttl_s
        try:
            self._add(self._make(name, 1, bytes(map(int, address.split("."))), ttl_s))
        except RecordError as exc:
            raise failure(scope.file, number, str(exc)) from None
        return True

    def _read_entry(self, entry: Entry, scope: _Scope) -> None:
        first = entry.fields[0]
        if first.startswith("$") and not entry.blank_start:
            self._read_directive(first.upper(), entry, scope)
            return
        rest = iter(entry.fields if entry.blank_start else entry.fields[1:])
        if not entry.blank_start:
            name = names.parse(first, scope.origin)
            scope.name = scope.name if scope.name == name else name
        if scope.name is None:
            raise RecordError("a line that starts with a blank goes on with the name above it, and there is none")
        self._read_record(scope.name, rest, scope)

    def _read_record(self, name: bytes, fields: Iterator[str], scope: _Scope) -> None:
        ttl_s: int | None = None
        class_seen = False
        for text in fields:
            if ttl_s is None and text[:1].isdigit():
                ttl_s = parse_ttl(text)
            elif not class_seen and _CLASS.fullmatch(text):
                class_seen = True
                if text.upper() not in _OUR_CLASS:
                    raise RecordError(f"class {text!r} is not served; write IN")
            else:
                break
        else:
            raise RecordError(f"{names.render(name)} has no type; write one such as A, and the data after it")
        if ttl_s is not None:
            ttl_s = self._state_ttl(ttl_s, scope)
        rtype = type_code(text)
        if not names.is_under(name, self._domain):
            zone = names.render(self._domain)
            raise RecordError(f"{names.render(name)} is outside the domain {zone}; end it in .{zone}. or remove it")
        if name == self._domain and rtype in {RecordType.SOA, RecordType.NS}:
            self._skip_authority(rtype, list(fields), scope)
            return
        check_supported(name, rtype)
        data = rdata.parse(rtype, list(fields), scope.origin)
        self._add(self._make(name, rtype, data, scope.ttl_s if ttl_s is None else ttl_s))

    def _add(self, record: Record) -> None:
        before = len(self.records)
        self.records[record] = None
        if len(self.records) == before:
            return
        if record.rtype == RecordType.CNAME or (self._aliases and record.name in self._aliases):
            self._check_alone(record)
        if before == self._max_records:
            raise RecordError(f"this is more than {self._max_records} records; split the zone or remove some")
        count = self._per_name.get(record.name, 0) + 1
        if count > MAX_RECORDS_PER_NAME:
            name = names.render(record.name)
            raise RecordError(f"{name} has more than {MAX_RECORDS_PER_NAME} records; no answer holds more")
        self._per_name[record.name] = count

    def _check_alone(self, record: Record) -> None:
        if record.name == self._domain:
            raise RecordError("the domain itself has SOA and NS, and a CNAME stands alone at its name; remove it")
        if record.rtype == RecordType.CNAME:
            self._aliases.add(record.name)
            if self._tell_alias:
                self._tell_alias(record, self._open_files[-1], self._line)
        if record.name in self._per_name:
            check_alone(record, (other for other in self.records if other.name == record.name))
        if record.name in self._elsewhere:
            check_alone(record, [self._elsewhere[record.name]])

    def _state_ttl(self, ttl_s: int, scope: _Scope) -> int:
        ttl_s = self._ttls.setdefault(ttl_s, ttl_s)
        if not scope.ttl_stated:
            scope.ttl_s, scope.ttl_known = ttl_s, True
        return ttl_s

    def _skip_authority(self, rtype: int, fields: list[str], scope: _Scope) -> None:
        if rtype == RecordType.NS or fields[:1] == [r"\#"]:
            rdata.parse(rtype, fields, scope.origin)
            return
        if len(fields) != _SOA_FIELDS:
            raise RecordError(
                f"SOA has {len(fields)} fields; it needs MNAME RNAME SERIAL REFRESH RETRY EXPIRE MINIMUM"
            )
        for text in fields[:2]:
            names.parse(text, scope.origin)
        if not re.fullmatch(r"[0-9]{1,10}", fields[2]) or int(fields[2]) >= 2**32:
            raise RecordError(f"{fields[2]!r} is no serial number; give one from 0 to {2**32 - 1}")
        minimum = [parse_ttl(text) for text in fields[3:]][-1]
        if not scope.ttl_known:
            scope.ttl_s = minimum

    def _read_directive(self, directive: str, entry: Entry, scope: _Scope) -> None:
        values = entry.fields[1:]
        match directive, len(values):
            case "$ORIGIN", 1:
                scope.origin = names.parse(values[0], scope.origin)
            case "$TTL", 1:
                scope.ttl_s = parse_ttl(values[0])
                scope.ttl_stated = scope.ttl_known = True
            case "$INCLUDE", 1 | 2:
                self._read_included(values, scope)
            case (("$ORIGIN" | "$TTL" | "$INCLUDE"), count):
                raise RecordError(f"{directive} has {count} values; write $ORIGIN NAME, $TTL TIME or $INCLUDE FILE")
            case _:
                raise RecordError(f"{entry.fields[0]!r} is no directive; use $ORIGIN, $TTL or $INCLUDE")

    def _read_included(self, values: list[str], scope: _Scope) -> None:
        if self._include is None:
            raise RecordError(f"{values[0]!r} cannot be included here; put its lines in this file")
        if len(self._open_files) > MAX_INCLUDE_DEPTH:
            raise RecordError(f"{values[0]!r} is included more than {MAX_INCLUDE_DEPTH} files deep; flatten them")
        file, data = self._include(values[0], scope.file)
        if file in self._open_files:
            raise RecordError(f"{values[0]!r} includes itself; remove this line")
        origin = names.parse(values[1], scope.origin) if len(values) > 1 else scope.origin
        self.read(data, replace(scope, file=file, origin=origin))


def parse_ttl(text: str) -> int:
    """Read a TTL in seconds or with units, such as ``1h30m``; raises RecordError."""
    if not _TTL.fullmatch(text):
        raise RecordError(f"{text!r} is no TTL; write seconds such as 300, or a time such as 1h30m")
    total = sum(int(count) * _UNIT_S[unit] for count, unit in _TTL_PART.findall(text.lower()))
    if total > MAX_TTL_S:
        raise RecordError(f"the TTL {text!r} is too long; give at most {MAX_TTL_S} seconds")
    return check_ttl(total)


def _answered(records: Iterable[Record], domain: bytes) -> list[Record]:
    """The records without the CNAME records that give way to others of their name."""
    by_name: dict[bytes, list[Record]] = {}
    for record in records:
        by_name.setdefault(record.name, []).append(record)
    return [each for name, same in by_name.items() for each in alone(same, at_apex=name == domain)]


def _render_lines(records: Iterable[Record], domain: bytes, ttl_s: int) -> list[str]:
    unique: dict[tuple[bytes, int, bytes], int] = {}
    for record in records:
        key = (record.name, record.rtype, record.rdata)
        unique[key] = min(record.ttl_s, unique.get(key, record.ttl_s))
    rows = []
    for (name, rtype, data), each_s in sorted(unique.items(), key=lambda item: _order(item[0])):
        stated = "" if each_s == ttl_s else f"{each_s} "
        rows.append((_relative(name, domain), f"{stated}IN {type_name(rtype)} {rdata.render(rtype, data)}"))
    width = min(max((len(owner) for owner, _ in rows), default=0), 32)
    return [f"{owner:<{width}} {rest}" for owner, rest in rows]


def _order(key: tuple[bytes, int, bytes]) -> tuple[list[bytes], int, bytes]:
    """Sort as a tree: the domain, then the names right below it, each with what is below itself."""
    name, rtype, data = key
    return list(names.labels_of(name))[::-1], rtype, data


def _relative(name: bytes, domain: bytes) -> str:
    if name == domain:
        return "@"
    if names.is_under(name, domain):
        return names.render(name[: -len(domain)] + names.ROOT)
    return _absolute(name)


def _absolute(name: bytes) -> str:
    return names.render(name) if name == names.ROOT else names.render(name) + "."
