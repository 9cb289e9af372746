"""One question to several upstreams: the first good answer wins. The order is for `upstream` to say, not for here."""

from __future__ import annotations

import asyncio
import errno
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from weavedns.dns import exchange
from weavedns.dns.message import Query, Reply
from weavedns.dns.upstream import Server, Step, Upstreams
from weavedns.dns.wire import Flag, Rcode

# A server that says one of these leaves it to another to know.
_REFUSALS = (Rcode.SERVFAIL, Rcode.REFUSED, Rcode.NOTIMP, Rcode.FORMERR)
_MAX_RCODE = 0xF
# What goes wrong on this host says nothing about a server.
_OUR_OWN_FAULT = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
# With so many questions on their way nobody is asked twice, as each takes a socket.
_SCARCE = 640
_MAX_LINGERING = 64

Outcome = TypeVar("Outcome")


class Attempts:
    """What all races together have under way."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._lingering = 0

    @property
    def scarce(self) -> bool:
        """Whether there are so many that repetitions are to be left out."""
        return len(self._tasks) >= _SCARCE

    def start(self, work: Coroutine[Any, Any, Outcome]) -> asyncio.Task[Outcome]:
        """Do something beside everything else; ended by `close` at the latest."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def linger(self, task: asyncio.Task[Any]) -> None:
        """Let an attempt that has lost finish: how long its server takes is worth knowing."""
        if self._lingering >= _MAX_LINGERING:
            task.cancel()
            return
        self._lingering += 1
        task.add_done_callback(self._lingered)

    async def close(self) -> None:
        """End everything."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _lingered(self, _: asyncio.Task[Any]) -> None:
        self._lingering -= 1


class Race:
    """The attempts to have one question answered by some of `servers`."""

    def __init__(
        self,
        attempts: Attempts,
        upstreams: Upstreams,
        query: Query,
        servers: Sequence[Server],
        clock: Callable[[], float],
    ) -> None:
        self.began = clock()
        self._attempts = attempts
        self._upstreams = upstreams
        self._query = query
        self._servers = servers
        self._clock = clock
        self._running: dict[asyncio.Task[Reply | None], Server] = {}
        self._out: set[Server] = set()  # not to be asked again
        self._refused: set[Server] = set()
        self._best: Reply | None = None  # a refusal or a cut reply, for want of a better one
        self._deadline_s = 0.0

    @property
    def unanswered(self) -> list[Server]:
        """The servers that have been asked and have not answered yet."""
        return list(dict.fromkeys(self._running.values()))

    async def run(self, timeout_s: float) -> Reply | None:
        """Ask one server after the other; a slow one may still win while the next is being asked.

        A server that says that it cannot answer is believed only when no other can. None when nobody says anything.
        """
        self._deadline_s = asyncio.get_running_loop().time() + timeout_s
        steps = deque(self._upstreams.plan(self._servers, self.began))
        winner: Server | None = None
        try:
            while steps or self._running:
                attempt = self._start_next(steps)
                winner, reply = await self._wait(attempt, last=not steps)
                if winner:
                    return reply
            return self._best
        finally:
            self._finish(winner)

    def give_up(self, server: Server) -> None:
        """Expect no answer from a server any more."""
        self._out.add(server)
        for task, asked in self._running.items():
            if asked == server:
                task.cancel()

    def _start_next(self, steps: deque[Step]) -> tuple[asyncio.Task[Reply | None], Step] | None:
        while steps:
            step = steps.popleft()
            is_again = step.server in self._running.values()
            if step.server in self._out or (is_again and self._attempts.scarce):
                continue
            task = self._attempts.start(self._attempt(step))
            self._running[task] = step.server
            return task, step
        return None

    async def _wait(
        self, attempt: tuple[asyncio.Task[Reply | None], Step] | None, *, last: bool
    ) -> tuple[Server | None, Reply | None]:
        """Wait until an answer is good, or the newest attempt has failed or is late; the winner and what it said."""
        now = asyncio.get_running_loop().time
        until = now() + attempt[1].patience_s if attempt and not last else None
        while self._running:
            timeout_s = None if until is None else max(0.0, until - now())
            done, _ = await asyncio.wait(self._running, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if not done and attempt:
                self._note_late(attempt[1])
                break
            for task in done:
                server = self._running.pop(task)
                reply = None if task.cancelled() else task.result()
                if reply and self._is_good(server, reply):
                    return server, reply
            if attempt and attempt[0] in done:
                break
        return None, None

    def _note_late(self, step: Step) -> None:
        health = self._upstreams.health(step.server)
        if step.patience_s and not health.fails and len(self._servers) > 1:
            self._upstreams.late(step.server, step.patience_s)

    def _is_good(self, server: Server, reply: Reply) -> bool:
        if is_refusal(reply):
            self._refused.add(server)
            self._out.add(server)
            self._best = self._best or reply
            return False
        if reply.flags & Flag.TC:
            self._best = reply
            return False
        return True

    def _finish(self, winner: Server | None) -> None:
        heard = {winner}
        for task, server in self._running.items():
            if winner is None or server in heard:
                task.cancel()
            else:
                heard.add(server)
                self._attempts.linger(task)
        if winner:
            for server in self._refused:
                self._upstreams.outdone(server, self._clock())

    async def _attempt(self, step: Step) -> Reply | None:
        query, server, upstreams, began = self._query, step.server, self._upstreams, self._clock()
        wants_dnssec = query.edns is not None and query.edns.dnssec_ok
        edns = step.edns or (wants_dnssec and not upstreams.health(server).plain)
        upstreams.asked(server, began)
        reply: Reply | None = None
        try:
            async with asyncio.timeout_at(self._deadline_s):
                reply = await exchange.ask_udp(query, server, edns=edns)
                if edns and exchange.means_no_edns(reply):
                    edns = False
                    reply = await exchange.ask_udp(query, server, edns=False)
                    if not is_refusal(reply):
                        upstreams.lacks_edns(server)
                now = self._clock()
                upstreams.answered(server, now - began, now, good=not is_refusal(reply))
                return await exchange.complete(query, server, reply, edns=edns)
        except TimeoutError:
            if reply is None:
                upstreams.failed(server, began, self._clock())
        except OSError as exc:
            if exc.errno not in _OUR_OWN_FAULT:
                self._out.add(server)
                upstreams.failed(server, began, self._clock())
        return reply


def is_refusal(reply: Reply) -> bool:
    """Whether a server only says that it does not answer this."""
    return reply.rcode in _REFUSALS or reply.rcode > _MAX_RCODE
