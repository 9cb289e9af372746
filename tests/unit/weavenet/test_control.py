"""The client of the control socket, against a server that answers as it is told to."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from weavenet.control import Client
from weavenet.errors import ControlError, NoDaemonError


class Server:
    """Takes one connection at a time, keeps what it reads, and answers with `reply`, or hangs when that is None."""

    def __init__(self, path: Path) -> None:
        self.reply: bytes | None = b""
        self.heard = b""
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._kept: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._listener.close()
        for connection in self._kept:
            connection.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.settimeout(5)
            self.heard = connection.recv(65536)
            if b"Content-Length" in self.heard and self.heard.endswith(b"\r\n\r\n"):
                self.heard += connection.recv(65536)
            if self.reply is None:
                self._kept.append(connection)
                continue
            with connection:
                connection.sendall(self.reply)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "w.sock"


@pytest.fixture
def server(path: Path) -> Iterator[Server]:
    made = Server(path)
    yield made
    made.close()


def reply(body: bytes, status: str = "200 OK", kind: str = "application/json; charset=utf-8") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        (reply(b'{"Addresses": []}'), {"Addresses": []}),
        (reply(b"[]"), []),
        (reply("weave.local.\nä".encode(), kind="text/plain; charset=utf-8"), "weave.local.\nä"),
        (reply(b"", status="204 No Content", kind="text/plain"), None),
    ],
)
def test_an_answer_is_decoded_by_its_type(server: Server, path: Path, answer: bytes, value: object) -> None:
    server.reply = answer
    assert Client(path).call("GET", "/x") == value


def test_a_request_carries_query_and_body(server: Server, path: Path) -> None:
    server.reply = reply(b"{}")
    Client(path).call("POST", "/x", {"name": "a b"}, query={"name": "a&b", "type": "A"})
    assert server.heard.startswith(b"POST /x?name=a%26b&type=A HTTP/1.1\r\n")
    assert b"Content-Type: application/json\r\n" in server.heard
    assert server.heard.endswith(b'{"name": "a b"}')
    Client(path).call("GET", "/x")
    assert b"Content-Type" not in server.heard


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (reply(b'{"Error": "it is in use"}', status="409 Conflict"), "it is in use"),
        (reply(b"plain words", status="400 Bad Request", kind="text/plain"), "plain words"),
        (reply(b"{}", status="500 Oops"), "the daemon answered 500"),
        (reply(b"", status="502 Oops"), "the daemon answered 502"),
    ],
)
def test_a_refusal_is_told_in_the_daemons_own_words(server: Server, path: Path, answer: bytes, told: str) -> None:
    server.reply = answer
    with pytest.raises(ControlError) as raised:
        Client(path).call("GET", "/x")
    assert str(raised.value) == told
    assert not isinstance(raised.value, NoDaemonError)


@pytest.mark.parametrize("answer", [b"HTTP", b"\x16\x03\x01\r\n", reply(b"{}")[:-1]])
def test_what_is_no_answer_is_an_error_of_the_connection(server: Server, path: Path, answer: bytes) -> None:
    server.reply = answer
    with pytest.raises(ControlError, match="broke the connection"):
        Client(path).call("GET", "/x")


def test_broken_json_is_told_as_what_it_is(server: Server, path: Path) -> None:
    server.reply = reply(b"{broken")
    with pytest.raises(ControlError, match="is no weavedns: it sends broken JSON"):
        Client(path).call("GET", "/x")


def test_a_daemon_that_ends_without_an_answer_is_no_daemon(server: Server, path: Path) -> None:
    with pytest.raises(NoDaemonError, match="ended before it answered"):
        Client(path).call("GET", "/x")


def test_a_daemon_that_hangs_is_given_up(server: Server, path: Path) -> None:
    server.reply = None
    with pytest.raises(ControlError, match="did not answer within 0 s") as raised:
        Client(path, timeout_s=0.05).call("GET", "/x")
    assert not isinstance(raised.value, NoDaemonError)


def test_no_daemon_is_told_with_the_cure(path: Path) -> None:
    told = f"no daemon listens on {path}; start one with 'weavedns launch'"
    with pytest.raises(NoDaemonError, match=told):
        Client(path).call("GET", "/x")
    Server(path).close()  # its socket stays, as after a kill
    assert path.is_socket()
    with pytest.raises(NoDaemonError, match=told):
        Client(path).call("GET", "/x")
    with pytest.raises(NoDaemonError):
        Client(path / "below").call("GET", "/x")


def test_a_socket_that_may_not_be_used_is_told_with_the_cure(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "connect", denied)  # root may use every socket
    with pytest.raises(ControlError, match=f"no permission to use {path}; run this as root"):
        Client(path).call("GET", "/x")
