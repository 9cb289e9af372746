"""Asks for names at a steady rate, whatever becomes of earlier questions, and prints how long each answer took.

    python -m bench.timed PORT QUERIES SECONDS PER_SECOND

One question a line: when it was due, in seconds of the monotonic clock, and how long its answer took, in
microseconds, -1 for no answer. The kernel stamps each reply as it arrives, so a prober that is late itself measures
no delay of the server's.
"""

import select
import socket
import struct
import sys
import time
from pathlib import Path

from bench.servers import DOMAIN, query

SO_TIMESTAMPNS = 35  # socket(7)
LAST_REPLIES_S = 1.0
IDS = 65536


def main(port: int, queries: Path, seconds: float, per_second: int) -> None:
    names = [line.split()[0].removesuffix(f".{DOMAIN}") for line in queries.read_text().splitlines()[:IDS]]
    packets = [query(name) for name in names]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        sock.setblocking(False)
        sock.connect(("127.0.0.1", port))
        began, sent, taken = ask(sock, packets, seconds, per_second)
    print("\n".join(f"{began + number / per_second:.4f} {taken.get(number, -1.0):.1f}" for number in range(sent)))


def ask(
    sock: socket.socket, packets: list[bytes], seconds: float, per_second: int
) -> tuple[float, int, dict[int, float]]:
    """Send on time, take what has come: when that began, how many were sent, and the time of each answer."""
    began, total = time.monotonic(), int(seconds * per_second)
    sent_ns: list[int] = []
    taken: dict[int, float] = {}
    while True:
        due = began + len(sent_ns) / per_second if len(sent_ns) < total else began + seconds + LAST_REPLIES_S
        wait = due - time.monotonic()
        if wait > 0 and select.select([sock], [], [], wait)[0]:
            take(sock, sent_ns, taken)
        elif len(sent_ns) == total or len(taken) == total:
            return began, total, taken
        elif wait <= 0:
            number = len(sent_ns)
            sent_ns.append(time.time_ns())
            sock.send((number % IDS).to_bytes(2, "big") + packets[number % len(packets)][2:])


def take(sock: socket.socket, sent_ns: list[int], taken: dict[int, float]) -> None:
    reply, stamps, _, _ = sock.recvmsg(512, 64)
    seconds, nanoseconds = struct.unpack("@qq", stamps[0][2])
    # The latest question with this ID: none waits for as long as it takes to use them all.
    number = len(sent_ns) - 1 - (len(sent_ns) - 1 - int.from_bytes(reply[:2], "big")) % IDS
    taken[number] = (seconds * 10**9 + nanoseconds - sent_ns[number]) / 1e3


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))
