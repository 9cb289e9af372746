"""What a command asks of the daemon, one method each: finds the parts that do it and words the result."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, ip_address
from typing import Any

from weavedns import __version__
from weavedns.added import HOLDER as ADDED
from weavedns.cluster.cluster import Cluster
from weavedns.config import Settings, peer_address
from weavedns.containers.roster import Known
from weavedns.containers.service import ContainerService
from weavedns.control import peers, upstream_status
from weavedns.dns.server import DnsServer
from weavedns.dns.upstream import Upstreams
from weavedns.errors import ConfigError, RecordError, UnknownRecordError
from weavedns.gossip.words import printable
from weavedns.ownname import ns_name
from weavedns.records import names, rdata, zonefile
from weavedns.records.catalog import Catalog
from weavedns.records.record import Origin, Record, RecordType, type_code, type_name
from weavedns.registry import Registry
from weavedns.zones import ZoneWatcher
from weavenet.network import WeaveNetwork
from weavenet.sharing import Sharing

_QUERY_LOG = logging.getLogger("weavedns.queries")

SHORT_ID = 12
# What scripts written for the earlier name API pass for an address that is no container's.
_EXTERNAL = "weave:extern"
_ADDRESS_TYPES = frozenset({RecordType.A, RecordType.AAAA})
_CONTAINERS = frozenset({Origin.CONTAINER, Origin.ALIAS})
_SECTIONS = ("dns", "upstream", "containers", "zones")
_PEER_SECTIONS = ("peers", "ipam")


@dataclass(frozen=True, slots=True)
class Parts:
    """The daemon's parts that commands reach.

    `containers`, `sharing` and `network` are None when it runs without the network part, `cluster` when it has no
    peers, and `waits_for` says why the network part is not there yet.
    """

    settings: Settings
    catalog: Catalog
    dns: DnsServer
    registry: Registry
    zones: ZoneWatcher
    containers: ContainerService | None
    dns_address: IPv4Address | None
    started_at: float
    upstreams: Upstreams
    stop: Callable[[bool], Awaitable[None]]
    cluster: Cluster | None = None
    sharing: Sharing | None = None
    network: WeaveNetwork | None = None
    waits_for: Callable[[], str] = str


class Operations:
    """The operations behind the control API and the status page."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def go_on_with(self, parts: Parts) -> None:
        """Serve with more parts, as those that had to be waited for are there now."""
        self._parts = parts

    async def attach(self, ref: str, endpoints: Sequence[str]) -> list[IPv4Interface]:
        """Attach a container; see ContainerService.attach."""
        return await self._containers().attach(_given(ref, "ContainerID"), endpoints)

    async def detach(self, ref: str, endpoints: Sequence[str]) -> list[IPv4Interface]:
        """Detach a container; see ContainerService.detach."""
        return await self._containers().detach(_given(ref, "ContainerID"), endpoints)

    async def containers(self) -> list[dict[str, Any]]:
        """The attached containers, a row each."""
        return self._container_rows(self._containers())

    async def add_records(self, name: str, data: Sequence[str], *, rtype: str, ttl_s: int | None) -> None:
        """Add records by hand; see Registry.add."""
        await self._parts.registry.add(_given(name, "name"), data, rtype=rtype, ttl_s=ttl_s)

    async def add_container_name(self, name: str, ref: str) -> None:
        """Give an attached container one more name."""
        known = await self._containers().resolve(ref)
        await self._parts.registry.add_container_name(_given(name, "name"), known.container.id)

    async def remove_records(self, name: str, data: Sequence[str]) -> int:
        """Remove what was added by hand, on whichever peer; see Registry.remove."""
        parts = self._parts
        if parts.cluster is None:
            return await parts.registry.remove(_given(name, "name"), data)
        removal = _given(name, "name"), list(data)
        return await peers.remove(parts.cluster, parts.catalog, parts.registry, parts.settings.domain, removal)

    async def join(self, texts: Sequence[str]) -> None:
        """Join more peers, all that can be; raises PeerError with each that is not there or refuses."""
        cluster = self._cluster()
        await cluster.join([peer_address(_given(text, "PEER"), cluster.port) for text in texts])

    def forget(self, peer: str) -> None:
        """Drop a peer that is gone, on all peers, or an address where one was looked for in vain."""
        self._cluster().forget(_given(peer, "PEER"))

    async def take_over(self, peer: str) -> int:
        """Inherit the addresses of a peer that never returns; how many."""
        return await self._sharing().take_over(_given(peer, "PEER"))

    async def seed(self) -> None:
        """Share the addresses out between the peers that are connected."""
        await self._sharing().seed()

    def network_status(self) -> str:
        """The weave network of this host as text."""
        network, sharing = self._parts.network, self._sharing()
        if network is None:
            return peers.ipam_text(peers.ipam(sharing, self._parts.settings.name))
        return peers.network_text(network, sharing, self._parts.settings.name)

    def records(self) -> list[dict[str, Any]]:
        """Every record, a row each, by name."""
        return [_record_row(record) for record in sorted(self._parts.catalog, key=_by_name)]

    def lookup(self, name: str, rtype: str) -> list[str]:
        """What this peer answers for a name, or for an address's reverse name, in presentation form."""
        code = type_code(rtype)
        try:
            wire = names.reverse(ip_address(name))
            code = RecordType.PTR if code == RecordType.A else code
        except ValueError:
            domain = self._parts.settings.domain
            # Single labels are tried in the domain, with a final dot or without.
            label = _given(name, "name").removesuffix(".")
            wire = names.parse(label, domain) if label and "." not in label else names.parse(name)
        return [rdata.render(code, each) for each in self._parts.dns.lookup(wire, code)]

    def flush(self, name: str) -> int:
        """Forget what upstreams said, all of it or about a name and those under it; how many answers that were."""
        return self._parts.dns.flush(names.parse(name.rstrip(".") + ".") if name else None)

    def log_queries(self, *, on: bool) -> None:
        """Log one line for each query from now on, or no more."""
        # Whoever asks for these lines wants them, whatever --log-level says of the others.
        _QUERY_LOG.setLevel(logging.INFO)
        self._parts.dns.log_queries(_QUERY_LOG.info if on else None)

    def export(self) -> str:
        """All records as an RFC 1035 zone file."""
        settings = self._parts.settings
        return zonefile.render(
            self._parts.catalog, domain=settings.domain, ns=ns_name(settings.domain),
            serial=self._parts.catalog.version, ttl_s=settings.ttl_s,
        )  # fmt: skip

    async def put_name(self, holder: str, address: str, fqdn: str) -> None:
        """Register a name for an address, in the manner of the earlier name API."""
        address = _address(address)
        name = _given(fqdn, "fqdn")
        if holder == _EXTERNAL:
            await self._parts.registry.add(name, [address])
            return
        known = await self._containers().resolve(holder)
        if address not in {str(each.ip) for each in known.addresses}:
            raise RecordError(f"{address} is not an address of container {holder}; 'weavenet ps' shows those")
        await self._parts.registry.add_container_name(name, known.container.id)

    async def delete_name(self, holder: str, address: str | None, fqdn: str | None) -> None:
        """Take back what `put_name` registered: for a holder, one of its addresses, or one of its names."""
        registry = self._parts.registry
        if holder == _EXTERNAL:
            await registry.remove_addresses(fqdn, _address(address) if address else None)
            return
        # Also of a container that has stopped: its names wait for its return.
        container_id = await self._containers().identify(holder)
        known = [each for each in self._containers().attached() if each.container.id == container_id]
        if address and known and _address(address) not in {str(each.ip) for each in known[0].addresses}:
            raise UnknownRecordError(f"{address} is not an address of container {holder}")
        await registry.remove_container_names(container_id, fqdn)

    def addresses_of(self, fqdn: str) -> list[str]:
        """The IPv4 addresses of a name."""
        return self.lookup(fqdn, "A")

    def domain(self) -> str:
        """The domain, with its final dot."""
        return names.render(self._parts.settings.domain) + "."

    def not_ready(self) -> str:
        """Why this peer cannot answer for all its containers yet; "" when it can."""
        containers = self._parts.containers
        return "" if containers is None or containers.settled.is_set() else "looking at the containers"

    def _engine_state(self) -> str:
        parts = self._parts
        if parts.containers:
            return parts.containers.engine_state
        return "not asked yet: there are no addresses to give" if parts.waits_for() else "not used (--no-network)"

    def report(self) -> dict[str, Any]:
        """Everything that `status` tells, for programs."""
        parts = self._parts
        return {
            "version": __version__,
            "name": parts.settings.name,
            "uptime_s": round(time.monotonic() - parts.started_at, 1),
            "engine": self._engine_state(),
            "dns": {
                "domain": names.render(parts.settings.domain),
                "address": str(parts.dns_address) if parts.dns_address else None,
                "listening": [f"{host} port {port}" for host, port in parts.dns.listening],
                "records": len(parts.catalog),
                "version": parts.catalog.version,
                "queries": parts.dns.stats.as_dict(),
            },
            **self._peer_report(),
            "upstream": upstream_status.report(parts.upstreams, parts.dns),
            "containers": self._container_rows(parts.containers) if parts.containers else [],
            "zones": [
                {"file": str(zone.path), "records": zone.records, "error": zone.error}
                for zone in parts.zones.status()
            ],
        }

    def status(self, section: str = "") -> str:
        """The report, or one `section` of it, as text; raises ConfigError for a section that there is not."""
        report = self.report()
        known = [*_SECTIONS, *(each for each in _PEER_SECTIONS if each in report)]
        if section and section not in known:
            raise ConfigError(f"there is no section {section!r}; choose one of {', '.join(known)}")
        # Of a host that is alone, nobody need hear that each time.
        alone = not report.get("peers") and not self._parts.settings.peers
        chosen = [section] if section else _SECTIONS if alone else known
        text = "" if section else _head(report)
        return text + "\n".join(_section(each, report) for each in chosen)

    async def stop(self, *, clean: bool) -> None:
        """Stop the daemon once this is answered; with `clean`, leave no interface, rule or resolv.conf change."""
        await self._parts.stop(clean)

    def _container_rows(self, containers: ContainerService) -> list[dict[str, Any]]:
        return [
            _container_row(known, self._parts.catalog.of_holder(known.container.id))
            for known in containers.attached()
        ]

    def _peer_report(self) -> dict[str, Any]:
        parts = self._parts
        told: dict[str, Any] = {}
        if parts.cluster:
            told["peers"] = peers.rows(parts.cluster, parts.catalog)
            told["gossip"] = parts.cluster.gossip()
        if parts.sharing:
            told["ipam"] = peers.ipam(parts.sharing, parts.settings.name)
        return told

    def _cluster(self) -> Cluster:
        if self._parts.cluster is None:
            raise peers.not_connected()
        return self._parts.cluster

    def _sharing(self) -> Sharing:
        if self._parts.sharing is None:
            raise ConfigError("this daemon runs with --no-network and has no addresses to give")
        return self._parts.sharing

    def _containers(self) -> ContainerService:
        if self._parts.containers is None and (waits := self._parts.waits_for()):
            raise ConfigError(waits)
        if self._parts.containers is None:
            raise ConfigError(
                "this daemon runs with --no-network; launch it as root without that to attach containers"
            )
        return self._parts.containers


