"""The records that a container should have now; comparing them with what is registered is the catalog's. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address

from weavedns.containers.naming import Container
from weavedns.records import rdata
from weavedns.records.record import Origin, Record, RecordType

Address = IPv4Address | IPv6Address


def records_for(
    container: Container, addresses: Sequence[Address], *, owner: str, extra_names: Iterable[bytes] = ()
) -> list[Record]:
    """The records of a container that has `addresses`, the name it goes by first, each once.

    `extra_names` are names given by hand, in wire form, and told apart by their origin. A container that does not
    run, or that has no address, has no records: a name must lead to something that can be reached. Its health goes
    with its records.
    """
    if not container.running or not addresses:
        return []

    def record(name: bytes, rtype: RecordType, data: bytes, origin: Origin = Origin.CONTAINER) -> Record:
        return Record(owner, container.id, name, rtype, data, container.ttl_s, origin, healthy=container.healthy)

    named = [(name, Origin.ALIAS if at else Origin.CONTAINER) for at, name in enumerate(container.names)]
    named += [(name, Origin.ADDED) for name in extra_names]
    records = [
        record(name, RecordType.A if isinstance(address, IPv4Address) else RecordType.AAAA, address.packed, origin)
        for name, origin in named
        for address in addresses
    ]
    records += [
        record(srv.name, RecordType.SRV, rdata.srv(srv.priority, srv.weight, srv.port, srv.target))
        for srv in container.srv
    ]
    return list(dict.fromkeys(records))
