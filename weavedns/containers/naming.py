"""What a container asks for, read from its inspection: names, attachment, TTL, services. Never acts on any of it.

Labels and environment come from whoever wrote the image: nothing in them raises.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from weavedns.containers.inspection import Inspection
from weavedns.containers.memberships import Membership, memberships_of
from weavedns.errors import RecordError
from weavedns.records import names
from weavedns.records.record import MAX_TTL_S, check_ttl
from weavenet import endpoint
from weavenet.errors import EndpointError

ATTACH_VARIABLE = "WEAVE_CIDR"
ATTACH_LABEL = "works.weave.attach"
DNS_LABEL = "works.weave.dns"
NAME_LABEL = "works.weave.dns.name"
TTL_LABEL = "works.weave.dns.ttl"
SRV_LABEL = "works.weave.dns.srv."
HEALTH_LABEL = "works.weave.dns.health"

# One container cannot fill the catalog or the weave range: what is past these bounds is left out, with a warning.
MAX_NAMES = 64
MAX_SERVICES = 64
MAX_ENDPOINTS = 64

_T = TypeVar("_T")
_COMPOSE = "com.docker.compose."
_OFF = frozenset({"off", "none", "no", "false"})
_ON = frozenset({"on", "yes", "true", ""})
_UNHEALTHY = "unhealthy"  # "starting" counts as usable, and most containers have no check
_HEALTH_IGNORED = "ignore"
_SERVICE = re.compile(r"_[a-z0-9]([a-z0-9-]*[a-z0-9])?\._[a-z0-9]([a-z0-9-]*[a-z0-9])?", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9]{1,10}")
_MAX_PORT = 65535
_MAX_SHOWN = 80


class AttachPolicy(StrEnum):
    """Which containers are put on the weave network: those that ask for it, every one, or none."""

    AUTO = "auto"
    ALL = "all"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class AttachWish:
    """The endpoints asked for, as they were spelled ("" is the default address); none: do not attach."""

    endpoints: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.endpoints)


@dataclass(frozen=True, slots=True)
class SrvWish:
    """One SRV record (RFC 2782) to be published; `name` and `target` in wire form."""

    name: bytes
    priority: int
    weight: int
    port: int
    target: bytes


@dataclass(frozen=True, slots=True)
class Container:
    """A container as far as names and addresses are concerned.

    `names` are those it has once it has an address, the one it goes by first; empty when it has no network of its
    own (``--network host``, ``none`` or ``container:``) or opted out. `hostname` is its full host name as text, ""
    when that is not in the domain. `started_ns` is when its present life began, by the engine's clock (0: unknown):
    a death before that belongs to an earlier life. `healthy` is false when Docker's check says so and the container
    does not have that ignored. `networks` are those of Docker that it is on.
    """

    id: str
    name: str
    pid: int
    running: bool
    started_ns: int
    hostname: str
    names: tuple[bytes, ...]
    srv: tuple[SrvWish, ...]
    ttl_s: int
    wish: AttachWish
    own_network: bool
    resolver: bool
    resolv_conf: str
    dns_search_given: bool
    subdomain: str
    network_mode: str
    networks: tuple[Membership, ...]
    healthy: bool
    warnings: tuple[str, ...]


def describe(
    inspection: Any, *, domain: bytes, policy: AttachPolicy = AttachPolicy.AUTO, default_ttl_s: int = 1
) -> Container:
    """Read a container's inspection (``GET /containers/ID/json``); `domain` in wire form. Never raises.

    A container is attached when ``WEAVE_CIDR`` is in its environment, else when label ``works.weave.attach``
    is there, else when its host name is in the domain or `policy` is ALL. So the environment beats the label,
    as it is what a person gives at ``docker run`` while labels come with the image; either can say ``none``.
    With `policy` NONE, or a network mode without an interface of its own, it is never attached.

    Whatever is wrong with a name or a label is left out and told in `warnings`; the rest is kept.
    """
    config = Inspection(inspection)
    warnings = _Warnings()
    own_network = _has_own_network(config)
    opted_out = not own_network or not _dns_wanted(config.labels, warnings)
    in_domain = _in_domain(config.hostname, domain)
    host = _host_name(config, domain, warnings) if in_domain else None
    found = () if opted_out else _names(config, host, domain, warnings)
    return Container(
        id=config.id,
        name=config.name,
        pid=config.pid,
        running=config.running,
        started_ns=config.started_ns,
        hostname=names.render(host) if host else "",
        names=found,
        srv=_services(config.labels, found, warnings),
        ttl_s=_ttl(config.labels, default_ttl_s, warnings),
        wish=_wish(config, policy, warnings, in_domain=in_domain) if own_network else AttachWish(),
        own_network=own_network,
        resolver=not opted_out,
        resolv_conf=config.resolv_conf,
        dns_search_given=config.dns_search_given,
        subdomain=_subdomain(host, domain),
        network_mode=config.network_mode,
        networks=memberships_of(config),
        healthy=config.health.lower() != _UNHEALTHY or _health_ignored(config.labels, warnings),
        warnings=tuple(warnings),
    )


class _Warnings:
    """What a person should be told, each thing once."""

    def __init__(self) -> None:
        self._told: dict[str, None] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._told)

    def add(self, text: str) -> None:
        self._told[text] = None


def _has_own_network(config: Inspection) -> bool:
    mode = config.network_mode.lower()
    return not (config.network_disabled or mode in {"host", "none"} or mode.startswith("container:"))


def _dns_wanted(labels: dict[str, str], warnings: _Warnings) -> bool:
    value = labels.get(DNS_LABEL, "").strip().lower()
    if value not in _OFF | _ON:
        warnings.add(f"label {DNS_LABEL}: {_show(value)} is neither 'on' nor 'off'; it is taken as on")
    return value not in _OFF


def _health_ignored(labels: dict[str, str], warnings: _Warnings) -> bool:
    value = labels.get(HEALTH_LABEL, "").strip().lower()
    if value not in {"", _HEALTH_IGNORED}:
        warnings.add(f"label {HEALTH_LABEL}: {_show(value)} is not '{_HEALTH_IGNORED}'; its health is heeded")
    return value == _HEALTH_IGNORED


def _in_domain(text: str, domain: bytes) -> bool:
    return text.lower().endswith("." + names.render(domain))


def _host_name(config: Inspection, domain: bytes, warnings: _Warnings) -> bytes | None:
    return _parse(config.hostname, domain, "host name", warnings)


def _names(config: Inspection, host: bytes | None, domain: bytes, warnings: _Warnings) -> tuple[bytes, ...]:
    """The names in order, without repetition: its own, those of the label, those of Compose."""
    found: dict[bytes, None] = {}
    own = host or _container_name(config.name, domain, warnings)
    if own:
        found[own] = None
    for text in re.split(r"[\s,]+", config.labels.get(NAME_LABEL, "")):
        if text:
            name = _parse(text, domain, f"label {NAME_LABEL}", warnings)
            if name:
                found[name] = None
    for text in _compose_names(config.labels):
        name = _parse(f"{text}.{names.render(domain)}", domain, "Compose service", warnings)
        if name is None:
            break  # the numbered name has the same fault
        found[name] = None
    return tuple(_bounded(found, MAX_NAMES, "names", warnings))


def _container_name(name: str, domain: bytes, warnings: _Warnings) -> bytes | None:
    if not name:
        return None
    full = name if _in_domain(name, domain) else f"{name}.{names.render(domain)}"
    return _parse(full, domain, "container name", warnings)


def _compose_names(labels: dict[str, str]) -> list[str]:
    """``service.project`` and ``service-n.project``; none for a container of ``docker compose run``."""
    service, project = labels.get(_COMPOSE + "service", ""), labels.get(_COMPOSE + "project", "")
    if not service or not project or labels.get(_COMPOSE + "oneoff", "").lower() == "true":
        return []
    number = labels.get(_COMPOSE + "container-number", "")
    numbered = [f"{service}-{number}.{project}"] if _NUMBER.fullmatch(number) else []
    return [f"{service}.{project}", *numbered]


def _parse(text: str, domain: bytes, where: str, warnings: _Warnings) -> bytes | None:
    try:
        return names.parse_host(text, domain)
    except RecordError as exc:
        warnings.add(f"{where} {_show(text)}: {_cut(str(exc), 3 * _MAX_SHOWN)}")
        return None


def _services(labels: dict[str, str], owners: tuple[bytes, ...], warnings: _Warnings) -> tuple[SrvWish, ...]:
    """SRV records under each of the container's names, so that a shared name lists every instance's service."""
    found: list[SrvWish] = []
    for label in sorted(key for key in labels if key.startswith(SRV_LABEL) and owners):
        try:
            priority, weight, port = _srv_numbers(labels[label])
            prefixed = [_service_name(label[len(SRV_LABEL) :], owner) for owner in owners]
        except RecordError as exc:
            warnings.add(f"label {_cut(label, _MAX_SHOWN)}: {_cut(str(exc), 3 * _MAX_SHOWN)}")
            continue
        found += [SrvWish(name, priority, weight, port, owners[0]) for name in prefixed]
        if len(found) > MAX_SERVICES:
            warnings.add(f"its labels ask for too many SRV records; a container gets at most {MAX_SERVICES}")
            break
    return tuple(found[:MAX_SERVICES])


def _service_name(service: str, owner: bytes) -> bytes:
    if not _SERVICE.fullmatch(service):
        raise RecordError(f"{_show(service)} is no service; write one such as _http._tcp")
    return names.parse(service, owner)


def _srv_numbers(value: str) -> tuple[int, int, int]:
    fields = value.split()
    if len(fields) == 1:
        fields = ["0", "0", *fields]
    if len(fields) == 3 and all(_NUMBER.fullmatch(field) for field in fields):  # noqa: PLR2004
        priority, weight, port = map(int, fields)
        if priority <= _MAX_PORT and weight <= _MAX_PORT and 0 < port <= _MAX_PORT:
            return priority, weight, port
    raise RecordError(f"{_show(value)} is no service; write PORT or PRIORITY WEIGHT PORT, each at most {_MAX_PORT}")


def _ttl(labels: dict[str, str], default_ttl_s: int, warnings: _Warnings) -> int:
    text = labels.get(TTL_LABEL)
    if text is None:
        return default_ttl_s
    try:
        return check_ttl(int(text) if _NUMBER.fullmatch(text.strip()) else -1)
    except RecordError:
        warnings.add(f"label {TTL_LABEL}: {_show(text)} is no TTL; give seconds from 0 to {MAX_TTL_S}")
        return default_ttl_s


def _wish(config: Inspection, policy: AttachPolicy, warnings: _Warnings, *, in_domain: bool) -> AttachWish:
    if policy is AttachPolicy.NONE:
        return AttachWish()
    asked = config.variable(ATTACH_VARIABLE)
    if asked is not None:
        return _spelled(asked, f"environment variable {ATTACH_VARIABLE}", warnings)
    asked = config.labels.get(ATTACH_LABEL)
    if asked is not None:
        plain = asked.strip().lower()
        if plain in _OFF:
            return AttachWish()
        return _spelled("" if plain in _ON else asked, f"label {ATTACH_LABEL}", warnings)
    return AttachWish(("",)) if in_domain or policy is AttachPolicy.ALL else AttachWish()


def _spelled(value: str, where: str, warnings: _Warnings) -> AttachWish:
    endpoints = list(dict.fromkeys(value.split())) or [""]
    if any(_is_off(each) for each in endpoints):
        if len(endpoints) > 1:
            warnings.add(f"{where}: {_show(value)} asks for addresses and for none; it gets none")
        return AttachWish()
    return AttachWish(tuple(_bounded(endpoints, MAX_ENDPOINTS, "addresses", warnings)))


def _is_off(spelled: str) -> bool:
    try:
        return isinstance(endpoint.parse(spelled.lower()), endpoint.Off)
    except EndpointError:
        return False  # whoever attaches the container says what is wrong with it


def _subdomain(host: bytes | None, domain: bytes) -> str:
    above = names.parent(host) if host else domain
    return "" if above == domain else names.render(above)


def _bounded(found: Iterable[_T], most: int, what: str, warnings: _Warnings) -> list[_T]:
    kept = list(found)
    if len(kept) > most:
        warnings.add(f"it asks for {len(kept)} {what}; a container gets at most {most}")
    return kept[:most]


def _show(text: str) -> str:
    return repr(_cut(text, _MAX_SHOWN))


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[:most] + "..."
