"""Requests to a lab host's control socket, byte by byte as any program would send them."""

import http.client
import json
import socket
from typing import Any

from tests.lab import Host

DEADLINE_S = 20.0


def ask(host: Host, method: str, path: str, body: bytes | str | None = None, **headers: str) -> tuple[int, Any]:
    """The status and what the answer's JSON says, or its text when it is none."""
    connection = http.client.HTTPConnection("weavedns", timeout=DEADLINE_S)
    connection.sock = _connect(host)
    try:
        raw = body.encode() if isinstance(body, str) else body
        connection.request(method, path, raw, {name.replace("_", "-"): text for name, text in headers.items()})
        response = connection.getresponse()
        text = response.read().decode()
    finally:
        connection.close()
    is_json = response.headers.get_content_type() == "application/json"
    return response.status, json.loads(text) if is_json else text


def send(host: Host, raw: bytes) -> bytes:
    """What comes back to bytes that need be no HTTP."""
    with _connect(host) as connection:
        connection.sendall(raw)
        return connection.recv(65536)


def _connect(host: Host) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(DEADLINE_S)
    connection.connect(str(host.directory / "run/weavedns/weavedns.sock"))
    return connection
