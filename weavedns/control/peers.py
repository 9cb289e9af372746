"""What commands ask about other peers and the addresses shared with them: found, worded, or passed to the owner."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address
from typing import Any

import msgspec

from weavedns.added import HOLDER as ADDED
from weavedns.cluster.cluster import DNS_FACT, Cluster
from weavedns.errors import ConfigError, PeerError, RecordError, StoreError, UnknownRecordError
from weavedns.gossip.message import MAX_REQUEST_BYTES
from weavedns.records import names, rdata
from weavedns.records.catalog import Catalog
from weavedns.records.record import Origin
from weavedns.registry import Registry, matching
from weavenet.network import WeaveNetwork
from weavenet.sharing import Sharing

REMOVE = "remove"
_MAX_DIGITS = 9
# How much of long data, and how many of them, an error shows.
_SHOWN = 40
_MAX_SHOWN = 8
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

    Raises UnknownRecordError or RecordError, or PeerError naming an owner that is not there, before anything is
    removed; StoreError, or PeerError when an owner does not do it, saying what was removed by then and where.
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
    here = [text for text in data if registry.has(wire, text)]
    registry.check(name, [text for text in data if text not in theirs and text not in here])
    asked = [(owner, part) for owner, texts in elsewhere.items() for part in _parts(owner, name, texts.values())]
    done: list[tuple[str, list[str], int]] = []
    try:
        # What may fail in more ways comes first.
        for owner, part in asked:
            done.append((owner, part, _number(owner, await cluster.ask(owner, REMOVE, _body(name, part)))))
        count = sum(number for _, _, number in done)
        if here or not data:
            count += await _remove_here(registry, name, here, others=bool(elsewhere))
    except (PeerError, UnknownRecordError, StoreError) as exc:
        if not done:
            raise
        raise type(exc)(f"{exc}; removed already: {_told(done)}") from exc
    return count


async def _remove_here(registry: Registry, name: str, data: Sequence[str], *, others: bool) -> int:
    try:
        return await registry.remove(name, data)
    except UnknownRecordError:
        # All of a name that was added elsewhere may be none here.
        if data or not others:
            raise
        return 0


def _parts(owner: str, name: str, texts: Iterable[str]) -> list[list[str]]:
    """Data in portions that each fit a request, one empty portion for all of a name; raises RecordError."""
    parts: list[list[str]] = [[]]
    for text in dict.fromkeys(texts):
        if len(_body(name, [text])) > MAX_REQUEST_BYTES:
            raise RecordError(
                f"{text[:_SHOWN]}... of {name} is too long to be asked of {owner}: remove it there, or the name as a "
                f"whole with 'weavedns remove {name}'"
            )
        if len(_body(name, [*parts[-1], text])) > MAX_REQUEST_BYTES:
            parts.append([])
        parts[-1].append(text)
    return parts


def _body(name: str, data: Sequence[str]) -> bytes:
    return msgspec.msgpack.encode((name, data))


def _told(done: Iterable[tuple[str, list[str], int]]) -> str:
    """What was removed where, in words."""
    counts: dict[str, int] = {}
    texts: dict[str, list[str]] = {}
    for owner, part, number in done:
        counts[owner] = counts.get(owner, 0) + number
        texts.setdefault(owner, []).extend(part)
    told = []
    for owner, number in counts.items():
        shown = [each if len(each) <= _SHOWN else each[:_SHOWN] + "..." for each in texts[owner][:_MAX_SHOWN]]
        more = [f"{len(texts[owner]) - len(shown)} more"] if len(texts[owner]) > len(shown) else []
        told.append(f"{number} on {owner}" + (f" ({', '.join([*shown, *more])})" if shown else ""))
    return ", ".join(told)


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
