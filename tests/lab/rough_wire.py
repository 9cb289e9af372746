"""Carries frames between pairs of interfaces and loses, delays and reorders some: a bad cable, in a process.

A lab uses it where a person would use tc's netem, which not every kernel has. It runs in the switch's namespace as
``rough_wire.py LOSS SHORTEST_MS LONGEST_MS OVERTAKEN SEED A=B...`` until SIGTERM, and then prints what it did.
"""

import heapq
import json
import random
import select
import signal
import socket
import sys
import time
from collections import Counter

SOL_PACKET = 263
PACKET_VNET_HDR = 15  # packet(7): checksums and segmentation that the kernel left for later travel with the frame
PACKET_IGNORE_OUTGOING = 23
ETH_P_ALL = 3
MAX_FRAME_BYTES = 65_535 + 64
MAX_UNDER_WAY = 20_000
BUFFER_BYTES = 1 << 22
# How much later an overtaken frame arrives at most, as a multiple of the longest delay.
DETOUR = 3.0


def open_interface(name: str) -> socket.socket:
    """A socket that takes every frame coming in on an interface, and sends on it."""
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    made.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    made.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    made.bind((name, ETH_P_ALL))
    made.setblocking(False)
    return made


class Wire:
    """All pairs at once; ``counts`` is what became of the frames."""

    def __init__(self, loss: float, delay_s: tuple[float, float], overtaken: float, seed: int) -> None:
        self.counts: Counter[str] = Counter()
        self._loss = loss
        self._delay_s = delay_s
        self._overtaken = overtaken
        self._random = random.Random(seed)
        self._ends: dict[int, tuple[socket.socket, socket.socket]] = {}
        self._under_way: list[tuple[float, int, socket.socket, bytes]] = []
        self._poll = select.poll()
        # Frames keep their order but for those that are overtaken.
        self._last_due: dict[int, float] = {}

    def connect(self, one: str, other: str) -> None:
        """Carry frames between two interfaces."""
        ends = open_interface(one), open_interface(other)
        for source, target in (ends, ends[::-1]):
            self._ends[source.fileno()] = (source, target)
            self._poll.register(source, select.POLLIN)

    def run(self) -> None:
        """Carry frames for ever."""
        while True:
            wait_ms = None if not self._under_way else max(0.0, (self._under_way[0][0] - time.monotonic()) * 1e3)
            for descriptor, _ in self._poll.poll(wait_ms):
                self._take(descriptor)
            now = time.monotonic()
            while self._under_way and self._under_way[0][0] <= now:
                _, _, target, frame = heapq.heappop(self._under_way)
                try:
                    target.send(frame)
                except OSError:
                    self.counts["refused"] += 1

    def _take(self, descriptor: int) -> None:
        source, target = self._ends[descriptor]
        try:
            frame = source.recv(MAX_FRAME_BYTES)
        except OSError:
            return
        dice = self._random
        self.counts["frames"] += 1
        if dice.random() < self._loss or len(self._under_way) >= MAX_UNDER_WAY:
            self.counts["lost"] += 1
            return
        due = time.monotonic() + dice.uniform(*self._delay_s)
        if dice.random() < self._overtaken:
            self.counts["overtaken"] += 1
            due += self._delay_s[1] * DETOUR * dice.random()
        else:
            due = self._last_due[descriptor] = max(due, self._last_due.get(descriptor, 0.0))
        heapq.heappush(self._under_way, (due, self.counts["frames"], target, frame))


def main(loss: str, shortest_ms: str, longest_ms: str, overtaken: str, seed: str, *pairs: str) -> None:
    """Run until SIGTERM."""
    wire = Wire(float(loss), (float(shortest_ms) / 1e3, float(longest_ms) / 1e3), float(overtaken), int(seed))
    for pair in pairs:
        wire.connect(*pair.split("="))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    print("ready", flush=True)
    try:
        wire.run()
    finally:
        print(json.dumps(wire.counts), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
