"""HTTP connections to an engine that can be ended from another thread. Knows nothing of Docker's API.

The engine's library blocks; whoever waits in it for an engine that does not answer is let go by shutting the
socket under it. So every socket is known here, from when it is connected.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import weakref
from functools import partial
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection


class Sockets:
    """The sockets in use, until they are shut for good. For use by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._shut = False

    def add(self, sock: socket.socket) -> None:
        """Remember a connected socket; one that comes too late is shut at once."""
        with self._lock:
            self._open.add(sock)
            if self._shut:
                _shutdown(sock)

    def shut(self) -> None:
        """End every read and write that waits, and all that are still to come."""
        with self._lock:
            self._shut = True
            for sock in self._open:
                _shutdown(sock)


class EngineAdapter(HTTPAdapter):
    """Takes requests to an engine, at the Unix socket `path` when there is one, else where the URL says."""

    def __init__(self, sockets: Sockets, path: str | None, *, connections: int) -> None:
        self._sockets = sockets
        self._path = path
        self._closed = False
        super().__init__(pool_maxsize=connections)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make connections that are known to `Sockets`."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {
            "http": partial(_pool, HTTPConnectionPool, partial(_Connection, sockets=self._sockets, path=self._path)),
            "https": partial(_pool, HTTPSConnectionPool, partial(_TLSConnection, sockets=self._sockets)),
        }

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:
        """Send a request; a closed adapter refuses, where its base class would quietly connect again."""
        if self._closed:
            raise requests.ConnectionError("the connection to the engine was closed")
        return super().send(*args, **kwargs)

    def close(self) -> None:
        """Close the idle connections, and the busy ones as they are given back."""
        self._closed = True
        super().close()


class _Connection(HTTPConnection):
    def __init__(self, *args: Any, sockets: Sockets, path: str | None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sockets = sockets
        self._path = path

    def _new_conn(self) -> socket.socket:
        if self._path is None:
            return super()._new_conn()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(self.timeout)
            sock.connect(self._path)
        except BaseException:
            sock.close()
            raise
        return sock

    def connect(self) -> None:
        super().connect()
        self._sockets.add(self.sock)


class _TLSConnection(HTTPSConnection):
    def __init__(self, *args: Any, sockets: Sockets, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sockets = sockets

    def connect(self) -> None:
        super().connect()
        # The TLS socket has taken the place of the one beneath it.
        self._sockets.add(self.sock)


def _pool(kind: type[HTTPConnectionPool], connection: Any, *args: Any, **kwargs: Any) -> HTTPConnectionPool:
    pool = kind(*args, **kwargs)
    pool.ConnectionCls = connection
    return pool


def _shutdown(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        # Not the method of a TLS socket, which would pull the session from under the thread that reads.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
