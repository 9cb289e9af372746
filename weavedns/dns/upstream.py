"""Which servers a query is forwarded to, in which order, and how each has been doing. Pure: asks nobody.

Every time is in seconds on one clock that never goes back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

DNS_PORT = 53
# As many as a resolver takes from its configuration (resolv.conf(5)).
MAX_SERVERS = 3
_NAMESERVER_FIELDS = 2

# How much of a new latency goes into the smoothed one (as TCP does it, RFC 6298 section 2).
_GAIN = 1 / 8
# The next server is asked after twice the usual latency of the one before it, within these bounds.
_PATIENCE_FACTOR = 2.0
_MIN_PATIENCE_S = 0.02
_MAX_PATIENCE_S = 0.8
_UNKNOWN_PATIENCE_S = 0.3
# Among servers that all fail there is nothing to wait for.
_FAILING_PATIENCE_S = 0.05
# All servers of a round have been asked by then, however many there are.
_ROUND_S = 2.0
# Everybody is asked again after so long, because packets get lost; at last without EDNS, because some drop that.
_ROUNDS_AT_S = (0.0, 1.25, 2.5)
_FIRST_RETRY_S = 1.0
_LAST_RETRY_S = 30.0
# A healthy server that others keep from being asked is tried again: it may have become the faster one.
_EXPLORE_S = 30.0
_MAX_OTHERS = 256

Server = tuple[str, int]
Rules = Mapping[bytes, Sequence[Server]]


@dataclass(frozen=True, slots=True)
class Step:
    """Ask `server`, and the next one when that has not answered for `patience_s`."""

    server: Server
    patience_s: float
    edns: bool = True


@dataclass(slots=True)
class Health:
    """How a server has been doing; the counts only grow."""

    latency_s: float | None = None  # smoothed; None until the first answer
    fails: int = 0  # in a row
    retry_at: float = 0.0  # when a failing server is to be tried again
    asked_at: float = 0.0
    answered_at: float = -1.0
    failed_at: float = -1.0
    plain: bool = False  # it does not know EDNS
    asked: int = 0
    answered: int = 0
    failed: int = 0

    def patience_s(self) -> float:
        """How long to wait for it before another is asked as well."""
        if self.fails:
            return _FAILING_PATIENCE_S
        if self.latency_s is None:
            return _UNKNOWN_PATIENCE_S
        return min(max(_PATIENCE_FACTOR * self.latency_s, _MIN_PATIENCE_S), _MAX_PATIENCE_S)


class Upstreams:
    """The servers for everything, the servers for some names (`rules`, by suffix), and the health of each."""

    def __init__(self, servers: Sequence[Server] = (), rules: Rules | None = None) -> None:
        self._rules = {suffix: tuple(dict.fromkeys(several)) for suffix, several in (rules or {}).items()}
        self._longest = max((len(suffix) for suffix in self._rules), default=0)
        self._servers: tuple[Server, ...] = ()
        self._health: dict[Server, Health] = {}
        self._others: dict[
            Server, Health
        ] = {}  # those that parts of the domain are handed to, and those no longer ours
        self.replace(servers)

    @property
    def servers(self) -> tuple[Server, ...]:
        """The servers for every name without a rule, as they were configured."""
        return self._servers

    @property
    def rules(self) -> Mapping[bytes, tuple[Server, ...]]:
        """The servers for the names under each suffix."""
        return self._rules

    def replace(self, servers: Sequence[Server]) -> bool:
        """Ask these servers from now on; False when they are the ones that there were."""
        before = self._servers
        self._servers = tuple(dict.fromkeys(servers))
        self._health = {server: self._health.get(server, Health()) for server in self._all()}
        return before != self._servers

    def of(self, name: bytes) -> tuple[Server, ...]:
        """The servers that know about a name in lower case: those of the longest rule that it lies under."""
        at = 0
        while self._rules and name[at]:
            if len(name) - at <= self._longest and (found := self._rules.get(name[at:])):
                return found
            at += name[at] + 1
        return self._servers

    def health(self, server: Server) -> Health:
        """How a server has been doing, of which there may be many besides those that are configured."""
        known = self._health.get(server) or self._others.get(server)
        if known is None:
            if len(self._others) >= _MAX_OTHERS:
                del self._others[next(iter(self._others))]
            known = self._others[server] = Health()
        return known

    def plan(self, servers: Collection[Server], now: float) -> list[Step]:
        """In which order to ask, and how long to wait for each: the fastest healthy one first, failing ones last.

        A failing server whose time has come, and one that was never asked or not for long, is tried beside the first
        one, so that nobody waits for it.
        """
        ranked = sorted(servers, key=self._rank)
        is_known = self.health(ranked[0]).latency_s is not None
        due = {server for server in ranked[1:] if self._is_due(self.health(server), now, beside_known=is_known)}
        order = [*ranked[:1], *(s for s in ranked if s in due), *(s for s in ranked[1:] if s not in due)]
        steps: list[Step] = []
        spent_s = 0.0
        for number, starts_s in enumerate(_ROUNDS_AT_S):
            if steps and spent_s < starts_s:
                steps[-1] = Step(steps[-1].server, steps[-1].patience_s + starts_s - spent_s, steps[-1].edns)
                spent_s = starts_s
            round_ = self._round(order, due if not number else (), edns=starts_s != _ROUNDS_AT_S[-1])
            steps += round_
            spent_s += sum(step.patience_s for step in round_)
        return steps

    def asked(self, server: Server, now: float) -> None:
        """A query has been sent to a server."""
        health = self.health(server)
        health.asked += 1
        health.asked_at = now
        if health.fails:
            health.retry_at = now + _retry_s(health.fails)

    def answered(self, server: Server, latency_s: float, now: float, *, good: bool = True) -> None:
        """A server has answered; `good` when it was not only to say that it cannot."""
        health = self.health(server)
        health.answered += 1
        health.answered_at = now
        if good:
            known_s = health.latency_s
            health.latency_s = latency_s if known_s is None else known_s + _GAIN * (latency_s - known_s)
            health.fails = 0

    def late(self, server: Server, waited_s: float) -> None:
        """A server has not answered for this long: it is at least as slow as that."""
        health = self.health(server)
        health.latency_s = max(health.latency_s or 0.0, waited_s)

    def failed(self, server: Server, began: float, now: float) -> None:
        """A query sent at `began` got no answer.

        Several that were under way at the same time are one failure; one that overlaps an answer is none.
        """
        health = self.health(server)
        if began > max(health.failed_at, health.answered_at):
            self._put_behind(health, now)

    def outdone(self, server: Server, now: float) -> None:
        """A server said that it cannot answer what another one then did."""
        health = self.health(server)
        if not health.fails or now >= health.retry_at:
            self._put_behind(health, now)

    def lacks_edns(self, server: Server) -> None:
        """A server has shown that it does not know EDNS (RFC 6891 section 7)."""
        self.health(server).plain = True

    def all_failing(self, servers: Iterable[Server]) -> bool:
        """Whether every one of these servers has failed and not recovered."""
        return all(self.health(server).fails for server in servers)

    def _put_behind(self, health: Health, now: float) -> None:
        health.failed += 1
        health.failed_at = now
        health.fails += 1
        health.retry_at = now + _retry_s(health.fails)

    def _all(self) -> Iterable[Server]:
        return dict.fromkeys([*self._servers, *(server for several in self._rules.values() for server in several)])

    def _rank(self, server: Server) -> tuple[int, float]:
        health = self.health(server)
        # Sorting keeps the configured order among servers of which nothing is known yet.
        return min(health.fails, 1), float("inf") if health.latency_s is None else health.latency_s

    def _is_due(self, health: Health, now: float, *, beside_known: bool) -> bool:
        if health.fails:
            return now >= health.retry_at
        if not health.asked:
            return beside_known
        return now >= health.asked_at + _EXPLORE_S

    def _round(self, order: Sequence[Server], beside: Collection[Server], *, edns: bool) -> list[Step]:
        patience = [self.health(server).patience_s() for server in order]
        if beside:
            # The first one and those beside it are asked at once; the wait for the first comes after all of them.
            patience = [*[0.0] * len(beside), patience[0], *patience[len(beside) + 1 :]]
        shrink = min(1.0, _ROUND_S / (sum(patience) or 1.0))
        return [
            Step(server, each_s * shrink, edns and not self.health(server).plain)
            for server, each_s in zip(order, patience, strict=True)
        ]


def parse_resolv_conf(text: str, own: Collection[str]) -> list[Server]:
    """The name servers of a resolv.conf(5), without our `own` addresses: asking them would be asking ourselves.

    Lines that cannot be read are passed over, as the resolver itself does.
    """
    mine = {ip_address(address) for address in own}
    servers = []
    for line in text.splitlines():
        fields = line.split()
        if len(fields) < _NAMESERVER_FIELDS or fields[0] != "nameserver":
            continue
        try:
            if ip_address(fields[1]) in mine:
                continue
        except ValueError:
            continue
        servers.append((fields[1], DNS_PORT))
    return list(dict.fromkeys(servers))[:MAX_SERVERS]


def _retry_s(fails: int) -> float:
    return float(min(_FIRST_RETRY_S * 2 ** min(fails - 1, 10), _LAST_RETRY_S))
