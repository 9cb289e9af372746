"""Starts a DnsServer with N names for the bench, as a process of its own; says READY when it answers."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from ipaddress import IPv4Network

from weavedns.dns.access import Access
from weavedns.dns.answers import Answers, Zone
from weavedns.dns.server import DnsServer
from weavedns.dns.upstream import Upstreams
from weavedns.records import names
from weavedns.records.catalog import Catalog
from weavedns.records.record import Origin, Record, RecordType

DOMAIN = names.parse("weave.local.")


def records(count: int) -> list[Record]:
    return [
        Record(
            "bench",
            "zone",
            names.parse(f"n{number}.weave.local."),
            RecordType.A,
            (0x0A000000 + number + 1).to_bytes(4, "big"),
            1,
            Origin.ZONE,
        )
        for number in range(count)
    ]


async def serve(port: int, count: int) -> None:
    catalog = Catalog()
    zone = Zone(DOMAIN, IPv4Network("10.0.0.0/8"), names.parse("weavedns", DOMAIN), 1)
    answers = Answers(zone, catalog)
    started = time.perf_counter()
    answers.apply(catalog.replace("zone", records(count)))
    loaded_s = time.perf_counter() - started
    server = DnsServer(answers, Access(), Upstreams())
    await server.listen("127.0.0.1", port)
    await server.start()
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    print(f"READY {loaded_s:.3f}", flush=True)
    await stopped.wait()
    await server.close()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2])))
