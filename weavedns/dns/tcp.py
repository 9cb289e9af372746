"""The TCP listener: messages out of streams and replies into them, all bounded. Holds no rule about queries."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Callable
from ipaddress import ip_address
from typing import cast

from weavedns.dns.stats import DnsStats

log = logging.getLogger(__name__)

# RFC 7766 section 6: pipelining, and limits for connections that take and do not give.
MAX_CONNECTIONS = 256
MAX_CONNECTIONS_OF_CLIENT = 32
IDLE_S = 10.0
_MAX_UNREAD_BYTES = 256 * 1024  # replies that a client has not yet taken
_MAX_WAITING = 64  # queries of one connection that are being forwarded
_MESSAGES_A_TURN = 32
_PREFIX_BYTES = 2

_ACCEPTS_A_TURN = 64
ACCEPT_AGAIN_S = 0.5
_TELL_EVERY_S = 60.0

# A message, the client's address of 4 or 16 bytes, and how to send a reply that comes later; the reply, or None. What
# is sent later is sent once, and empty when there is none to send.
Ask = Callable[[bytes, bytes, Callable[[bytes], None]], bytes | None]


class TcpListener:
    """The connections to one listening, non-blocking socket: how many there are, and from whom."""

    def __init__(self, sock: socket.socket, ask: Ask, stats: DnsStats, *, idle_s: float = IDLE_S) -> None:
        self._sock = sock
        self.ask = ask
        self._pause: asyncio.TimerHandle | None = None
        self._next_told_s = 0.0
        self._making: set[asyncio.Task[object]] = set()
        self.stats = stats
        self.idle_s = idle_s
        self._open: set[TcpConnection] = set()
        self._of_client: Counter[bytes] = Counter()

    def start(self) -> None:
        """Begin to accept connections."""
        asyncio.get_running_loop().add_reader(self._sock.fileno(), self._accept)

    def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(_ACCEPTS_A_TURN):
            try:
                accepted, _ = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionError):
                return
            except OSError as exc:
                self._wait_for_room(exc)
                return
            accepted.setblocking(False)
            task = loop.create_task(loop.connect_accepted_socket(lambda: TcpConnection(self), accepted))
            self._making.add(task)
            task.add_done_callback(self._making.discard)

    def _wait_for_room(self, exc: OSError) -> None:
        """Accept nothing for a moment: this process is out of files, and the socket would say so again at once."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._sock.fileno())
        self._pause = loop.call_later(ACCEPT_AGAIN_S, self.start)
        if loop.time() >= self._next_told_s:
            self._next_told_s = loop.time() + _TELL_EVERY_S
            log.warning(
                "a TCP connection could not be accepted: %s; raise the limit of open files (LimitNOFILE=, ulimit -n)",
                exc.strerror,
            )

    def admit(self, connection: TcpConnection, client: bytes) -> bool:
        """Count a connection in; False when there are too many already."""
        if len(self._open) >= MAX_CONNECTIONS or self._of_client[client] >= MAX_CONNECTIONS_OF_CLIENT:
            self.stats.tcp_refused += 1
            return False
        self._open.add(connection)
        self._of_client[client] += 1
        self.stats.tcp_connections += 1
        return True

    def leave(self, connection: TcpConnection, client: bytes) -> None:
        """Count a connection out."""
        if connection in self._open:
            self._open.remove(connection)
            self._of_client[client] -= 1
            self._of_client += Counter()  # keeps only who still has one

    def close(self) -> None:
        """Accept no more, end every connection, and give the address back."""
        if self._pause:
            self._pause.cancel()
        if self._sock.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._sock.fileno())
            self._sock.close()
        for task in self._making:
            task.cancel()
        for connection in tuple(self._open):
            connection.abort()


class TcpConnection(asyncio.Protocol):
    """One client's stream. Reading stops while its replies pile up or too many of its queries wait."""

    def __init__(self, listener: TcpListener) -> None:
        self._listener = listener
        self._client = b""
        self._unread = bytearray()
        self._waiting = 0
        self._stalled = False
        self._ended = False
        self._transport: asyncio.Transport
        self._idle: asyncio.TimerHandle | None = None
        self._turn: asyncio.Handle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the client in, or turn it away."""
        self._transport = transport = cast("asyncio.Transport", transport)  # what create_server gives
        peer = transport.get_extra_info("peername")
        self._client = ip_address(peer[0].partition("%")[0]).packed if peer else b""
        if not peer or not self._listener.admit(self, self._client):
            transport.abort()
            return
        # asyncio does this only for sockets made with a protocol number. Without it a second write waits until the
        # client acknowledges the first, which it may put off for 40 ms.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport.set_write_buffer_limits(high=_MAX_UNREAD_BYTES, low=_MAX_UNREAD_BYTES // 4)
        self._rest()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Forget the client."""
        self._listener.leave(self, self._client)
        for handle in (self._idle, self._turn):
            if handle:
                handle.cancel()
        self._idle = self._turn = None

    def data_received(self, data: bytes) -> None:
        """Answer what is complete by now."""
        self._unread += data
        if self._turn is None:
            self._answer_some()

    def eof_received(self) -> bool:
        """The client has finished asking: what it has asked is still answered."""
        self._ended = True
        self._pace()
        return True

    def pause_writing(self) -> None:
        """The client does not take its replies: take no more of its queries."""
        self._stalled = True

    def resume_writing(self) -> None:
        """The client has taken its replies."""
        self._stalled = False
        self._go_on()

    def abort(self) -> None:
        """End the connection at once."""
        self._transport.abort()

    def _answer_some(self) -> None:
        """Answer a bounded number of messages; the rest in the event loop's next round, after everybody else."""
        self._turn = None
        unread, at = self._unread, 0
        replies: list[bytes] = []
        for _ in range(_MESSAGES_A_TURN):
            start = at + _PREFIX_BYTES
            stop = start + int.from_bytes(unread[at:start], "big")
            if len(unread) < start or len(unread) < stop or self._stalled or self._waiting >= _MAX_WAITING:
                break
            reply = self._listener.ask(bytes(unread[start:stop]), self._client, self._send_later)
            if reply is None:
                self._waiting += 1
            elif reply:
                replies.append(_framed(reply))
            at = stop
        else:
            self._turn = asyncio.get_running_loop().call_soon(self._answer_some)
        if at:
            del unread[:at]
            self._rest()
        if replies and not self._transport.is_closing():
            self._transport.write(b"".join(replies))
        self._pace()

    def _send_later(self, packet: bytes) -> None:
        """Send the reply of a query that was waiting for it."""
        self._waiting -= 1
        if packet and not self._transport.is_closing():
            self._transport.write(_framed(packet))
        self._go_on()

    def _go_on(self) -> None:
        if self._turn is None and not self._transport.is_closing():
            self._turn = asyncio.get_running_loop().call_soon(self._answer_some)

    def _pace(self) -> None:
        """Read on only while what was read is being answered: the client's own buffers hold the rest."""
        if self._transport.is_closing():
            return
        if self._ended and not (self._stalled or self._turn or self._waiting):
            self._transport.close()
        elif self._stalled or self._turn or self._waiting >= _MAX_WAITING:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _rest(self) -> None:
        """Give the client time anew for its next whole message; pieces of one do not prolong it."""
        if self._idle:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(self._listener.idle_s, self._expire)

    def _expire(self) -> None:
        if self._waiting and not self._stalled:
            self._rest()
        else:
            self._transport.abort()


def _framed(packet: bytes) -> bytes:
    return len(packet).to_bytes(_PREFIX_BYTES, "big") + packet
