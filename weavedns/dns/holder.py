"""Who holds a port of this host, read from /proc (proc(5)). Changes nothing; what it may not see it leaves out."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

_LISTENING = "0A"
_ADDRESS, _STATE, _INODE = 1, 3, 9
_IPV4_BYTES = 4


def describe(kind: socket.SocketKind, host: str, port: int, proc: Path = Path("/proc")) -> str:
    """Name the process that keeps `host` and `port` from being bound, as ``dnsmasq (process 812)``."""
    table = "tcp" if kind == socket.SOCK_STREAM else "udp"
    wanted = ip_address(host.partition("%")[0])
    inodes: dict[str, str] = {}
    for address, inode in [*_sockets(proc, table, port), *_sockets(proc, f"{table}6", port)]:
        if address == wanted:
            inodes[inode] = ""
        elif address.is_unspecified and address.version in {wanted.version, 6}:
            inodes[inode] = ", which listens on every address"
    for inode, remark in inodes.items():
        owner = _owner(proc, inode)
        if owner:
            return owner + remark
    return "another process, which only root can see" if inodes else "another process"


def _sockets(proc: Path, table: str, port: int) -> Iterator[tuple[IPv4Address | IPv6Address, str]]:
    try:
        lines = (proc / "net" / table).read_text().splitlines()[1:]
    except OSError:
        return
    for line in lines:
        fields = line.split()
        address, _, number = fields[_ADDRESS].partition(":")
        if int(number, 16) == port and (table.startswith("udp") or fields[_STATE] == _LISTENING):
            yield _address(address), fields[_INODE]


def _address(text: str) -> IPv4Address | IPv6Address:
    """The address from its hexadecimal words, each in the byte order of the machine."""
    words = [int(text[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(text), 8)]
    packed = b"".join(words)
    if len(packed) == _IPV4_BYTES:
        return IPv4Address(packed)
    address = IPv6Address(packed)
    return address.ipv4_mapped or address


def _owner(proc: Path, inode: str) -> str:
    link = f"socket:[{inode}]"
    for process in proc.iterdir():
        if not process.name.isdigit():
            continue
        try:
            if any(str(entry.readlink()) == link for entry in (process / "fd").iterdir()):
                name = (process / "comm").read_text().strip()
                return f"{name} (process {process.name})"
        except OSError:  # it ended meanwhile, or is not ours to look into
            continue
    return ""
