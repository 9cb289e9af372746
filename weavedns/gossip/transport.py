"""The sockets of a node: carries its datagrams and streams, wakes it in time, hands out its events. Holds no rule."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, field

from weavedns.errors import ListenError, PeerError
from weavedns.gossip.events import Address, Event, RecordsChanged, ReplyCame, RequestCame, RequestFailed
from weavedns.gossip.links import Close, Dial, Send
from weavedns.gossip.message import MAX_REQUEST_BYTES
from weavedns.gossip.node import Node
from weavedns.gossip.requests import DEFAULT_TIMEOUT_S
from weavedns.gossip.words import UNREACHABLE

log = logging.getLogger(__name__)

# Shorter than an unauthenticated stream may take: that nobody answers is told as that. Time for two lost packets.
CONNECT_S = 4.0
# Bursts wait here while the process is busy, instead of being lost.
RECEIVE_BUFFER_BYTES = 1 << 20
# What the kernel does not take at once is lost beyond this, as datagrams may be.
MAX_WRITE_BUFFER_BYTES = 1 << 20
# What is read in one go; a snapshot is taken in bit by bit, and queries are answered in between.
READ_BYTES = 1 << 10
# Somebody who reads nothing for so long is not waited for.
STUCK_S = 15.0
BACKLOG = 64
# How long the last datagrams of one that leaves may take.
LEAVE_S = 0.5

Handler = Callable[[str, str, bytes], Awaitable[bytes]]


@dataclass(eq=False, slots=True)
class _Connection:
    """One stream's connection; `wanted` is set when there is something to write or to close."""

    wanted: asyncio.Event = field(default_factory=asyncio.Event)
    closing: bool = False


