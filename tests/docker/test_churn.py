"""Many changes on all hosts at once over wires that lose, delay and reorder: in the end everybody agrees.

A minute long, or as many seconds as the environment variable WEAVEDNS_CHURN_S says.
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.docker.control_socket import ask
from tests.docker.hosts import Hosts, hosts, joined, own_address, states, three, told
from tests.lab import Host, Lab, wait_until

__all__ = ["hosts", "joined", "three"]
pytestmark = pytest.mark.docker

SECONDS = float(os.environ.get("WEAVEDNS_CHURN_S", "60"))
CHANGES_A_SECOND = 200
# Names that every host has addresses for, beside those of its own.
SHARED, OWN = 40, 80
AGREED_S = 60.0

Names = dict[str, set[str]]


def churn(host: Host, number: int, changes: int) -> Names:
    """Add and remove so many records at a third of the rate; what is left of them, by name."""
    dice = random.Random(number)
    names = [f"shared{n}" for n in range(SHARED)] + [f"own{number}-{n}" for n in range(OWN)]
    held: Names = {name: set() for name in names}
    pace = threading.Event()
    began = time.monotonic()
    for change in range(changes):
        pace.wait(began + 3 * change / CHANGES_A_SECOND - time.monotonic())
        name = dice.choice(names)
        # Each host has addresses of its own, so that a removal is of its own record alone.
        address = f"192.0.{number}.{dice.randrange(1, 5)}"
        method = "DELETE" if address in held[name] else "POST"
        status, answer = ask(host, method, "/v1/records", json.dumps({"name": name, "data": [address]}))
        assert status < 300, answer
        held[name] ^= {address}
    return held


def listed(host: Host) -> list[str]:
    """All records of all hosts, as one host has them."""
    return sorted(host.run("weavedns", "ls", "--format", "json").stdout.splitlines())


def added(rows: list[str]) -> Names:
    found: Names = {}
    for row in map(json.loads, rows):
        if row["origin"] == "added":
            found.setdefault(row["name"].removesuffix(".weave.local"), set()).add(row["data"])
    return found


def answered(host: Host, names: Mapping[str, set[str]]) -> Names:
    """What a host answers for each of the names, in one run of dig."""
    questions = host.directory / "questions"
    questions.write_text("".join(f"{name}.weave.local A\n" for name in names))
    seen = host.run("dig", f"@{own_address(host)}", "+noall", "+answer", "-f", questions, timeout_s=60).stdout
    questions.unlink()
    found: Names = {name: set() for name in names}
    for line in seen.splitlines():
        name, *_, data = line.split()
        found[name.removesuffix(".weave.local.")].add(data)
    return found


def test_after_a_churn_over_bad_wires_all_hosts_agree_exactly(three: Lab, joined: Hosts) -> None:
    changes = int(SECONDS * CHANGES_A_SECOND / 3)
    with three.bad_wires(loss=0.03, delay_ms=(1.0, 8.0), overtaken=0.05) as done:
        with ThreadPoolExecutor(3) as pool:
            held = list(pool.map(churn, joined, (1, 2, 3), (changes,) * 3))
        left = {name: set().union(*(each.get(name, set()) for each in held)) for each in held for name in each}
        wanted = {name: data for name, data in left.items() if data}
        wait_until(lambda: all(added(listed(host)) == wanted for host in joined), AGREED_S, what=lambda: told(joined))
        wait_until(lambda: all(states(host) == ["connected"] * 2 for host in joined), AGREED_S)
        first, *others = [listed(host) for host in joined]
        assert all(rows == first for rows in others)
        for host in joined:
            assert answered(host, left) == left
    # The wires were bad indeed.
    assert done["lost"] > 0
    assert done["overtaken"] > 0
