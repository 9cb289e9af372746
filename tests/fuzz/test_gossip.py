"""No stranger, and no peer with the password, can make a node fail, say nonsense or work for long.

Each test tries a bounded number of inputs; WEAVE_FUZZ_ROUNDS=N tries N. `python -m tests.fuzz` searches by coverage.
"""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.fuzz.messages import NAMES, damaged, datagram_bodies, frame_bodies
from tests.fuzz.rounds import rounds
from tests.fuzz.victim import EVIL, PLAIN, SEALED, Victim
from tests.sim.world import WALL_MS
from weavedns.gossip import codec
from weavedns.gossip.message import Alive, Open, Ping, Purpose, Suspect
from weavedns.gossip.seal import Header, Sealer
from weavedns.gossip.stream import Stream

BOTH = pytest.mark.parametrize("keyring", [PLAIN, SEALED], ids=["plain", "sealed"])
_hello = Stream(PLAIN, Header("evil", WALL_MS + 3, 9, 0), bytes, initiator=True).take()
_sealed_hello = Stream(SEALED, Header("evil", WALL_MS + 3, 9, 0), bytes, initiator=True).take()
_me = Alive("evil", *EVIL, WALL_MS + 3, 9, 0)
_open = codec.encode(Open(Purpose.JOIN, "weave", _me, "10.0.0.1", {}))
_opened = _hello + len(_open).to_bytes(4, "big") + _open
_streams = st.sampled_from([_hello, _sealed_hello, _opened, _hello + b"\xff\xff\xff\xff", b"GET / HTTP/1.0"])
_ping = codec.join([codec.encode(Ping(1, "victim", 1))])
_packets = st.sampled_from([Sealer(ring, "evil", WALL_MS + 3, 9).seal(_ping) for ring in (PLAIN, SEALED)])


@BOTH
@rounds(100)
@given(st.lists(st.one_of(_packets, damaged(_packets), st.binary(max_size=80)), max_size=6))
def test_a_stranger_with_datagrams(keyring: object, packets: list[bytes]) -> None:
    victim = Victim(keyring)  # type: ignore[arg-type]
    for packet in packets:
        victim.hear(packet)
    victim.check()
    assert {peer.name for peer in victim.node.peers()} == {"owner", "evil"}


@BOTH
@rounds(100)
@given(st.lists(st.tuples(st.sampled_from(NAMES), datagram_bodies), min_size=1, max_size=6))
@example([("evil", codec.join([codec.encode(Suspect("victim", WALL_MS + 1, 2**32 - 1, "evil"))]))])
@example([("evil", codec.join([codec.encode(Suspect("victim", 2**62, 0, "evil"))]))])
def test_a_peer_that_was_let_in_with_datagrams(keyring: object, said: list[tuple[str, bytes]]) -> None:
    victim = Victim(keyring)  # type: ignore[arg-type]
    for name, body in said:
        if len(body) < 1_000:
            victim.hear_from(name, body)
    victim.check()


@BOTH
@rounds(100)
@given(st.one_of(_streams, damaged(_streams), st.binary(max_size=200)), st.lists(st.integers(1, 60), max_size=4))
def test_a_stranger_with_a_stream(keyring: object, data: bytes, cuts: list[int]) -> None:
    pieces = []
    for cut in cuts:
        pieces.append(data[:cut])
        data = data[cut:]
    for hear in (Victim.hear_stream, Victim.hear_answer):
        victim = Victim(keyring)  # type: ignore[arg-type]
        hear(victim, [*pieces, data])
        victim.check()


@BOTH
@rounds(100)
@given(st.sampled_from(Purpose), st.lists(frame_bodies, max_size=6))
def test_a_peer_that_was_let_in_with_frames(keyring: object, purpose: Purpose, frames: list[bytes]) -> None:
    victim = Victim(keyring)  # type: ignore[arg-type]
    victim.talk(frames, purpose=purpose)
    victim.check()
