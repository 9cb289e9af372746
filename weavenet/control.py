"""The client of the daemon's control socket: one HTTP request over a Unix socket. Knows no command's meaning."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from weavenet.errors import ControlError, NoDaemonError

DEFAULT_SOCKET = Path("/run/weavedns/weavedns.sock")
TIMEOUT_S = 60.0
_ERROR_STATUS = 400


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("weavedns", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Client:
    """Speaks to the daemon that listens on `socket`; each call is a connection of its own."""

    def __init__(self, socket: Path, *, timeout_s: float = TIMEOUT_S) -> None:
        self._socket = socket
        self._timeout_s = timeout_s

    def call(self, method: str, path: str, body: object = None, *, query: Mapping[str, str] | None = None) -> Any:
        """Make a request and return the decoded JSON, or the text when the answer is no JSON, or None.

        Raises ControlError with the daemon's own sentence, NoDaemonError with the cure when there is none.
        """
        target = f"{path}?{urlencode(query)}" if query else path
        connection = _UnixConnection(self._socket, self._timeout_s)
        try:
            headers = {} if body is None else {"Content-Type": "application/json"}
            connection.request(method, target, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            raw = response.read()
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            raise NoDaemonError(f"no daemon listens on {self._socket}; start one with 'weavedns launch'") from None
        except ConnectionError:
            raise NoDaemonError(f"the daemon on {self._socket} ended before it answered; look at its log") from None
        except PermissionError:
            raise ControlError(f"no permission to use {self._socket}; run this as root") from None
        except TimeoutError:
            raise ControlError(
                f"the daemon on {self._socket} did not answer within {self._timeout_s:.0f} s"
            ) from None
        except (OSError, http.client.HTTPException) as exc:
            raise ControlError(f"the daemon on {self._socket} broke the connection: {exc}") from exc
        finally:
            connection.close()
        is_json = response.headers.get_content_type() == "application/json"
        try:
            value = json.loads(raw) if is_json and raw else raw.decode(errors="replace") or None
        except ValueError as exc:
            raise ControlError(f"what listens on {self._socket} is no weavedns: it sends broken JSON") from exc
        if response.status >= _ERROR_STATUS:
            told = value.get("Error") if isinstance(value, dict) else value
            raise ControlError(str(told or f"the daemon answered {response.status}"))
        return value
