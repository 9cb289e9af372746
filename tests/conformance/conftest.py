"""The daemon that the conformance tests ask, one for a module, and what stands behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.conformance import packets as p
from tests.conformance.served import Served, Upstream, served, upstream

Ask = Callable[..., p.Reply]
Send = Callable[[bytes], p.Reply]


@pytest.fixture(scope="module")
def world() -> Iterator[Upstream]:
    """The server for names that are not ours."""
    with upstream() as made:
        yield made


@pytest.fixture(scope="module")
def server(world: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    host, port = world.address
    nowhere = "--forward", "broken.example=127.0.0.1:9"
    with served(
        tmp_path_factory.mktemp("daemon"), "--upstream", f"{host}:{port}", *nowhere, hosts=("127.0.0.1", "127.0.0.3")
    ) as made:
        yield made


@pytest.fixture(params=list(p.TRANSPORTS))
def ask(request: pytest.FixtureRequest, server: Served) -> Ask:
    """Ask the daemon, over either transport."""
    over = p.TRANSPORTS[request.param]

    def asked(
        text: str, rtype: int = p.A, rclass: int = p.IN, *, flags: int = p.RD, ident: int = p.IDENT, opcode: int = 0
    ) -> p.Reply:
        return over(p.query(text, rtype, rclass, flags=flags, ident=ident, opcode=opcode), server.address)

    return asked


@pytest.fixture(params=list(p.TRANSPORTS))
def send(request: pytest.FixtureRequest, server: Served) -> Send:
    """Send the daemon any bytes, over either transport."""
    return lambda packet: p.TRANSPORTS[request.param](packet, server.address)
