"""The DNS server: its listeners, the two paths of a query, and what forwards. Holds no rule about any query."""

from __future__ import annotations

import errno
import logging
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address

from weavedns.dns import compose, holder
from weavedns.dns.access import Access
from weavedns.dns.answers import Answers
from weavedns.dns.cache import Cache
from weavedns.dns.cookies import SECRET_BYTES, Cookies
from weavedns.dns.forwarder import Forwarder
from weavedns.dns.onward import Onward
from weavedns.dns.private import NoPrivateNames, PrivateNames
from weavedns.dns.querylog import QueryLog
from weavedns.dns.resolver import Answer, Drop, Resolver, Transport
from weavedns.dns.responder import Responder
from weavedns.dns.stats import DnsStats
from weavedns.dns.tcp import TcpListener
from weavedns.dns.udp import UdpListener
from weavedns.dns.upstream import Upstreams
from weavedns.dns.wire import Flag, Rcode
from weavedns.errors import ListenError

log = logging.getLogger(__name__)

_BACKLOG = 128
_TELL_FAULTS_EVERY_S = 60.0
_OPCODE = 0x7800
_COUNTS_BYTES = 8
# With port 0 the kernel picks one for UDP, and it may be taken for TCP.
_PORT_TRIES = 8
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def _clock() -> float:
    """Seconds that also pass while the machine sleeps: TTLs do not wait for it."""
    return time.clock_gettime(_CLOCK)


@dataclass(frozen=True, slots=True)
class _Listener:
    host: str
    port: int
    udp: UdpListener
    tcp: TcpListener


class DnsServer:
    """Answers queries on each address that it was told to listen on, from `start` until `close`."""

    def __init__(
        self,
        answers: Answers,
        access: Access,
        upstreams: Upstreams,
        *,
        private: PrivateNames | None = None,
        stats: DnsStats | None = None,
        peer: str = "",
        clock: Callable[[], float] = _clock,
        awaited: Callable[[], bool] = lambda: False,
    ) -> None:
        self.stats = stats or DnsStats()
        self.cache = Cache()
        self._answers = answers
        self._access = access
        self._private = private or NoPrivateNames()
        self._clock = clock
        self._awaited = awaited
        self._next_fault_told = 0.0
        self._handed_over = answers.handed_over
        self._responder = Responder(answers, self.stats)
        cookies = Cookies(secrets.token_bytes(SECRET_BYTES))
        self._resolver = Resolver(answers, upstreams, private=private, cookies=cookies, nsid=peer.encode())
        self._forwarder = Forwarder(upstreams, self.cache, self.stats, clock=clock)
        self._query_log: QueryLog | None = None
        self._listeners: list[_Listener] = []
        self._started = False

    @property
    def listening(self) -> list[tuple[str, int]]:
        """The addresses and ports that are ours."""
        return [(listener.host, listener.port) for listener in self._listeners]

    async def listen(self, host: str, port: int) -> None:
        """Take UDP and TCP on exactly this address; port 0 is any free one. Until `start`, queries wait.

        Raises ListenError, which names who holds the port, or says what is wrong with the address.
        """
        udp, tcp = _bind(host, port)
        asked = TcpListener(tcp, self._ask_tcp, self.stats)
        port = tcp.getsockname()[1]
        listener = UdpListener(
            udp,
            self._responder,
            self._access,
            self._ask_udp,
            self.stats,
            cached=self._cached,
            awaited=self._awaited,
        )
        self._listeners.append(_Listener(host, port, listener, asked))
        if self._started:
            self._begin(self._listeners[-1])

    async def start(self) -> None:
        """Begin to answer, what has been waiting first."""
        self._started = True
        for listener in self._listeners:
            self._begin(listener)

    def answer_waiting(self) -> bool:
        """Answer the queries that have come by UDP, out of the event loop's turn; whether more may be waiting."""
        # Each listener, not just up to the first that is behind.
        return self._started and sum(listener.udp.answer_waiting() for listener in self._listeners) > 0

    async def close(self) -> None:
        """Stop answering and give all addresses back."""
        listeners, self._listeners = self._listeners, []
        await self._forwarder.close()
        for listener in listeners:
            listener.udp.close()
            listener.tcp.close()

    @property
    def in_flight(self) -> int:
        """How many questions upstreams are being asked."""
        return self._forwarder.in_flight

    def flush(self, name: bytes | None = None) -> int:
        """Forget what upstreams said, all of it or about a name and those under it; how many answers that were."""
        return self.cache.flush(name)

    def upstreams_changed(self) -> None:
        """Other servers may say other things: ask again for everything."""
        self.cache.expire(self._clock())

    def log_queries(self, log: Callable[[str], None] | None) -> None:
        """Have `log` called with one line for each reply from now on, or no more; costs nothing while it is off."""
        self._query_log = QueryLog(log) if log else None
        for listener in self._listeners:
            self._watch(listener)

    def lookup(self, name: bytes, rtype: int) -> list[bytes]:
        """The record data that this server answers with from its own records; `name` in wire form, lower case."""
        return compose.lookup(self._answers, name, rtype)

    def _watch(self, listener: _Listener) -> None:
        query_log = self._query_log
        listener.udp.watch(query_log.udp if query_log else None)
        listener.tcp.ask = query_log.tcp(self._ask_tcp) if query_log else self._ask_tcp

    def _begin(self, listener: _Listener) -> None:
        self._watch(listener)
        listener.udp.start()
        listener.tcp.start()

    def _ask_udp(self, packet: bytes, client: bytes, send: Callable[[bytes], None]) -> bytes | None:
        return self._take_care(packet, client, Transport.UDP, send)

    def _ask_tcp(self, packet: bytes, client: bytes, send: Callable[[bytes], None]) -> bytes | None:
        self.stats.queries += 1
        if self._access.may_ask(client):
            reply = self._responder.answer(packet, recursion=self._access.may_forward(client))
            if reply is not None:
                self.stats.answered += 1
                return reply
        return self._take_care(packet, client, Transport.TCP, send)

    def _cached(self, packet: bytes) -> bytes | None:
        if self._handed_over != self._answers.handed_over:
            # What other servers said about names of our domain may be ours to say by now.
            self._handed_over = self._answers.handed_over
            self.cache.flush(self._answers.domain)
        return self.cache.answer(packet, self._clock(), withheld=self._private.names)

    def _take_care(
        self, packet: bytes, client: bytes, transport: Transport, send: Callable[[bytes], None]
    ) -> bytes | None:
        """The careful path: the reply, empty for none at all, or None when `send` gets it later."""
        try:
            decision = self._resolver.resolve(
                packet,
                recursion=self._access.may_forward(client),
                transport=transport,
                may_ask=self._access.may_ask(client),
                client=client,
                now_s=int(time.time()),
            )
        except Exception as exc:  # noqa: BLE001
            # Whatever one packet does to us must not cost the others of its batch their answers.
            return self._give_up(packet, exc)
        match decision:
            case Answer(reply, rcode):
                self._count(reply, rcode)
                return reply
            case Drop():
                self.stats.dropped += 1
                return b""
            case Onward(wanted):
                known = self._forwarder.forward(wanted, client, lambda packet: send(decision.join(packet)))
                return None if known is None else decision.join(known)
            case wanted:
                return self._forwarder.forward(wanted, client, send)

    def _give_up(self, packet: bytes, fault: Exception) -> bytes:
        """The bare SERVFAIL for a packet that we failed to read, which is told once a minute at most."""
        now = self._clock()
        if now >= self._next_fault_told:
            self._next_fault_told = now + _TELL_FAULTS_EVERY_S
            log.error("a query could not be handled, please report it: %s", packet.hex(), exc_info=fault)
        self.stats.servfail += 1
        asked = int.from_bytes(packet[2:4], "big")
        flags = Flag.QR | (asked & (_OPCODE | Flag.RD)) | Rcode.SERVFAIL
        return packet[:2] + flags.to_bytes(2, "big") + bytes(_COUNTS_BYTES)

    def _count(self, reply: bytes, rcode: Rcode) -> None:
        stats = self.stats
        match rcode:
            case Rcode.NOERROR:
                stats.answered += 1
            case Rcode.NXDOMAIN:
                stats.answered += 1
                stats.nxdomain += 1
            case Rcode.REFUSED:
                stats.refused += 1
            case Rcode.SERVFAIL:
                stats.servfail += 1
            case Rcode.NOTIMP | Rcode.BADVERS:
                stats.not_implemented += 1
            case Rcode.FORMERR:
                stats.malformed += 1
        if int.from_bytes(reply[2:4], "big") & Flag.TC:
            stats.truncated += 1


