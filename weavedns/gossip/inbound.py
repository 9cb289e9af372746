"""From a datagram to the part of the node that each of its messages is for. Lets nobody in without proof."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from weavedns.errors import PeerWireError
from weavedns.gossip import codec
from weavedns.gossip.core import Core
from weavedns.gossip.events import Address, PeerMoved, StrangerRejected
from weavedns.gossip.links import Links
from weavedns.gossip.message import (
    Ack,
    Advert,
    Alive,
    Challenge,
    ChallengeAnswer,
    Changes,
    DatagramMessage,
    Dead,
    Leave,
    Nack,
    NameTaken,
    Ping,
    PingRequest,
    Pull,
    Reply,
    Request,
    Suspect,
    Whole,
)
from weavedns.gossip.probe import Prober
from weavedns.gossip.rendezvous import Rendezvous
from weavedns.gossip.requests import Requests
from weavedns.gossip.seal import Header, Rejection
from weavedns.gossip.session import Rates, Sessions
from weavedns.gossip.spread import Spread
from weavedns.gossip.standing import Standing

COMPLAIN_EVERY_S = 60.0
MAX_COMPLAINTS = 256
_OF_INTEREST = frozenset(
    {Rejection.PLAINTEXT, Rejection.ENCRYPTED, Rejection.UNKNOWN_KEY, Rejection.OTHER_VERSION, Rejection.OTHER_TERMS}
)

Handler = Callable[[Any, Header, Address, float], object]


@dataclass(frozen=True, slots=True)
class Parts:
    """Whom messages may be for."""

    prober: Prober
    spread: Spread
    standing: Standing
    links: Links
    rendezvous: Rendezvous
    requests: Requests


class Inbound:
    """What comes in by datagrams."""

    def __init__(self, core: Core, sessions: Sessions, parts: Parts) -> None:
        self._core = core
        self._sessions = sessions
        self._parts = parts
        self._rates = Rates()
        self._complaints: dict[tuple[str, str], float] = {}
        self._handlers = self._table()

    def receive(self, data: bytes, addr: Address, now: float) -> None:
        """A datagram came."""
        core = self._core
        core.stats.datagrams_in += 1
        core.stats.bytes_in += len(data)
        if core.muted:
            return
        if not self._rates.allow(addr[0], now):
            self._count(Rejection.TOO_MANY)
            return
        opened = core.sealer.open(data)
        if isinstance(opened, Rejection):
            self._count(opened)
            if opened in _OF_INTEREST:
                self.complain(addr, opened, opened, now)
            return
        header, body = opened
        who = (header.sender, header.boot)
        if who == (core.name, core.boot):
            return
        fresh = self._sessions.accept(who, header.counter)
        if fresh is None:
            self._ask_for_proof(header, body, addr, now)
        elif fresh:
            self._deliver(header, self._decode(body), addr, now)
        else:
            self._count(Rejection.REPLAYED)

    def complain(self, addr: Address, why: str, kind: str, now: float) -> None:
        """Tell that a source is refused, once in a while for each kind of reason, however its words vary."""
        key = (addr[0], kind)
        if self._complaints.get(key, now) <= now:
            if len(self._complaints) >= MAX_COMPLAINTS:
                self._complaints.clear()
            self._complaints[key] = now + COMPLAIN_EVERY_S
            self._core.tell(StrangerRejected(addr, why))

    def _count(self, why: Rejection) -> None:
        self._core.stats.rejected[why.name.lower()] += 1

    def _ask_for_proof(self, header: Header, body: bytes, addr: Address, now: float) -> None:
        """A boot that is not known may only ask for proof and give it: what it sent may be a recording."""
        said, who = self._decode(body), (header.sender, header.boot)
        for message in said:
            if isinstance(message, ChallengeAnswer) and self._sessions.prove(who, header.counter, message.nonce, now):
                # The answer is no recording, so neither is what came with it.
                self._deliver(header, said, addr, now)
                return
        self._count(Rejection.CHALLENGED)
        answers = [ChallengeAnswer(message.nonce) for message in said if isinstance(message, Challenge)]
        self._core.outbox.post(addr, *answers, Challenge(self._sessions.challenge(who, now)))

    def _meet_namesake(self, said: list[DatagramMessage], addr: Address, now: float) -> None:
        """Another boot by this node's name: since when it has the name is all that is heard of it."""
        for message in said:
            match message:
                case NameTaken():
                    self._parts.standing.on_name_taken(message, addr, now)
                case Challenge():
                    self._core.outbox.post(addr, ChallengeAnswer(message.nonce))
        if not any(isinstance(message, NameTaken | Challenge) for message in said):
            self._parts.standing.met_namesake(addr)

    def _decode(self, body: bytes) -> list[DatagramMessage]:
        try:
            return codec.decode_datagram(body)
        except PeerWireError:
            self._core.stats.malformed += 1
            return []

    def _deliver(self, header: Header, said: list[DatagramMessage], addr: Address, now: float) -> None:
        if header.sender == self._core.name:
            self._meet_namesake(said, addr, now)
            return
        self._parts.links.heard_from(header.sender, header.boot, addr, now)
        self._note_source(header, addr)
        for message in said:
            handler = self._handlers.get(type(message))
            if handler is None:
                continue
            try:
                handler(message, header, addr, now)
            except PeerWireError:
                self._core.stats.malformed += 1

    def _note_source(self, header: Header, addr: Address) -> None:
        """A host with several addresses sends from the one that is nearest, whichever it is known by."""
        peer = self._core.members.get(header.sender)
        if peer is None or peer.boot != header.boot:
            return
        source = "" if addr[0] == peer.host else addr[0]
        if source != peer.source:
            peer.source = source
            self._core.tell(PeerMoved(peer.name))

    def _table(self) -> dict[type, Handler]:
        parts, post = self._parts, self._core.outbox.post
        return {
            Ping: self._on_ping,
            Ack: self._on_ack,
            Nack: lambda said, _, addr, __: parts.prober.on_nack(said, addr),
            PingRequest: lambda said, _, addr, now: parts.prober.on_ping_request(said, addr, now),
            Alive: lambda said, _, addr, now: parts.standing.on_statement(said, now, addr),
            Suspect: lambda said, _, addr, now: parts.standing.on_statement(said, now, addr),
            Dead: lambda said, _, addr, now: parts.standing.on_statement(said, now, addr),
            Leave: lambda said, _, addr, now: parts.standing.on_statement(said, now, addr),
            Changes: lambda said, header, addr, now: parts.spread.on_changes(said, header.sender, addr, now),
            Whole: lambda said, _, __, now: parts.spread.on_whole(said, now),
            Pull: lambda said, _, addr, __: parts.spread.on_pull(said, addr),
            Advert: lambda said, header, _, now: parts.spread.on_advert(said, header.sender, now),
            Request: lambda said, header, addr, _: parts.requests.on_request(said, header, addr),
            Reply: lambda said, header, _, __: parts.requests.on_reply(said, header.sender),
            Challenge: lambda said, _, addr, __: post(addr, ChallengeAnswer(said.nonce)),
        }

    def _on_ping(self, ping: Ping, header: Header, addr: Address, now: float) -> None:
        """Answer; and tell somebody who is believed dead, or was forgotten, what it has to clear itself of."""
        core = self._core
        self._parts.rendezvous.compare(header.sender, ping.digest, now)
        self._parts.prober.on_ping(ping, addr)
        peer = core.members.get(header.sender)
        grave = core.members.grave(header.sender)
        if peer is not None and peer.incarnation == header.incarnation:
            notice = peer.notice()
            if notice is not None:
                core.outbox.post(addr, notice)
        elif peer is None and grave is not None and header.incarnation <= grave.incarnation:
            core.outbox.post(addr, Leave(header.sender, grave.incarnation))

    def _on_ack(self, ack: Ack, header: Header, _addr: Address, now: float) -> None:
        if ack.target == header.sender:
            self._parts.rendezvous.compare(header.sender, ack.digest, now)
        self._parts.prober.on_ack(ack)
