"""Questions from one peer to another and their answers. Knows nothing of what is asked."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from weavedns.errors import PeerError
from weavedns.gossip.core import Core
from weavedns.gossip.events import Address, ReplyCame, RequestCame, RequestFailed
from weavedns.gossip.message import MAX_REQUEST_BYTES, Reply, Request, State
from weavedns.gossip.seal import Header
from weavedns.gossip.words import printable

RESEND_EVERY_S = 0.2
MAX_ASKED = 1_024
MAX_ANSWERED = 1_024
DEFAULT_TIMEOUT_S = 5.0

_Key = tuple[str, int, int]


@dataclass(slots=True)
class _Asked:
    peer: str
    request: Request
    until: float


@dataclass(slots=True)
class _Came:
    key: _Key
    addr: Address
    reply: Reply | None = None


class Requests:
    """The requests that are under way, both ways."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._asked: dict[int, _Asked] = {}
        self._next = core.rng.getrandbits(31)
        # By the asker's key, so that a repeated request is answered again and not done again; oldest first.
        self._came: OrderedDict[_Key, int] = OrderedDict()
        self._handles: dict[int, _Came] = {}
        self._handle = 0

    def ask(self, name: str, kind: str, body: bytes, now: float, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> int:
        """Ask a peer; the number comes back in ReplyCame or RequestFailed. Raises PeerError when it is not there."""
        peer = self._core.members.get(name)
        if peer is None:
            raise PeerError(f"there is no peer {name}; 'weavedns status peers' lists them")
        if peer.state is State.DEAD:
            raise PeerError(f"peer {name} at {peer.host} is not there; try again when it is back, or forget it")
        if len(body) > MAX_REQUEST_BYTES:
            raise PeerError(f"a request of {len(body)} bytes is too long; the bound is {MAX_REQUEST_BYTES}")
        if len(self._asked) >= MAX_ASKED:
            raise PeerError(f"{MAX_ASKED} requests are under way already; try again in a moment")
        self._next += 1
        self._asked[self._next] = _Asked(name, Request(self._next, kind, body), now + timeout_s)
        self.again(self._next, now)
        return self._next

    def again(self, number: int, now: float) -> None:
        """Send a request (once more), or give up."""
        asked = self._asked.get(number)
        if asked is None:
            return
        peer = self._core.members.get(asked.peer)
        if peer is None or asked.until <= now:
            self._fail(number, f"peer {asked.peer} did not answer in time")
            return
        self._core.outbox.post(peer.addr, asked.request)
        self._core.timers.set(("request", number), min(asked.until, now + RESEND_EVERY_S))

    def on_request(self, request: Request, header: Header, addr: Address) -> None:
        """Somebody asks something."""
        key = (header.sender, header.boot, request.number)
        handle = self._came.get(key)
        if handle is not None:
            came = self._handles[handle]
            came.addr = addr
            if came.reply is not None:
                self._core.outbox.post(addr, came.reply)
            return
        self._handle += 1
        self._came[key] = self._handle
        self._handles[self._handle] = _Came(key, addr)
        if len(self._came) > MAX_ANSWERED:
            del self._handles[self._came.popitem(last=False)[1]]
        self._core.tell(RequestCame(header.sender, self._handle, request.kind, request.body))

    def reply(self, handle: int, body: bytes, *, failed: bool = False) -> None:
        """Answer a RequestCame; one that is not remembered any more is no error."""
        came = self._handles.get(handle)
        if came is None:
            return
        if len(body) > MAX_REQUEST_BYTES:
            raise PeerError(f"a reply of {len(body)} bytes is too long; the bound is {MAX_REQUEST_BYTES}")
        came.reply = Reply(came.key[2], failed, body)
        self._core.outbox.post(came.addr, came.reply)

    def on_reply(self, reply: Reply, sender: str) -> None:
        """The answer came."""
        asked = self._asked.get(reply.number)
        if asked is None or asked.peer != sender:
            return
        if reply.failed:
            self._fail(reply.number, printable(reply.body.decode(errors="replace")))
            return
        del self._asked[reply.number]
        self._core.timers.cancel(("request", reply.number))
        self._core.tell(ReplyCame(reply.number, reply.body))

    def peer_gone(self, name: str) -> None:
        """A peer will not answer any more."""
        for number in [number for number, asked in self._asked.items() if asked.peer == name]:
            self._fail(number, f"peer {name} is gone")

    def _fail(self, number: int, text: str) -> None:
        del self._asked[number]
        self._core.timers.cancel(("request", number))
        self._core.tell(RequestFailed(number, text))