def _given(text: str, what: str) -> str:
    if not text:
        raise RecordError(f"no {what} is given")
    return text


def _address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        raise RecordError(f"{text!r} is no address; write one such as 10.2.1.7") from None


def _by_name(record: Record) -> tuple[list[bytes], int, bytes]:
    return list(reversed(list(names.labels_of(record.name)))), record.rtype, record.rdata


def _record_row(record: Record) -> dict[str, Any]:
    return {
        "name": names.render(record.name),
        "type": type_name(record.rtype),
        "data": rdata.render(record.rtype, record.rdata),
        "ttl": record.ttl_s,
        "healthy": record.healthy,
        "origin": str(Origin.CONTAINER if record.origin is Origin.ALIAS else record.origin),
        "holder": _holder(record),
        "peer": record.owner,
    }


def _container_row(known: Known, records: Iterable[Record]) -> dict[str, Any]:
    found = dict.fromkeys(each.name for each in records if each.rtype in _ADDRESS_TYPES)
    return {
        "container": known.container.id[:SHORT_ID],
        "name": known.container.name,
        "addresses": [str(each) for each in known.addresses],
        "mac": known.mac,
        "names": [names.render(name) for name in found],
    }


def _head(report: dict[str, Any]) -> str:
    return f"weavedns {report['version']}, peer {report['name']}, up {report['uptime_s']:.0f} s\n\n" + _line(
        "Docker engine", report["engine"]
    )


