"""Named network namespaces and the links between them, through the ``ip`` command; never the main namespace."""

import subprocess
from pathlib import Path

NETNS_FOLDER = Path("/run/netns")


def ip(*args: str) -> None:
    """Run ``ip``; raises OSError with what it said."""
    done = subprocess.run(["ip", *args], capture_output=True, text=True, check=False, timeout=30)
    if done.returncode:
        raise OSError(f"ip {' '.join(args)}: {done.stderr.strip()}")


def add(name: str) -> None:
    ip("netns", "add", name)
    ip("-n", name, "link", "set", "lo", "up")


def remove_all(prefix: str) -> None:
    """Remove the namespaces whose names start with ``prefix``, and with them their ends of every link."""
    for path in sorted(NETNS_FOLDER.glob(f"{prefix}*")):
        ip("netns", "delete", path.name)


def add_bridge(netns: str, bridge: str, address: str) -> None:
    """Make a bridge with an address such as ``10.99.0.254/24``."""
    ip("-n", netns, "link", "add", bridge, "type", "bridge")
    ip("-n", netns, "address", "add", address, "dev", bridge)
    ip("-n", netns, "link", "set", bridge, "up")


def add_pair(netns: str, one: str, other: str) -> None:
    """Make two interfaces that are each other's far end, both up."""
    ip("-n", netns, "link", "add", one, "type", "veth", "peer", "name", other)
    for name in (one, other):
        ip("-n", netns, "link", "set", name, "up")


def add_link(*, switch: str, bridge: str, port: str, netns: str, address: str, gateway: str) -> None:
    """Plug ``netns`` into the switch: its ``eth0`` with an address and a default route, the other end ``port``."""
    ip("-n", switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", netns)
    ip("-n", switch, "link", "set", port, "master", bridge, "up")
    ip("-n", netns, "address", "add", address, "dev", "eth0")
    ip("-n", netns, "link", "set", "eth0", "up")
    ip("-n", netns, "route", "add", "default", "via", gateway)