def _bind(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """Sockets for UDP and TCP on the same address and port, both non-blocking; TCP listens."""
    try:
        if ip_address(host.partition("%")[0]).is_unspecified:
            raise ListenError(f"{host} means every address; name the ones to listen on, one by one")
    except ValueError:
        raise ListenError(f"{host!r} is no IP address to listen on; write one such as 10.2.254.1") from None
    for attempt in range(_PORT_TRIES):
        udp = _open(socket.SOCK_DGRAM, host, port)
        try:
            return udp, _open(socket.SOCK_STREAM, host, udp.getsockname()[1])
        except ListenError:
            udp.close()
            if port or attempt == _PORT_TRIES - 1:
                raise
    raise AssertionError  # the last attempt returned or raised


def _open(kind: socket.SocketKind, host: str, port: int) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=kind, flags=socket.AI_NUMERICHOST)[0]
    sock = socket.socket(family, kind)
    try:
        sock.setblocking(False)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind == socket.SOCK_STREAM:
            # Connections of a daemon that has just ended must not keep the port.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        if kind == socket.SOCK_STREAM:
            sock.listen(_BACKLOG)
    except OSError as exc:
        sock.close()
        raise ListenError(_why(exc, kind, host, port)) from exc
    return sock


def _why(error: OSError, kind: socket.SocketKind, host: str, port: int) -> str:
    where = f"{'TCP' if kind == socket.SOCK_STREAM else 'UDP'} {host} port {port}"
    if error.errno == errno.EADDRINUSE:
        return f"{where} is taken by {holder.describe(kind, host, port)}; stop it or listen on another address"
    if error.errno == errno.EACCES:
        return f"no permission to listen on {where}; run as root, or take a port above 1023"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is no address of this host; `ip address` lists those that can be listened on"
    return f"cannot listen on {where}: {error.strerror}"
