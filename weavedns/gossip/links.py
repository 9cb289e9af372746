"""The streams of a node: whom to dial, who is let in, and when a sync is due. Opens no connection itself: that is
asked for by actions, which `transport.py` (or a simulator) carries out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from weavedns.errors import PeerWireError
from weavedns.gossip import codec
from weavedns.gossip.codec import encode
from weavedns.gossip.core import Core
from weavedns.gossip.events import Address, JoinRefused, NameConflict
from weavedns.gossip.lobby import Lobby
from weavedns.gossip.membership import Peer
from weavedns.gossip.message import MAX_TEXT, Open, Ping, Purpose, Reason, Refuse, State
from weavedns.gossip.seal import Rejection
from weavedns.gossip.spread import Spread
from weavedns.gossip.standing import NAME_CHECK_PINGS, NAME_CHECK_S, Standing
from weavedns.gossip.stream import RefusedError, Stream
from weavedns.gossip.sync import Conversation
from weavedns.gossip.words import UNREACHABLE, difference, printable

MAX_SYNCS = 8
# Of one's own; how many of others there are is for `lobby.py`.
MAX_DIALS = 256
UNAUTHENTICATED_S = 5.0
IDLE_S = 15.0
LAST_WORD_S = 1.0


@dataclass(frozen=True, slots=True)
class Dial:
    """Open a stream to an address."""

    link: int
    addr: Address


@dataclass(frozen=True, slots=True)
class Send:
    """A stream has something to be drawn with `stream_data`."""

    link: int


@dataclass(frozen=True, slots=True)
class Close:
    """A stream is over: close it when all that was drawn is written."""

    link: int


Action = Dial | Send | Close


@dataclass(slots=True)
class Link:
    """One stream and what it is for; `opened` once the other's Open was read."""

    number: int
    addr: Address
    # As it was asked for, maybe by name.
    dialled: Address
    stream: Stream
    purpose: Purpose
    outbound: bool
    done: Callable[[bool, str, float], None] | None = None
    seq: int = 0
    opened: bool = False
    talk: Conversation | None = None
    peer: str = ""
    closing: bool = False


