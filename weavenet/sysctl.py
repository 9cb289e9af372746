"""Kernel settings of one interface in one namespace, by /proc/sys. Decides none of them."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path

from weavenet.errors import NetworkError
from weavenet.netns import Namespace

_NET = Path("/proc/sys/net")


def write(namespace: Namespace, settings: Mapping[str, str]) -> None:
    """Make each setting (``ipv4/conf/weave/arp_notify``) say its value; those about IPv6 may be absent.

    Raises NetworkError.
    """
    with namespace.entered():
        for key, value in settings.items():
            _write(key, value)


def _write(key: str, value: str) -> None:
    path = _NET / key
    try:
        if path.read_text(encoding="ascii").strip() != value:
            path.write_text(value, encoding="ascii")
    except FileNotFoundError as exc:
        if not key.startswith("ipv6/"):
            raise NetworkError(f"cannot set {path}: there is no such interface any more") from exc
    except OSError as exc:
        cure = "mount /proc/sys writable" if exc.errno == errno.EROFS else "run as root, or with CAP_NET_ADMIN"
        raise NetworkError(f"cannot set {path} to {value} ({exc.strerror}): {cure}") from exc
