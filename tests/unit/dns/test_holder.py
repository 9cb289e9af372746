from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from tests.unit.dns.world import has_ipv6
from weavedns.dns import holder

ME = f"(process {os.getpid()})"


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
@pytest.mark.parametrize(("bound", "wildcard"), [("127.0.0.1", False), ("0.0.0.0", True), ("::", True)])
def test_the_process_that_holds_a_port_is_named(kind: socket.SocketKind, bound: str, wildcard: bool) -> None:
    if ":" in bound and not has_ipv6():
        pytest.skip("no IPv6 on this host")
    with socket.socket(socket.AF_INET6 if ":" in bound else socket.AF_INET, kind) as sock:
        sock.bind((bound, 0))
        if kind == socket.SOCK_STREAM:
            sock.listen()
        text = holder.describe(kind, "127.0.0.1", sock.getsockname()[1])
    assert ME in text
    assert text.endswith(", which listens on every address") == wildcard


def table(proc: Path, name: str, *rows: str) -> None:
    (proc / "net").mkdir(exist_ok=True)
    (proc / "net" / name).write_text("head\n" + "".join(f"{row}\n" for row in rows))


def test_somebody_elses_socket_is_told_apart_from_none(tmp_path: Path) -> None:
    row = "  0: 0100007F:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 4711 2 0 0"
    table(tmp_path, "udp", row)
    described = holder.describe(socket.SOCK_DGRAM, "127.0.0.1", 53, tmp_path)
    assert described == "another process, which only root can see"
    assert holder.describe(socket.SOCK_DGRAM, "127.0.0.1", 54, tmp_path) == "another process"
    assert holder.describe(socket.SOCK_DGRAM, "127.0.0.2", 53, tmp_path) == "another process"


def test_a_connection_from_that_port_is_not_its_holder(tmp_path: Path) -> None:
    row = "  0: 0100007F:0035 0100007F:9999 01 00000000:00000000 00:00000000 00000000 0 0 4711 2 0 0"
    table(tmp_path, "tcp", row)
    assert holder.describe(socket.SOCK_STREAM, "127.0.0.1", 53, tmp_path) == "another process"