def _section(section: str, report: dict[str, Any]) -> str:
    match section:
        case "dns":
            dns = report["dns"]
            counts = ", ".join(f"{count} {name}" for name, count in dns["queries"].items() if count)
            return (
                _line("domain", dns["domain"])
                + _line("DNS address", dns["address"] or "none")
                + _line("listening", ", ".join(dns["listening"]))
                + _line("records", f"{dns['records']} (version {dns['version']})")
                + _line("queries", counts or "none yet")
            )
        case "upstream":
            return upstream_status.text(report["upstream"])
        case "peers":
            return peers.text(report["peers"]) + peers.gossip_text(report["gossip"])
        case "ipam":
            return peers.ipam_text(report["ipam"])
        case "containers":
            return _line("containers", f"{len(report['containers'])} attached")
        case _:
            zones = report["zones"]
            told = [f"{each['file']}: {each['error'] or str(each['records']) + ' records'}" for each in zones]
            return _line("zone files", "; ".join(told) or "none")


def _line(label: str, value: str) -> str:
    return f"{label:>14}: {value}\n"


def _holder(record: Record) -> str:
    """The zone file, the store or the container that a record goes away with, as people write it."""
    if record.origin in _CONTAINERS or (record.origin is Origin.ADDED and record.holder != ADDED):
        return printable(record.holder[:SHORT_ID])
    return printable(record.holder.removeprefix("zone:"))
