"""Has queries answered by upstreams: equal ones share a flight, flights are bounded, and a loop is noticed.

Which servers are asked in which order is for `upstream` to say, what may be kept for `cache`; no record is read here.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address

from weavedns.dns import exchange
from weavedns.dns.cache import Cache, key_of
from weavedns.dns.message import Query, Reply, build_reply, relay
from weavedns.dns.race import Attempts, Race, is_refusal
from weavedns.dns.resolver import Forward
from weavedns.dns.stats import DnsStats
from weavedns.dns.upstream import Server, Upstreams
from weavedns.dns.wire import MAX_NAME_BYTES, MAX_TCP_BYTES, Ede, Flag, Rcode

log = logging.getLogger(__name__)

MAX_FLIGHTS = 512
MAX_WAITING = 4096
MAX_WAITING_OF_CLIENT = 256
TIMEOUT_S = 4.0
# RFC 8767 section 5: so long is waited for a fresh answer before an expired one is given.
STALE_AFTER_S = 1.8
# A query that is still unanswered after this while an equal one has come in may be our own.
_SUSPECT_AFTER_S = 1.0
# A server that was seen to send our queries back is suspected at once, and told of once, within this time.
_LOOP_REMEMBERED_S = 60.0
_PROBE_S = 2.0
_PROBE_LABEL_BYTES = 8  # in hexadecimal digits twice as long


@dataclass(frozen=True, slots=True)
class _Waiter:
    wanted: Forward
    client: bytes
    send: Callable[[bytes], None]


@dataclass(slots=True, eq=False)
class _Flight:
    """One question on its way, and those who wait for the answer."""

    key: bytes
    wanted: Forward
    race: Race
    generation: int  # of the cache, when it began
    waiters: list[_Waiter] = field(default_factory=list)
    timers: list[asyncio.TimerHandle] = field(default_factory=list)
    suspected: bool = False
    looped: bool = False
    overdue: bool = False  # an expired answer is given meanwhile


class Forwarder:
    """Answers from the cache, else by a flight of its own or a shared one."""

    def __init__(
        self,
        upstreams: Upstreams,
        cache: Cache,
        stats: DnsStats,
        *,
        clock: Callable[[], float],
        max_flights: int = MAX_FLIGHTS,
        max_waiting_of_client: int = MAX_WAITING_OF_CLIENT,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._upstreams = upstreams
        self._cache = cache
        self._stats = stats
        self._clock = clock
        self._max_flights = max_flights
        self._max_waiting_of_client = max_waiting_of_client
        self._timeout_s = timeout_s
        self._flights: dict[bytes, _Flight] = {}
        self._waiting: Counter[bytes] = Counter()
        self._all_waiting = 0
        self._attempts = Attempts()
        # The names of our probes, each with the flight it belongs to and the server that was sent it.
        self._probes: dict[bytes, tuple[_Flight, Server]] = {}
        self._looped_at: dict[Server, float] = {}

    @property
    def in_flight(self) -> int:
        """How many questions are on their way."""
        return len(self._flights)

    def forward(self, wanted: Forward, client: bytes, send: Callable[[bytes], None]) -> bytes | None:
        """The reply, when it is known or must be an error at once; else None, and `send` gets it, called once.

        `client` is the asker's address, of which there may be only so many waiting queries.
        """
        now = self._clock()
        probe = self._probes.get(wanted.query.name)
        if probe:
            return self._come_back(wanted, *probe)
        key = key_of(wanted.query)
        entry = self._cache.get(key, now)
        if entry:
            self._stats.cached += 1
            return self._relay(wanted, entry.aged(now))
        flight = self._flights.get(key)
        failure = self._cache.failure(key, now)
        if failure and flight is None:
            text = "no upstream server could answer this a moment ago"
            return self._stale(wanted, key) or self._failed(wanted, failure.rcode, Ede.CACHED_ERROR, text)
        if self._is_full(client, flight):
            self._stats.over_limit += 1
            return self._failed(wanted, Rcode.SERVFAIL, Ede.OTHER, "too many queries are being forwarded")
        if flight is None:
            flight = self._depart(key, wanted)
        else:
            self._stats.coalesced += 1
            self._suspect(flight, client)
        if flight.overdue or self._upstreams.all_failing(wanted.servers):
            stale = self._stale(wanted, key)
            if stale:
                return stale
        flight.waiters.append(_Waiter(wanted, client, send))
        self._waiting[client] += 1
        self._all_waiting += 1
        return None

    async def close(self) -> None:
        """Give up what is in flight."""
        await self._attempts.close()

    def _is_full(self, client: bytes, flight: _Flight | None) -> bool:
        waiting = self._waiting[client]
        if waiting >= self._max_waiting_of_client or self._all_waiting >= MAX_WAITING:
            return True
        # A client takes no more places than it leaves free: so there is room for others, however many take the most.
        return flight is None and waiting >= self._max_flights - len(self._flights)

    def _depart(self, key: bytes, wanted: Forward) -> _Flight:
        self._stats.forwarded += 1
        race = Race(self._attempts, self._upstreams, wanted.query, wanted.servers, self._clock)
        flight = _Flight(key, wanted, race, self._cache.generation)
        self._flights[key] = flight
        if self._cache.get_stale(key, self._clock()):
            flight.timers.append(asyncio.get_running_loop().call_later(STALE_AFTER_S, self._give_stale, flight))
        self._attempts.start(self._fly(flight))
        return flight

    async def _fly(self, flight: _Flight) -> None:
        reply: Reply | None = None
        landed = False
        try:
            reply = await flight.race.run(self._timeout_s)
            landed = True
        finally:
            # Also when it is given up: whoever waits for a reply counts on the call.
            del self._flights[flight.key]
            for timer in flight.timers:
                timer.cancel()
            if landed:
                self._land(flight, reply)
            else:
                self._deliver(flight, lambda _: b"")

    def _land(self, flight: _Flight, reply: Reply | None) -> None:
        now = self._clock()
        if reply and not reply.flags & Flag.TC and not is_refusal(reply):
            if flight.generation == self._cache.generation:
                entry = self._cache.store(flight.wanted.query, reply, now)
                reply = entry.reply if entry else reply
            answer = reply
            self._deliver(flight, lambda wanted: self._relay(wanted, answer))
            return
        if reply is None:
            self._stats.upstream_failures += 1
        if flight.generation == self._cache.generation and not (reply and reply.flags & Flag.TC):
            self._cache.fail(flight.key, _passed_on(reply), now)
        self._deliver(
            flight, lambda wanted: self._stale(wanted, flight.key) or self._unanswered(wanted, flight, reply)
        )

    def _deliver(self, flight: _Flight, answer: Callable[[Forward], bytes]) -> None:
        waiters, flight.waiters = flight.waiters, []
        self._all_waiting -= len(waiters)
        for waiter in waiters:
            self._waiting[waiter.client] -= 1
            if not self._waiting[waiter.client]:
                del self._waiting[waiter.client]
            waiter.send(answer(waiter.wanted))

    def _give_stale(self, flight: _Flight) -> None:
        """Let nobody wait longer when there is an expired answer; the flight goes on and renews it."""
        if self._cache.get_stale(flight.key, self._clock()):
            flight.overdue = True
            self._deliver(flight, lambda wanted: self._stale(wanted, flight.key))

    def _relay(self, wanted: Forward, reply: Reply, ede: tuple[Ede, str] | None = None) -> bytes:
        packet = relay(wanted.query, reply, limit_bytes=wanted.limit_bytes, flags=Flag.RA, ede=ede)
        if int.from_bytes(packet[2:4], "big") & Flag.TC:
            self._stats.truncated += 1
        return packet

    def _stale(self, wanted: Forward, key: bytes) -> bytes:
        """The expired answer to a question; empty when there is none."""
        entry = self._cache.get_stale(key, self._clock())
        if entry is None:
            return b""
        self._stats.stale += 1
        ede = Ede.STALE_NXDOMAIN if entry.reply.rcode == Rcode.NXDOMAIN else Ede.STALE
        return self._relay(wanted, entry.stale(), (ede, "no upstream server answers"))

    def _unanswered(self, wanted: Forward, flight: _Flight, reply: Reply | None) -> bytes:
        if reply is None:
            text = "the upstream server asks us" if flight.looped else "no upstream server has answered"
            return self._failed(wanted, Rcode.SERVFAIL, Ede.NO_REACHABLE_AUTHORITY, text)
        if is_refusal(reply):
            return self._failed(wanted, _passed_on(reply), Ede.OTHER, "the upstream servers say so")
        if wanted.limit_bytes == MAX_TCP_BYTES:
            return self._failed(wanted, Rcode.SERVFAIL, Ede.NETWORK_ERROR, "the whole answer is not to be had")
        return self._relay(wanted, reply)

    def _failed(self, wanted: Forward, rcode: Rcode, ede: Ede, text: str) -> bytes:
        self._stats.servfail += rcode == Rcode.SERVFAIL
        return build_reply(wanted.query, limit_bytes=wanted.limit_bytes, rcode=rcode, flags=Flag.RA, ede=(ede, text))

    def _suspect(self, flight: _Flight, client: bytes) -> None:
        """Think of a loop, as an equal query has come in: at once when the server asked has a part in it, else later.

        Forwarders in between give a query another ID and strip its options, but a name they must leave alone. So a
        probe is sent: a name that nobody else can ask for, under the one that is asked for, by the same way.
        """
        if flight.suspected:
            return
        flight.suspected = True
        asked = flight.race.unanswered
        now = self._clock()
        at_once = any(
            now - self._looped_at.get(server, -_LOOP_REMEMBERED_S) < _LOOP_REMEMBERED_S or _is_at(server, client)
            for server in asked
        )
        if at_once:
            self._probe(flight)
        else:
            delay_s = max(0.0, _SUSPECT_AFTER_S - (now - flight.race.began))
            flight.timers.append(asyncio.get_running_loop().call_later(delay_s, self._probe, flight))

    def _probe(self, flight: _Flight) -> None:
        for server in flight.race.unanswered:
            label = secrets.token_hex(_PROBE_LABEL_BYTES).encode()
            name = bytes((len(label),)) + label + flight.wanted.query.name
            if len(name) <= MAX_NAME_BYTES:
                self._probes[name] = flight, server
                self._attempts.start(self._send_probe(name, flight, server))

    async def _send_probe(self, name: bytes, flight: _Flight, server: Server) -> None:
        question = name + flight.wanted.query.question[-4:]
        query = Query(0, int(Flag.RD), question, name, flight.wanted.query.rtype, flight.wanted.query.rclass)
        try:
            async with asyncio.timeout(_PROBE_S):
                await exchange.ask_udp(query, server, edns=False)
        except OSError as exc:
            log.debug("no answer to a probe of %s port %d: %s", *server, exc)
        finally:
            del self._probes[name]

    def _come_back(self, wanted: Forward, flight: _Flight, server: Server) -> bytes:
        """Our own probe has come back, so the server sends us what we send it."""
        now = self._clock()
        before = self._looped_at.get(server, -_LOOP_REMEMBERED_S)
        self._looped_at = {known: at for known, at in self._looped_at.items() if now - at < _LOOP_REMEMBERED_S}
        self._looped_at[server] = now
        self._stats.loops += 1
        if now - before >= _LOOP_REMEMBERED_S:
            log.warning(
                "the upstream server %s port %d sends our own queries back to us; "
                "take it out of --upstream, --forward or resolv.conf, or let it ask another server",
                *server,
            )
        flight.looped = True
        flight.race.give_up(server)
        return self._failed(wanted, Rcode.SERVFAIL, Ede.OTHER, "this server's own query has come back to it")


def _is_at(server: Server, client: bytes) -> bool:
    """Whether a query came from the address of an upstream; on loopback that says nothing."""
    address = ip_address(server[0].partition("%")[0])
    return address.packed == client and not address.is_loopback


def _passed_on(reply: Reply | None) -> Rcode:
    """The code for who gets no answer: an upstream's own where it means the same to him."""
    return Rcode(reply.rcode) if reply and reply.rcode in {Rcode.REFUSED, Rcode.NOTIMP} else Rcode.SERVFAIL
