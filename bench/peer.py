"""One more peer for the tail bench, without DNS: has so many records, and joins when told to.

    python -m bench.peer NAME PORT JOIN RECORDS VERSION

Waits for a line on its standard input before it joins the peer at JOIN (a loopback port); the gossip is the daemon's
own. Records are the A records of NAME0, NAME1...; each VERSION has other addresses.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from bench import churn
from bench.servers import DOMAIN, address
from weavedns import config
from weavedns.cluster.cluster import Cluster, Hooks
from weavedns.records import names, rdata
from weavedns.records.catalog import Catalog
from weavedns.records.record import Origin, Record, RecordType
from weavedns.turns import Turns

_DOMAIN = names.parse(DOMAIN)


def record(name: str, number: int, version: int) -> Record:
    wire = names.parse(f"{name}{number}", _DOMAIN)
    data = rdata.parse(RecordType.A, [address(number + 1_000_000 * version)], _DOMAIN)
    return Record(name, "bench", wire, int(RecordType.A), data, 1, Origin.ADDED)


async def main(name: str, port: int, join: int, records: int, version: int) -> None:
    catalog = Catalog(name, limit=1_000_000)
    for number in range(records):
        catalog.add(record(name, number, version))
    settings = config.settings(
        name=name,
        network=False,
        weave_range="10.0.0.0/8",
        listen=["127.0.0.1:1"],
        socket=Path("unused"),
        peers=[f"127.0.0.1:{join}"],
        port=port,
        advertise="127.0.0.1",
    )
    cluster = Cluster(settings, catalog, Hooks(lambda _: None, lambda _: None, lambda _: None, sys.exit), Turns())
    # Who measures shares the core.
    churn.give_way()
    print("ready", flush=True)
    await asyncio.to_thread(os.read, 0, 1)
    async with cluster.serving():
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], *map(int, sys.argv[2:])))