class Links:
    """All the streams of a node."""

    def __init__(self, core: Core, spread: Spread, standing: Standing) -> None:
        self._core = core
        self._spread = spread
        self._standing = standing
        self._links: dict[int, Link] = {}
        self._number = 0
        self._lobby = Lobby()
        self._actions: deque[Action] = deque()
        # Joins that wait until it is clear whether the holder of the name is still there: by the old boot id.
        self._checks: dict[int, tuple[int, Open, int]] = {}
        self.answered_by_tcp: Callable[[int], None] = lambda _seq: None
        # Tells of a source that is refused: where it is, why in words, what kind of reason that is.
        self.stranger: Callable[[Address, str, str, float], None] = lambda _addr, _why, _kind, _now: None

    @property
    def syncs(self) -> int:
        """How many exchanges are under way, or will be when a name is free."""
        return sum(link.talk is not None and not link.closing for link in self._links.values()) + len(self._checks)

    def take_actions(self) -> list[Action]:
        """What is to be done with connections."""
        if not self._actions:
            return []
        actions = list(dict.fromkeys(self._actions))
        self._actions.clear()
        return actions

    def dial(
        self, purpose: Purpose, addr: Address, now: float, done: Callable[[bool, str, float], None] | None = None
    ) -> int | None:
        """Ask for a stream; `done` hears whether it served its purpose, and why not. None: too many of one's own."""
        if sum(link.outbound for link in self._links.values()) >= MAX_DIALS:
            return None
        link = self._add(purpose, addr, now, outbound=True)
        link.done = done
        self._actions.append(Dial(link.number, addr))
        return link.number

    def probe(self, peer: Peer, seq: int, now: float) -> None:
        """See whether a peer answers on a stream."""
        number = self.dial(Purpose.PROBE, peer.addr, now)
        if number is not None:
            self._links[number].seq = seq
            self._links[number].peer = peer.name

    def knock(self, peer: Peer, now: float, done: Callable[[bool, str, float], None]) -> None:
        """See whether a peer's host is there: `done` hears so when it answers, or refuses the connection."""
        number = self.dial(Purpose.PROBE, peer.addr, now, done)
        if number is not None:
            self._links[number].peer = peer.name

    def accepted(self, addr: Address, now: float) -> int | None:
        """Somebody connected; None: it is to be closed at once."""
        if self._core.muted:
            return None
        admitted, put_out = self._lobby.enter(self._number + 1, addr[0], now)
        if put_out is not None:
            self._finish(self._links[put_out], now, ok=False)
        if not admitted or put_out is not None:
            self._core.stats.rejected[Rejection.TOO_MANY.name.lower()] += 1
        return self._add(Purpose.SYNC, addr, now, outbound=False).number if admitted else None

    def opened(self, number: int, addr: Address) -> None:
        """A dialled stream is connected."""
        link = self._links.get(number)
        if link is not None:
            link.addr = addr
            self._say(link, self._introduction(link.purpose, addr[0]))

    def received(self, number: int, data: bytes, now: float) -> None:
        """Bytes came in on a stream."""
        link = self._links.get(number)
        self._core.stats.stream_bytes_in += len(data)
        if link is None or link.closing:
            return
        try:
            for body in link.stream.receive(data):
                self._on_frame(link, body, now)
                if link.closing:
                    break
        except RefusedError as exc:
            self._core.stats.rejected[exc.why.name.lower()] += 1
            self.stranger(link.addr, exc.why, exc.why, now)
            self._finish(link, now, ok=False, why=str(exc))
        except PeerWireError as exc:
            self._core.stats.malformed += 1
            self._finish(link, now, ok=False, why=printable(str(exc)))
        else:
            if not link.closing:
                if link.talk is not None:
                    self._core.timers.set(("link", number), now + IDLE_S)
                self._actions.append(Send(number))

    def data(self, number: int, now: float) -> bytes:
        """The next bytes of a stream; empty when there are none for now."""
        link = self._links.get(number)
        if link is None:
            return b""
        out = link.stream.take()
        if not out and link.talk is not None and not link.closing:
            body = link.talk.next_message()
            if body is not None:
                link.stream.send(body)
                out = link.stream.take()
            elif link.talk.over and link.outbound:
                self._finish(link, now, ok=True)
        if out and link.talk is not None and not link.closing:
            self._core.timers.set(("link", number), now + IDLE_S)
        self._core.stats.stream_bytes_out += len(out)
        return out

    def closed(self, number: int, now: float, why: str = "", *, nobody_listens: bool = False) -> None:
        """A stream is gone, or never came about; `nobody_listens`: the host said so itself."""
        link = self._links.get(number)
        if link is None:
            return
        self._settle(number)
        del self._links[number]
        if not link.closing:
            ok = link.talk.over if link.talk is not None else nobody_listens and link.purpose is Purpose.PROBE
            # Who does not like the first word says its own before it closes: so without one it was not the password.
            silent = "the connection was closed before anything was said: that peer is stopping or busy, or is none"
            closed = silent if link.stream.peer is None else "the connection was closed; is the password the same?"
            self._report(link, now, ok=ok, why=why or closed)

    def timed_out(self, number: int, now: float) -> None:
        """A stream did not move for too long."""
        link = self._links.get(number)
        if link is not None:
            self._finish(link, now, ok=False, why=UNREACHABLE if link.stream.peer is None else "no answer in time")

    def useful(self, number: int) -> bool:
        """Whether an exchange brought anything to either side."""
        link = self._links.get(number)
        return bool(link and link.talk and link.talk.useful)

    def snapshot_comes_from(self, peer: str) -> bool:
        """Whether an exchange with a peer is in the middle of a snapshot that it sends."""
        return any(link.peer == peer and link.talk is not None and link.talk.staging for link in self._links.values())

    # The first messages.

    def _on_frame(self, link: Link, body: bytes, now: float) -> None:
        message = codec.decode_stream(body)
        if isinstance(message, Refuse) and link.outbound and not link.opened:
            self._refused(link, message, now)
        elif link.talk is not None:
            link.talk.on_message(message, now)
        elif isinstance(message, Open) and not link.opened:
            self._on_open(link, message, now)
        else:
            # Who dialled has nothing to refuse, and nobody introduces itself twice. What the other sends while its
            # name is being checked stays in the stream's order: it may not.
            raise PeerWireError(f"{link.addr[0]} sent {type(message).__name__} before its turn")

    def _on_open(self, link: Link, message: Open, now: float) -> None:
        header = link.stream.peer
        if header is None or message.peer.name != header.sender or message.peer.boot != header.boot:
            raise PeerWireError(f"{link.addr[0]} introduces itself by two names")
        link.opened = True
        if link.outbound:
            if link.purpose is Purpose.PROBE:
                itself = header.sender == link.peer
                if itself:
                    self.answered_by_tcp(link.seq)
                self._finish(link, now, ok=itself)
                return
            self._begin(link, message, now)
            return
        link.purpose = message.purpose
        why = self._objection(message, link, now)
        if why is not None:
            self._say_last(link, why, now)
        elif message.purpose is Purpose.PROBE:
            self._say_last(link, self._introduction(message.purpose, link.addr[0]), now)
        elif not self._check_name(link, message, now):
            self._welcome(link, message, now)

    def _welcome(self, link: Link, message: Open, now: float) -> None:
        self._say(link, self._introduction(message.purpose, link.addr[0]))
        self._begin(link, message, now)

    def _begin(self, link: Link, message: Open, now: float) -> None:
        core = self._core
        link.peer = message.peer.name
        self._lobby.leave(link.number)
        if not core.host and codec.is_host(message.seen_host):
            core.host = message.seen_host
        said = message.peer
        if not said.host:
            said = type(said)(said.name, link.addr[0], said.port, said.incarnation, said.boot, said.rebuttal)
        self._standing.on_statement(said, now)
        link.talk = Conversation(core, self._spread, self._standing, link.peer)
        core.stats.syncs += 1
        self._actions.append(Send(link.number))

    def _introduction(self, purpose: Purpose, seen_host: str) -> Open:
        config = self._core.config
        return Open(purpose, config.cluster, self._core.me(), seen_host, dict(config.terms))

    def _objection(self, message: Open, link: Link, now: float) -> Refuse | None:
        core = self._core
        said = message.peer
        ours = {"--cluster": core.config.cluster, **core.config.terms}
        theirs = {"--cluster": message.cluster, **message.terms}
        if ours != theirs:
            core.stats.rejected[Rejection.OTHER_TERMS.name.lower()] += 1
            self.stranger(link.addr, difference(theirs, ours), "stream terms", now)
            return Refuse(Reason.OTHER_CLUSTER, difference(ours, theirs)[:MAX_TEXT])
        if said.name == core.name:
            if said.boot == core.boot:
                return Refuse(Reason.UNEXPECTED, "that is this peer itself")
            core.tell(NameConflict(link.addr, lost=False))
            return Refuse(Reason.NAME_TAKEN, f"the name {core.name} is held by the peer at {core.host}")
        if message.purpose is not Purpose.PROBE and self.syncs >= MAX_SYNCS:
            core.stats.syncs_refused += 1
            return Refuse(Reason.BUSY, "busy with other peers")
        return None

    def _say_last(self, link: Link, message: Open | Refuse, now: float) -> None:
        """Say the last word: it has to be read before the connection goes, so the other side closes that."""
        self._say(link, message)
        link.closing = True
        self._core.timers.set(("link", link.number), now + LAST_WORD_S)

    def _refused(self, link: Link, refusal: Refuse, now: float) -> None:
        told = link.purpose is not Purpose.PROBE
        text = printable(refusal.text)
        if told and refusal.reason is Reason.NAME_TAKEN:
            self._core.tell(NameConflict(link.addr, lost=True))
        if told and refusal.reason in {Reason.NAME_TAKEN, Reason.OTHER_CLUSTER}:
            self._core.tell(JoinRefused(link.dialled, text))
        self._finish(link, now, ok=False, why=refusal.reason.name)

    # Somebody comes by a name that is known at another address.

    def _check_name(self, link: Link, message: Open, now: float) -> bool:
        """Whether the one who had the name has to be asked first."""
        known = self._core.members.get(message.peer.name)
        if known is None or known.boot == message.peer.boot or known.state is State.DEAD:
            return False
        if known.addr == (message.peer.host or link.addr[0], message.peer.port):
            return False
        self._checks[link.number] = (known.boot, message, 0)
        self.check_name(link.number, now)
        return True

    def check_name(self, number: int, now: float) -> None:
        """Ask the holder of a name again, or let the newcomer in."""
        link = self._links.get(number)
        if number not in self._checks or link is None:
            self._checks.pop(number, None)
            return
        boot, message, asked = self._checks[number]
        holder = self._core.members.get(message.peer.name)
        if holder is None or holder.boot != boot or asked >= NAME_CHECK_PINGS:
            del self._checks[number]
            self._welcome(link, message, now)
            return
        self._checks[number] = (boot, message, asked + 1)
        self._core.outbox.post(holder.addr, Ping(0, holder.name, self._core.catalog.digest))
        self._core.timers.set(("name", number), now + NAME_CHECK_S / NAME_CHECK_PINGS)

    def heard_from(self, name: str, boot: int, addr: Address, now: float) -> None:
        """A peer answered: if a newcomer wants its name, that one is turned away."""
        for number, (held_by, message, _) in list(self._checks.items()):
            link = self._links.get(number)
            if message.peer.name == name and held_by == boot:
                del self._checks[number]
                self._core.timers.cancel(("name", number))
                if link is not None:
                    taken = f"the name {name} is held by the peer at {addr[0]}"
                    self._say_last(link, Refuse(Reason.NAME_TAKEN, taken), now)

    def _say(self, link: Link, message: Open | Refuse) -> None:
        link.stream.send(encode(message))
        self._actions.append(Send(link.number))

    def _add(self, purpose: Purpose, addr: Address, now: float, *, outbound: bool) -> Link:
        self._number += 1
        core = self._core
        stream = Stream(core.sealer.keyring, core.header, core.rng.randbytes, initiator=outbound)
        link = Link(self._number, addr, addr, stream, purpose, outbound)
        self._links[self._number] = link
        core.timers.set(("link", self._number), now + UNAUTHENTICATED_S)
        return link

    def _finish(self, link: Link, now: float, *, ok: bool, why: str = "") -> None:
        if not link.closing:
            link.closing = True
            self._report(link, now, ok=ok, why=why)
        self._settle(link.number)
        self._actions.append(Close(link.number))

    def _settle(self, number: int) -> None:
        """End what was under way about a stream that is over."""
        self._lobby.leave(number)
        self._checks.pop(number, None)
        link = self._links.get(number)
        if link is not None and link.talk is not None:
            link.talk.end()
        for timer in ("link", "name"):
            self._core.timers.cancel((timer, number))

    def _report(self, link: Link, now: float, *, ok: bool, why: str) -> None:
        if link.done is not None:
            done, link.done = link.done, None
            done(ok, link.peer if ok else why, now)