class Transport:
    """Runs one node on an event loop.

    `on_event` gets every event but those of requests; `on_request(peer, kind, body)` answers another peer's question,
    and may raise PeerError with a sentence for it. `turn` is waited for before each slice of what takes long; it says
    when to take the next one, by `time.perf_counter`.
    """

    def __init__(
        self,
        node: Node,
        *,
        on_event: Callable[[Event], None],
        on_request: Handler,
        turn: Callable[[], Awaitable[float]],
    ) -> None:
        self._node = node
        self._turn = turn
        self._on_event = on_event
        self._on_request = on_request
        self._connections: dict[int, _Connection] = {}
        self._replies: dict[int, asyncio.Future[bytes]] = {}
        self._happened = asyncio.Event()
        # The node has nothing more to do, which is only so after it left.
        self._quiet = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._due: float | None = None
        self._loop: asyncio.AbstractEventLoop
        self._tasks: asyncio.TaskGroup
        self._udp: asyncio.DatagramTransport
        self._running: set[asyncio.Task[None]] = set()
        self._started = False
        # False: it ends as for a restart, and the others wait a while for its return.
        self.leaves = True
        self.datagrams_dropped = 0

    @contextlib.asynccontextmanager
    async def serving(self, host: str, port: int) -> AsyncIterator[None]:
        """Listen on an address and run the node until the block ends, when it leaves the cluster if it `leaves`.

        Raises ListenError when the address cannot be had.
        """
        self._loop = asyncio.get_running_loop()
        async with contextlib.AsyncExitStack() as parts:
            server = await self._listen(parts, host, port)
            self._tasks = await parts.enter_async_context(asyncio.TaskGroup())
            parts.callback(self._cancel_all)
            parts.callback(server.close)
            parts.callback(self._stop_timer)
            self._started = True
            self._spawn(self._hand_out_events())
            await server.start_serving()
            self._node.start(self._now())
            self._pump()
            try:
                yield
            finally:
                if self.leaves:
                    await self._leave()

    @property
    def port(self) -> int:
        """The port that is listened on."""
        number: int = self._udp.get_extra_info("sockname")[1]
        return number

    def publish(self) -> None:
        """The catalog's own records or facts changed."""
        self._node.publish(self._now())
        self._pump()

    def join(self, addr: Address) -> None:
        """Join one more peer, by name or address."""
        self._node.join(addr, self._now())
        self._pump()

    def forget(self, name: str) -> None:
        """Drop a dead peer on all peers; raises PeerError."""
        self._node.forget(name, self._now())
        self._pump()

    async def request(self, peer: str, kind: str, body: bytes, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> bytes:
        """Ask a peer; raises PeerError when it is not there, does not answer in time or refuses."""
        number = self._node.request(peer, kind, body, self._now(), timeout_s=timeout_s)
        reply: asyncio.Future[bytes] = self._loop.create_future()
        self._replies[number] = reply
        self._pump()
        try:
            return await reply
        finally:
            del self._replies[number]

    # Driving the node.

    def datagram_received(self, data: bytes, addr: Address) -> None:
        """A datagram came."""
        if self._started:
            self._node.receive(data, (addr[0], addr[1]), self._now())
            self._pump()

    def _now(self) -> float:
        return self._loop.time()

    def _pump(self) -> None:
        node, udp = self._node, self._udp
        for data, addr in node.datagrams_to_send(self._now()):
            if udp.is_closing() or self._unsent() > MAX_WRITE_BUFFER_BYTES:
                self.datagrams_dropped += 1
            else:
                udp.sendto(data, addr)
        for action in node.stream_actions():
            self._act(action)
        self._happened.set()
        due = node.get_timer()
        if due != self._due:
            self._stop_timer()
            self._due = due
            if due is not None:
                self._timer = self._loop.call_at(due, self._wake)
            else:
                self._quiet.set()

    def _unsent(self) -> int:
        # Every event loop's datagram transport has it, but the abstract one does not say so.
        size: int = getattr(self._udp, "get_write_buffer_size", int)()
        return size

    def _wake(self) -> None:
        self._due = None
        self._node.handle_timer(self._now())
        self._pump()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._due = None

    async def _hand_out_events(self) -> None:
        ends = 0.0
        while True:
            await self._happened.wait()
            self._happened.clear()
            while (event := self._node.next_event()) is not None:
                self._hand_out(event)
                # A large snapshot comes in portions; queries are answered in between.
                if isinstance(event, RecordsChanged) and time.perf_counter() >= ends:
                    ends = await self._turn()

    def _hand_out(self, event: Event) -> None:
        match event:
            case ReplyCame(number, body):
                reply = self._replies.get(number)
                if reply is not None and not reply.done():
                    reply.set_result(body)
            case RequestFailed(number, text):
                reply = self._replies.get(number)
                if reply is not None and not reply.done():
                    reply.set_exception(PeerError(text))
            case RequestCame():
                self._spawn(self._answer(event))
            case _:
                self._on_event(event)

    async def _answer(self, event: RequestCame) -> None:
        try:
            async with asyncio.timeout(DEFAULT_TIMEOUT_S):
                body = await self._on_request(event.peer, event.kind, event.body)
            self._node.reply(event.number, body)
        except PeerError as exc:
            # However long the name that it repeats.
            self._node.reply(event.number, str(exc).encode()[:MAX_REQUEST_BYTES], failed=True)
        except TimeoutError:
            self._node.reply(event.number, b"it took too long there", failed=True)
        self._pump()

    async def _leave(self) -> None:
        self._node.leave(self._now())
        self._pump()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_S):
                await self._quiet.wait()

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = self._tasks.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    def _cancel_all(self) -> None:
        for task in self._running:
            task.cancel()

    # Sockets.

    async def _listen(self, parts: contextlib.AsyncExitStack, host: str, port: int) -> asyncio.Server:
        try:
            server = await asyncio.start_server(self._accepted, host, port, backlog=BACKLOG, start_serving=False)
            parts.callback(server.close)
            # Port 0 lets the kernel choose; both sockets have to have the same one.
            chosen = server.sockets[0].getsockname()[1]
            self._udp, _ = await self._loop.create_datagram_endpoint(
                lambda: _Datagrams(self), local_addr=(host, chosen)
            )
        except OSError as exc:
            raise ListenError(f"cannot listen on {host} port {port} for peers: {exc.strerror or exc}") from exc
        parts.callback(self._udp.close)
        raw = self._udp.get_extra_info("socket")
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        return server

    def _act(self, action: Dial | Send | Close) -> None:
        match action:
            case Dial(link, addr):
                self._connections[link] = _Connection()
                self._spawn(self._dial(link, addr))
            case Send(link):
                if link in self._connections:
                    self._connections[link].wanted.set()
            case Close(link):
                if link in self._connections:
                    self._connections[link].closing = True
                    self._connections[link].wanted.set()

    async def _dial(self, link: int, addr: Address) -> None:
        try:
            async with asyncio.timeout(CONNECT_S):
                reader, writer = await asyncio.open_connection(*addr, family=socket.AF_INET)
        except (OSError, TimeoutError) as exc:
            log.debug("no stream to %s: %s", addr, exc)
            self._gone(link, why=unreachable(exc), nobody_listens=isinstance(exc, ConnectionRefusedError))
            return
        self._node.stream_opened(link, writer.get_extra_info("peername")[:2])
        self._pump()
        await self._converse(link, reader, writer)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peername = writer.get_extra_info("peername")
        link = self._node.stream_accepted(peername[:2], self._now()) if peername else None
        if link is None:
            writer.transport.abort()
            return
        self._connections[link] = _Connection()
        self._spawn(self._converse(link, reader, writer))
        self._pump()

    async def _converse(self, link: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writing = self._spawn(self._write(link, writer))
            ends = 0.0
            try:
                # The node's own timers end a stream that does not move.
                while data := await reader.read(READ_BYTES):
                    self._node.stream_received(link, data, self._now())
                    self._pump()
                    # To read what has come already, or to write what the kernel takes at once, does not wait.
                    if time.perf_counter() >= ends:
                        ends = await self._turn()
            finally:
                writing.cancel()
        except OSError as exc:
            log.debug("a stream broke: %s", exc)
        finally:
            # Python 3.11's transport does not know that it is closed when its last bytes left after its close().
            with contextlib.suppress(AttributeError):
                writer.transport.abort()
            self._gone(link)

    async def _write(self, link: int, writer: asyncio.StreamWriter) -> None:
        connection = self._connections[link]
        ends = 0.0
        with contextlib.suppress(OSError, TimeoutError):
            while True:
                # Read before drawing: what is wanted after the last draw must not be missed.
                closing = connection.closing
                connection.wanted.clear()
                data = self._node.stream_data(link, self._now())
                if data:
                    writer.write(data)
                    async with asyncio.timeout(STUCK_S):
                        await writer.drain()
                    if time.perf_counter() >= ends:
                        ends = await self._turn()
                elif closing:
                    break
                else:
                    self._pump()
                    await connection.wanted.wait()
        writer.close()

    def _gone(self, link: int, why: str = "", *, nobody_listens: bool = False) -> None:
        del self._connections[link]
        self._node.stream_closed(link, self._now(), why, nobody_listens=nobody_listens)
        self._pump()


def unreachable(exc: OSError) -> str:
    """Why no connection came about, in words."""
    match exc:
        case TimeoutError():
            return UNREACHABLE
        case ConnectionRefusedError():
            return f"{UNREACHABLE}: connection refused, no peer listens there"
        case socket.gaierror():
            return f"{UNREACHABLE}: no host of that name is known ({exc.strerror})"
        case OSError(errno=int(number)):
            # asyncio's own words repeat the address, not the reason.
            return f"{UNREACHABLE}: {os.strerror(number).lower()}"
    # One reason for each of a name's addresses is none for all of them.
    return f"{UNREACHABLE}: none of its addresses answers"


class _Datagrams(asyncio.DatagramProtocol):
    """Hands datagrams straight to the transport: the kernel's buffer is the only queue."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self._transport.datagram_received(data, addr)

    def error_received(self, exc: Exception) -> None:
        log.debug("a peer's address cannot be reached: %s", exc)
