"""Connections that can be ended from outside."""

import contextlib
import socket
from pathlib import Path

import pytest
import requests

from weavedns.containers.transport import EngineAdapter, Sockets


@pytest.fixture
def sockets() -> Sockets:
    return Sockets()


def is_shut(sock: socket.socket) -> bool:
    sock.setblocking(False)
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False


def test_shutting_ends_every_known_socket(sockets: Sockets) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sockets.add(ours)
        assert not is_shut(ours)

        sockets.shut()

        assert is_shut(ours)
        assert is_shut(theirs)


def test_a_socket_that_comes_after_that_is_shut_at_once(sockets: Sockets) -> None:
    sockets.shut()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sockets.add(ours)

        assert is_shut(ours)


def test_a_socket_that_is_closed_already_is_no_trouble(sockets: Sockets) -> None:
    ours, theirs = socket.socketpair()
    sockets.add(ours)
    ours.close()

    sockets.shut()

    theirs.close()


def test_a_closed_adapter_does_not_connect_again(sockets: Sockets, tmp_path: Path) -> None:
    path = tmp_path / "engine.sock"
    with socket.socket(socket.AF_UNIX) as listener, requests.Session() as session:
        listener.bind(str(path))
        listener.listen()
        listener.setblocking(False)
        adapter = EngineAdapter(sockets, str(path), connections=1)
        session.mount("http://", adapter)
        adapter.close()

        with pytest.raises(requests.ConnectionError, match="closed"):
            session.get("http://localhost/", timeout=1)

        with pytest.raises(BlockingIOError):
            listener.accept()


@pytest.mark.parametrize("problem", [FileNotFoundError, ConnectionRefusedError])
def test_what_the_kernel_said_is_still_there_in_the_error(
    sockets: Sockets, tmp_path: Path, problem: type[OSError]
) -> None:
    path = tmp_path / "engine.sock"
    if problem is ConnectionRefusedError:
        with socket.socket(socket.AF_UNIX) as gone:
            gone.bind(str(path))
    with (
        requests.Session() as session,
        contextlib.closing(EngineAdapter(sockets, str(path), connections=1)) as adapter,
    ):
        session.mount("http://", adapter)

        with pytest.raises(requests.ConnectionError) as told:
            session.get("http://localhost/", timeout=1)

    assert problem.__name__ in repr(told.value)
