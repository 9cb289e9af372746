"""A CNAME stands alone at its name (RFC 1034 section 3.6.2): who may stand beside whom, and who gives way. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from weavedns.errors import RecordError
from weavedns.records import names, rdata
from weavedns.records.record import Origin, Record, RecordType, type_name


def alone(records: Sequence[Record], *, at_apex: bool = False) -> Sequence[Record]:
    """The records of one name that are answered, where they came together from several holders.

    Any other record beats a CNAME, so that a container that starts is found whatever was an alias before; of several
    CNAME records the one with the least data stays, which is the same on every host. The domain itself has none.
    """
    aliases = [record for record in records if record.rtype == RecordType.CNAME]
    if not aliases:
        return records
    if at_apex or len(aliases) < len(records):
        return [record for record in records if record.rtype != RecordType.CNAME]
    chosen = min(record.rdata for record in aliases)
    return [record for record in aliases if record.rdata == chosen]


def check_alone(record: Record, others: Iterable[Record]) -> None:
    """Raise RecordError, naming both, when `record` and one of the others of its name cannot both stand."""
    for other in others:
        if (record.rtype, record.rdata) == (other.rtype, other.rdata):
            continue
        if RecordType.CNAME in (record.rtype, other.rtype):
            raise RecordError(
                f"{names.render(record.name)} has {_described(other)} already, and a CNAME stands alone at its name: "
                f"{_described(record, short=True)} cannot stand beside it; remove one of them"
            )


def _described(record: Record, *, short: bool = False) -> str:
    text = f"{type_name(record.rtype)} {rdata.render(record.rtype, record.rdata)}"
    if short:
        return text
    match record.origin:
        case Origin.CONTAINER | Origin.ALIAS:
            return f"{text} (of container {record.holder[:12]})"
        case Origin.ZONE:
            return f"{text} (of {record.holder.removeprefix('zone:')})"
        case Origin.PEER:
            return f"{text} (the server's own)"
        case Origin.ADDED:
            return f"{text} (added)"
