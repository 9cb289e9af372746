"""The thread that follows the engine's events and finds the engine again when it is lost. Asks it nothing else."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import NoReturn

from weavedns.containers import events
from weavedns.containers.backlog import Backlog
from weavedns.containers.events import ContainerEvent, EngineDown, EngineUp
from weavedns.errors import EngineError

log = logging.getLogger(__name__)

FIRST_RETRY_S = 0.2
LAST_RETRY_S = 5.0
MAX_LINE_BYTES = 1 << 20
# A stream that is opened anew starts so long before the latest event, as events may be sent out of order.
OVERLAP_NS = 2 * 10**9
# The engine itself remembers 256.
MAX_SEEN = 512

OpenStream = Callable[[int, bool], AbstractContextManager[Iterable[bytes]]]


class QuietError(EngineError):
    """Nothing was heard for so long that the stream should be opened anew."""


class StreamReader(threading.Thread):
    """Puts what happens at the engine into `backlog`, from `start` to `stop`.

    `open_stream` is given the time (ns by the engine's clock, 0: now) from which events are wanted, and whether
    the engine was lost before; it yields pieces of the stream, and raises QuietError, or EngineError with the cure.
    """

    def __init__(self, open_stream: OpenStream, backlog: Backlog) -> None:
        super().__init__(name="engine-events", daemon=True)
        self._open_stream = open_stream
        self._backlog = backlog
        self._stopping = threading.Event()
        self._seen: dict[ContainerEvent, None] = {}
        self._latest_ns = 0
        self._down_because = ""

    def run(self) -> None:
        """Read until stopped; a loss is told once, and again when its reason changes."""
        retry_s = FIRST_RETRY_S
        while not self._stopping.is_set():
            began_at = time.monotonic()
            reason = self._follow()
            if self._stopping.is_set():
                return
            if reason != self._down_because:
                self._down_because = reason
                self._backlog.put(EngineDown(reason))
            if time.monotonic() - began_at > LAST_RETRY_S:
                retry_s = FIRST_RETRY_S  # it was no engine that takes a connection only to drop it
            self._stopping.wait(retry_s)
            retry_s = min(2 * retry_s, LAST_RETRY_S)

    def stop(self) -> None:
        """Let the thread end, as soon as the stream it may wait on is shut."""
        self._stopping.set()
        self._backlog.end()

    def _follow(self) -> str:
        """Read from the engine until it is lost, and return why."""
        found_again = True
        try:
            while True:
                opened_ns = time.time_ns()
                with self._open_stream(max(0, self._latest_ns - OVERLAP_NS), found_again) as stream:
                    if found_again:
                        self._down_because = ""
                        self._backlog.put(EngineUp())
                    found_again = False
                    self._latest_ns = self._latest_ns or opened_ns
                    with contextlib.suppress(QuietError):
                        self._read(stream)
        except EngineError as exc:
            return str(exc)
        except Exception as exc:
            # A reader that died would leave the daemon deaf without a word.
            log.exception("reading the engine's events failed")
            return f"reading its events failed: {exc}"

    def _read(self, stream: Iterable[bytes]) -> NoReturn:
        rest = b""
        for piece in stream:
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                self._take(line)
            if len(rest) > MAX_LINE_BYTES:
                raise EngineError(f"the Docker engine sent an event of more than {MAX_LINE_BYTES} bytes")
        raise EngineError("the Docker engine ended its event stream; it is probably stopping")

    def _take(self, line: bytes) -> None:
        event = events.decode(line) if line.strip() else None
        if isinstance(event, ContainerEvent):
            if event in self._seen:
                return
            self._seen[event] = None
            if len(self._seen) > MAX_SEEN:
                del self._seen[next(iter(self._seen))]
            self._latest_ns = max(self._latest_ns, event.time_ns)
        if event is not None:
            self._backlog.put(event)
