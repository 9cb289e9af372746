"""What commands ask about other peers and the addresses shared with them: found, worded, or passed to the owner."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import Any

import msgspec

from weavedns.added import HOLDER as ADDED
from weavedns.cluster.cluster import DNS_FACT, Cluster
from weavedns.errors import ConfigError, PeerError, UnknownRecordError
from weavedns.records import names, rdata
from weavedns.records.catalog import Catalog
from weavedns.records.record import Origin
from weavedns.registry import Registry, matching
from weavenet.network import WeaveNetwork
from weavenet.sharing import Sharing

REMOVE = "remove"
_MAX_DIGITS = 9
_Removal = tuple[str, list[str]]


def owners_of(catalog: Catalog, wire: bytes, data: Sequence[str], domain: bytes) -> dict[str, dict[str, str]]:
    """On which other peers records of a name were added, and which of `data` each has; those that are gone too.

    Each of `data`, as it was given, with the one spelling that the owner knows. A name that was given to a container
    goes as a whole, so it has no data of its own.
    """
    found: dict[str, dict[str, str]] = {}
    for owner in catalog.owners():
        replica = catalog.replica(owner)
        if replica is None or replica is catalog.own:
            continue
        added = [record for record in replica.of_name(wire) if record.origin == Origin.ADDED]
        by_hand = [record for record in added if record.holder == ADDED]
        meant = ((text, matching(by_hand, text, domain)) for text in data)
        texts = {text: rdata.render(record.rtype, record.rdata) for text, record in meant if record}
        if texts or (added and not data):
            found[owner] = texts
    return found


async def remove(cluster: Cluster, catalog: Catalog, registry: Registry, domain: bytes, removal: _Removal) -> int:
    """Remove what was added under a name, wherever it was; how many records that were.

    Raises UnknownRecordError, StoreError, or PeerError naming an owner that is not there.
    """
    name, data = removal
    wire = names.parse_owner(name, domain)
    elsewhere = owners_of(catalog, wire, data, domain)
    for owner in elsewhere:
        if not cluster.is_live(owner):
            raise PeerError(
                f"{name} was added on {owner}, which is not there: remove it when that is back, or 'weavedns forget "
                f"{owner}' if it never is"
            )
    theirs = {text for texts in elsewhere.values() for text in texts}
    count = 0
    here = [text for text in data if text not in theirs or registry.has(wire, text)]
    if here or not data or not elsewhere:
        try:
            count += await registry.remove(name, here)
        except UnknownRecordError:
            if here or not elsewhere:
                raise
    for owner, texts in elsewhere.items():
        count += _number(
            owner, await cluster.ask(owner, REMOVE, msgspec.msgpack.encode((name, list(texts.values()))))
        )
    return count


def _number(owner: str, reply: bytes) -> int:
    if len(reply) > _MAX_DIGITS or not reply.isdigit():
        raise PeerError(f"peer {owner} answered {reply[:40]!r} instead of a number")
    return int(reply)


async def removed_for(registry: Registry, body: bytes) -> bytes:
    """Remove what another peer asks for; raises PeerError, RecordError or StoreError."""
    try:
        name, data = msgspec.msgpack.decode(body, type=_Removal)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise PeerError(f"the request is malformed: {exc}") from exc
    return str(await registry.remove(name, data)).encode()


def rows(cluster: Cluster, catalog: Catalog) -> list[dict[str, Any]]:
    """The other peers, a row each, and after them where this one was not let in."""
    found = []
    for peer in cluster.peers():
        dns = cluster.told(peer.name, DNS_FACT)
        replica = catalog.replica(peer.name)
        found.append({
            "peer": peer.name,
            "address": peer.host,
            "port": peer.port,
            "state": cluster.state_of(peer),
            "dns": str(IPv4Address(dns)) if dns and len(dns) == 4 else None,  # noqa: PLR2004 - an IPv4 address
            "records": replica.size - len(replica.facts) if replica else 0,
            "over_limit": replica.partial if replica else False,
        })  # fmt: skip
    for (host, port), why in cluster.refused().items():
        found.append({"peer": None, "address": host, "port": port, "state": "refused", "why": why})
    for host, why in cluster.strangers().items():
        found.append({"peer": None, "address": host, "port": None, "state": "rejected", "why": why})
    return found


def text(found: Sequence[dict[str, Any]]) -> str:
    """The rows as lines for people."""
    lines = []
    for row in found:
        if row["peer"] is None:
            why = (
                row["why"]
                if row["state"] == "refused"
                else f"packets from {row['address']} are refused: {row['why']}"
            )
            lines.append(why)
        else:
            dns = f", DNS address {row['dns']}" if row["dns"] else ""
            more = ", MORE ARE LEFT OUT (--max-peer-records)" if row["over_limit"] else ""
            lines.append(f"{row['peer']} at {row['address']}: {row['state']}{dns}, {row['records']} records{more}")
    return "".join(
        f"{'peers' if not at else '':>14}{' ' if at else ':'} {line}\n" for at, line in enumerate(lines)
    ) or (f"{'peers':>14}: none\n")


def gossip_text(found: dict[str, Any]) -> str:
    """What gossip counted, as lines for people."""
    refused = ", ".join(f"{count} {why.replace('_', ' ')}" for why, count in found["refused"].items() if count)
    keys = found["keys"]
    password = f"sealed with key {keys[0]}" if keys else "no password: nothing is encrypted"
    lines = {
        "password": password + "".join(f", key {key} is valid too" for key in keys[1:]),
        "gossip in": f"{found['datagrams_in']} packets, {found['bytes_in'] + found['stream_bytes_in']} bytes",
        "gossip out": f"{found['datagrams_out']} packets, {found['bytes_out'] + found['stream_bytes_out']} bytes"
        + (f", {found['datagrams_dropped']} dropped unsent" if found["datagrams_dropped"] else ""),
        "refused": ", ".join(each for each in (refused, _count(found["malformed"], "malformed messages")) if each)
        or "nothing",
        "syncs": f"{found['syncs']}, {found['syncs_refused']} refused as busy; {found['pulls']} pulls of gaps",
        "suspicions": f"{found['suspicions']} raised here, {found['suspicions_cleared']} proved false; "
        f"{found['deaths']} peers believed gone, {found['returns']} came back as they were",
    }
    return "".join(f"{label:>14}: {value}\n" for label, value in lines.items())


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number else ""


def ipam(sharing: Sharing, name: str) -> dict[str, Any]:
    """How the addresses are shared out, as the peer `name` sees it."""
    status = sharing.status()
    return {
        "founder": status.founder,
        "shares": [
            {
                "peer": each.owner,
                "addresses": each.addresses,
                "connected": each.connected,
                "here": each.owner == name,
                "lost": each.lost,
            }
            for each in status.shares
        ],
        "unowned": status.unowned,
        "waits_for": list(status.waits_for),
        "wants": status.wants,
        "troubles": list(status.troubles),
        "malformed": status.malformed,
    }


def ipam_text(report: dict[str, Any]) -> str:
    """The same for people."""
    lines = [_share(each) for each in report["shares"]]
    if report["unowned"]:
        lines.append(f"nobody owns {report['unowned']}: the range was smaller when it was shared out")
    if report["waits_for"]:
        waits = ", ".join(report["waits_for"])
        lines.append(f"not shared out yet: waiting for {waits}; 'weavenet ipam seed' does without")
    if report["wants"]:
        lines.append(report["wants"])
    lines += [f"TROUBLE: {each}" for each in report["troubles"]]
    told = lines or ["not shared out yet"]
    return "".join(
        f"{'addresses' if not at else '':>14}{' ' if at else ':'} {line}\n" for at, line in enumerate(told)
    )


def _share(share: dict[str, Any]) -> str:
    owns = f"{share['peer']} owns {share['addresses']}"
    if share["lost"]:
        inherit = f"'weavenet ipam takeover {share['peer']}' inherits them once all others are there"
        return f"{share['peer']} owned {share['addresses']} before it lost its state directory: {inherit}"
    return owns + (" (this host)" if share["here"] else "" if share["connected"] else " (not connected)")


def network_text(network: WeaveNetwork, sharing: Sharing, name: str) -> str:
    """The weave network of this host for people."""
    overlay = "none: no other host is known"
    if network.overlay_device:
        overlay = f"{network.overlay_device} to {', '.join(map(str, network.peers)) or 'no host'}"
    lines = {
        "peer": name,
        "range": str(network.weave_range),
        "DNS subnet": str(network.dns_subnet),
        "bridge": f"{network.bridge}, DNS address {network.dns_address}, MTU {network.mtu}",
        "overlay": overlay,
    }
    return "".join(f"{label:>14}: {value}\n" for label, value in lines.items()) + ipam_text(ipam(sharing, name))


def not_connected() -> ConfigError:
    """The error for a daemon that has no peers."""
    return ConfigError("this daemon runs without other peers; launch it with --port, or with a PEER, to join some")
