"""The floor of the DNS bench: the server's own batch loop with no DNS in it. It flips one bit and sends back."""

from __future__ import annotations

import asyncio
import socket
import sys

from weavedns.dns.batch import SLOTS, gather, open_batch
from weavedns.dns.udp import enlarge_buffers

_DATAGRAMS_A_TURN = 4 * SLOTS
_BUSY = 4
_QR = 0x80


async def reflect(port: int) -> None:
    """Answer for ever on a port of loopback."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind(("127.0.0.1", port))
    enlarge_buffers(sock)
    batch = open_batch(sock)

    def readable() -> None:
        memory = batch.slots.memory
        left = _DATAGRAMS_A_TURN
        while left > 0 and (sizes := batch.receive()):
            for at, _ in zip(batch.slots.starts, sizes, strict=False):
                memory[at + 2] |= _QR
            batch.send(sizes)
            left = left - len(sizes) if len(sizes) >= _BUSY else 0
            gather(len(sizes), bool)

    asyncio.get_running_loop().add_reader(sock.fileno(), readable)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(reflect(int(sys.argv[1])))
