"""Settings: what the flags, the environment and the settings file come to, checked once and frozen.

It reads nothing but a password file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path

from weavedns.containers.naming import AttachPolicy
from weavedns.errors import ConfigError, RecordError
from weavedns.records import names
from weavedns.records.catalog import MAX_RECORDS
from weavedns.records.record import check_ttl
from weavenet.endpoint import LONGEST_PREFIX

DEFAULT_RANGE = "10.2.0.0/16"
DEFAULT_DNS_SUBNET = "10.2.254.0/24"
DEFAULT_DOMAIN = "weave.local"
DEFAULT_HTTP = "127.0.0.1:6782"
DEFAULT_STATE_DIR = Path("/var/lib/weavedns")
DEFAULT_TTL_S = 1
DEFAULT_PORT = 6783
DEFAULT_OVERLAY_PORT = 6784
DEFAULT_PROFILE = "fast"
DEFAULT_CLUSTER = "weave"
DEFAULT_PEER_RECORDS = MAX_RECORDS
# Fewer would leave no room for what a peer tells of its addresses; more is no cluster of container hosts.
_FEWEST_PEER_RECORDS = 1_000
_MOST_PEER_RECORDS = 1_000_000
DNS_PORT = 53
STATUS_PORT = 6782
# Smaller ranges have no room for a DNS subnet and containers beside it.
_LONGEST_RANGE_PREFIX = 28
_MAX_PORT = 65535
_MAX_PASSWORDS = 2
_MAX_PASSWORD_CHARS = 1024
_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")
_PEER_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")

SocketAddress = tuple[str, int]
Network = IPv4Network | IPv6Network
_ANYWHERE = (IPv4Network("0.0.0.0/0"), IPv6Network("::/0"))


@dataclass(frozen=True, slots=True)
class Settings:
    """What one daemon runs with; built by `settings` and never changed."""

    name: str
    domain: bytes
    weave_range: IPv4Network
    dns_subnet: IPv4Network
    dns_address: IPv4Address | None
    subnet: IPv4Network
    network: bool
    attach: AttachPolicy
    listen: tuple[SocketAddress, ...]
    upstream: tuple[SocketAddress, ...]
    forward: Mapping[bytes, tuple[SocketAddress, ...]]  # servers by suffix
    allow_query: tuple[Network, ...] | None  # None: anyone
    allow_forward: tuple[Network, ...]
    allow_forward_local: bool  # also this host's container networks and the weave range
    zones: tuple[Path, ...]
    ttl_s: int
    socket: Path
    http: SocketAddress | None
    state_dir: Path
    peers: tuple[SocketAddress, ...] = ()  # where to join; a host may be a name
    port: int | None = DEFAULT_PORT  # None: no other peers
    advertise: str = ""
    overlay_port: int = DEFAULT_OVERLAY_PORT
    passwords: tuple[str, ...] = field(default=(), repr=False)
    password_file: Path | None = None  # followed while the daemon runs
    profile: str = DEFAULT_PROFILE
    cluster: str = DEFAULT_CLUSTER
    max_peer_records: int = DEFAULT_PEER_RECORDS


def settings(
    *,
    name: str,
    domain: str = DEFAULT_DOMAIN,
    weave_range: str = DEFAULT_RANGE,
    dns_subnet: str | None = None,
    dns_address: str | None = None,
    subnet: str | None = None,
    network: bool = True,
    attach: str = "auto",
    listen: Sequence[str] = (),
    upstream: Sequence[str] = (),
    forward: Sequence[str] = (),
    allow_query: Sequence[str] = ("any",),
    allow_forward: Sequence[str] = ("local",),
    zones: Sequence[Path] = (),
    ttl_s: int = DEFAULT_TTL_S,
    socket: Path,
    http: str | None = DEFAULT_HTTP,
    state_dir: Path = DEFAULT_STATE_DIR,
    peers: Sequence[str] = (),
    port: int | None = None,
    advertise: str | None = None,
    overlay_port: int = DEFAULT_OVERLAY_PORT,
    passwords: Sequence[str] = (),  # the one to use first
    password_file: Path | None = None,
    profile: str = DEFAULT_PROFILE,
    cluster: str = DEFAULT_CLUSTER,
    max_peer_records: int = DEFAULT_PEER_RECORDS,
) -> Settings:
    """Check every setting and the ones that must fit together; raises ConfigError for the first that is wrong."""
    whole = _range(weave_range)
    reserved = _network("--dns-subnet", dns_subnet) if dns_subnet else _default_dns_subnet(whole)
    _check_within("--dns-subnet", reserved, whole)
    default = _network("--subnet", subnet) if subnet else whole
    _check_within("--subnet", default, whole)
    if default.subnet_of(reserved):
        raise ConfigError(f"--subnet {default} lies in the reserved DNS subnet {reserved}; choose another")
    if not network and not listen:
        raise ConfigError("--no-network leaves no address to serve on; give one with --listen 127.0.0.1:5353")
    served = _domain(domain)
    own_dns = _dns_address(dns_address, reserved) if dns_address else None
    own = [*map(_listen_address, listen), *([(str(own_dns), DNS_PORT)] if own_dns else [])]
    upstreams = tuple(socket_address("--upstream", text, DNS_PORT) for text in upstream)
    _check_not_own("--upstream", upstreams, own)
    own_port = _port("--port", DEFAULT_PORT if port is None else port)
    if overlay_port == own_port:
        raise ConfigError(f"--overlay-port {overlay_port} is the --port too; give another")
    return Settings(
        name=_peer_name(name),
        domain=served,
        weave_range=whole,
        dns_subnet=reserved,
        dns_address=own_dns,
        subnet=default,
        network=network,
        attach=AttachPolicy(attach),
        listen=tuple(_listen_address(text) for text in listen),
        upstream=upstreams,
        forward=_forward_rules(forward, served, own),
        allow_query=None if "any" in allow_query else _networks("--allow-query", allow_query),
        allow_forward=_networks("--allow-forward", [text for text in allow_forward if text != "local"]),
        allow_forward_local="local" in allow_forward,
        zones=tuple(zones),
        ttl_s=_ttl(ttl_s),
        socket=socket,
        http=socket_address("--http", http, STATUS_PORT) if http else None,
        state_dir=state_dir,
        peers=tuple(dict.fromkeys(peer_address(text, own_port) for text in peers)),
        # Without a network this may be one of several on its host: only who asks for peers gets the port.
        port=own_port if network or peers or port is not None else None,
        advertise=_advertised(advertise) if advertise else "",
        overlay_port=_port("--overlay-port", overlay_port),
        passwords=tuple(passwords),
        password_file=password_file,
        profile=profile,
        cluster=_cluster_name(cluster),
        max_peer_records=_peer_records(max_peer_records),
    )


def peer_address(text: str, default_port: int = DEFAULT_PORT) -> SocketAddress:
    """Read ``HOST`` or ``HOST:PORT``, a name or an IPv4 address; raises ConfigError."""
    host, _, port = text.partition(":")
    number = int(port) if port.isdecimal() and port.isascii() else 0 if port or text.endswith(":") else default_port
    if not _HOST_NAME.fullmatch(host) or not 0 < number <= _MAX_PORT:
        raise ConfigError(f"PEER {text!r} is no host; write host1, 192.0.2.1 or 192.0.2.1:{DEFAULT_PORT}")
    return host, number


def passwords(given: str | None, path: Path | None) -> list[str]:
    """The password that is given, or those in a file, one a line, the one to use first; raises ConfigError."""
    if path is None:
        return [] if given is None else [_password(given)]
    if given is not None:
        raise ConfigError("--password and --password-file are both given; leave one out")
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"--password-file {path} cannot be read: {getattr(exc, 'strerror', exc)}") from exc
    found = [line.strip() for line in lines if line.strip()]
    if not found:
        raise ConfigError(f"--password-file {path} has no password; 'weavedns genkey' makes one")
    if len(found) > _MAX_PASSWORDS:
        raise ConfigError(f"--password-file {path} has {len(found)} passwords; two are valid at a time at most")
    return [_password(each) for each in found]


def socket_address(flag: str, text: str, default_port: int) -> SocketAddress:
    """Read ``ADDRESS``, ``ADDRESS:PORT`` or ``[IPV6]:PORT``; raises ConfigError naming `flag`."""
    match = re.fullmatch(r"\[([^]]+)\](?::(\d+))?|([^:]*)(?::(\d+))?", text)
    host, port = (match[1] or match[3], match[2] or match[4]) if match else (text, None)
    number = int(port) if port else default_port
    try:
        address = ip_address(host)
    except ValueError:
        raise ConfigError(
            f"{flag} {text!r} is no address; write 192.0.2.1, 192.0.2.1:53 or [2001:db8::1]:53"
        ) from None
    if not 0 < number <= _MAX_PORT:
        raise ConfigError(f"{flag} {text!r} has no usable port; give one from 1 to {_MAX_PORT}")
    return str(address), number


def _range(text: str) -> IPv4Network:
    whole = _network("--range", text)
    if whole.is_multicast or whole.is_reserved or whole.network_address.is_unspecified:
        raise ConfigError(f"--range {whole} has no addresses for containers; write one such as {DEFAULT_RANGE}")
    if whole.prefixlen > _LONGEST_RANGE_PREFIX:
        raise ConfigError(f"--range {whole} is too small; give at least a /{_LONGEST_RANGE_PREFIX}")
    return whole


def _network(flag: str, text: str) -> IPv4Network:
    try:
        return IPv4Network(text)
    except ValueError as exc:
        cure = "write one such as 10.2.0.0/16"
        if "host bits" in str(exc):
            cure = f"did you mean {IPv4Network(text, strict=False)}?"
        raise ConfigError(f"{flag} {text!r} is no IPv4 network; {cure}") from None


def _forward_rules(
    texts: Sequence[str], domain: bytes, own: Sequence[SocketAddress]
) -> dict[bytes, tuple[SocketAddress, ...]]:
    """The servers for the names under each suffix, from ``SUFFIX=SERVER[,SERVER...]``; a suffix may come again."""
    rules: dict[bytes, tuple[SocketAddress, ...]] = {}
    for text in texts:
        suffix, _, several = text.partition("=")
        if not suffix or not several:
            raise ConfigError(
                f"--forward {text!r} is no rule; write corp.example=10.1.1.1 or corp.example=10.1.1.1,10.1.1.2:5353"
            )
        try:
            name = names.parse(suffix.rstrip(".") + ".")
        except RecordError as exc:
            raise ConfigError(f"--forward {text!r}: {exc}") from exc
        if name == names.ROOT:
            raise ConfigError(f"--forward {text!r} is for every name; use --upstream {several}")
        if names.is_under(name, domain):
            raise ConfigError(
                f"--forward {text!r} lies in the domain {names.render(domain)}, whose names are answered here"
            )
        servers = tuple(socket_address(f"--forward {suffix}:", part.strip(), DNS_PORT) for part in several.split(","))
        _check_not_own(f"--forward {suffix}:", servers, own)
        rules[name] = tuple(dict.fromkeys([*rules.get(name, ()), *servers]))
    return rules


def _check_not_own(flag: str, servers: Sequence[SocketAddress], own: Sequence[SocketAddress]) -> None:
    for host, port in servers:
        if (host, port) in own:
            raise ConfigError(f"{flag} {host} port {port} is this daemon itself; give another server")


def _networks(flag: str, texts: Sequence[str]) -> tuple[Network, ...]:
    found: list[Network] = []
    for text in texts:
        if text == "any":
            return _ANYWHERE
        try:
            found.append(ip_network(text))
        except ValueError as exc:
            cure = "write one such as 192.0.2.0/24 or any"
            if "host bits" in str(exc):
                cure = f"did you mean {ip_network(text, strict=False)}?"
            raise ConfigError(f"{flag} {text!r} is no network; {cure}") from None
    return tuple(found)


def _default_dns_subnet(whole: IPv4Network) -> IPv4Network:
    """The documented subnet where it fits, else the same place in a range of another size: its last /24 but one."""
    documented = IPv4Network(DEFAULT_DNS_SUBNET)
    if documented.subnet_of(whole):
        return documented
    prefix = max(24, whole.prefixlen + 2)
    size = 2 ** (32 - prefix)
    return IPv4Network((int(whole.broadcast_address) + 1 - 2 * size, prefix))


def _check_within(flag: str, inner: IPv4Network, whole: IPv4Network) -> None:
    if not inner.subnet_of(whole):
        raise ConfigError(f"{flag} {inner} is outside the range {whole}; choose a part of it")
    if inner.prefixlen > LONGEST_PREFIX:
        raise ConfigError(f"{flag} {inner} is too small; give at least a /{LONGEST_PREFIX}")
    if flag == "--dns-subnet" and inner == whole:
        raise ConfigError(f"{flag} {inner} takes the whole range and leaves none for containers; choose a part of it")


def _dns_address(text: str, reserved: IPv4Network) -> IPv4Address:
    try:
        address = IPv4Address(text)
    except ValueError:
        raise ConfigError(f"--dns-address {text!r} is no IPv4 address; write one in {reserved}") from None
    if address not in reserved or address in (reserved.network_address, reserved.broadcast_address):
        raise ConfigError(f"--dns-address {address} is no host address of the DNS subnet {reserved}")
    return address


def _listen_address(text: str) -> SocketAddress:
    host, port = socket_address("--listen", text, DNS_PORT)
    if ip_address(host).is_unspecified:
        raise ConfigError(f"--listen {text} is the wildcard; name each address, so that port 53 can be shared")
    return host, port


def _port(flag: str, number: int) -> int:
    if not 0 < number <= _MAX_PORT:
        raise ConfigError(f"{flag} {number} is no port; give one from 1 to {_MAX_PORT}")
    return number


def _advertised(text: str) -> str:
    try:
        address = IPv4Address(text)
    except ValueError:
        raise ConfigError(f"--advertise {text!r} is no IPv4 address; write one such as 192.0.2.1") from None
    if address.is_unspecified or address.is_multicast:
        raise ConfigError(f"--advertise {text} is no address that other hosts can send to")
    return str(address)


def _password(text: str) -> str:
    if not text.strip() or len(text) > _MAX_PASSWORD_CHARS:
        raise ConfigError(f"the password is empty or longer than {_MAX_PASSWORD_CHARS}; 'weavedns genkey' makes one")
    return text


def _peer_name(text: str) -> str:
    if not _PEER_NAME.fullmatch(text):
        raise ConfigError(f"--name {text!r} is no peer name; use letters, digits, '-', '_' and '.', at most 63")
    return text


def _cluster_name(text: str) -> str:
    if not _PEER_NAME.fullmatch(text):
        raise ConfigError(f"--cluster {text!r} is no name; use letters, digits, '-', '_' and '.', at most 63")
    return text


def _peer_records(count: int) -> int:
    if not _FEWEST_PEER_RECORDS <= count <= _MOST_PEER_RECORDS:
        raise ConfigError(
            f"--max-peer-records {count} cannot be; give {_FEWEST_PEER_RECORDS} to {_MOST_PEER_RECORDS}"
        )
    return count


def _domain(text: str) -> bytes:
    try:
        domain = names.parse(text.rstrip(".") or ".")
    except RecordError as exc:
        raise ConfigError(f"--domain: {exc}") from exc
    if domain == names.ROOT:
        raise ConfigError(f"--domain {text!r} is the root; give a domain such as {DEFAULT_DOMAIN}")
    return domain


def _ttl(seconds: int) -> int:
    try:
        return check_ttl(seconds)
    except RecordError as exc:
        raise ConfigError(f"--ttl: {exc}") from exc
