"""Several peers share out one range: founding, joining, giving, restarting, being cut off and being inherited."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

import pytest

from tests.unit.weavenet.sharing_peers import Peer, Wire, eventually
from weavenet import bynumber
from weavenet import sharing as sharing_module
from weavenet.errors import (
    AddressInUseError,
    EndpointError,
    PeerError,
    RingError,
    RingFileError,
    TakenElsewhereError,
)
from weavenet.ipam import wire as messages
from weavenet.ipam.allocator import HOLD_S, Wanted
from weavenet.ipam.ring import Owner, Stretch
from weavenet.sharing import RING_KEY


@pytest.fixture
async def wire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Wire]:
    monkeypatch.setattr(sharing_module, "TICK_S", 0.01)
    monkeypatch.setattr(sharing_module, "_RETRY_S", 0.01)
    made = Wire(tmp_path)
    yield made
    for peer in list(made.peers.values()):
        await peer.stop()


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bynumber, "ANSWERED_WITHIN_S", 0.1)
    monkeypatch.setattr(bynumber, "RETRY_S", 0.01)


async def ready(*peers: Peer) -> None:
    for peer in peers:
        peer.run()
    assert await eventually(lambda: all(each.sharing.ready and each.keeper.ring.complete for each in peers))


def no_address_has_two_owners(*peers: Peer) -> bool:
    runs = sorted(run for peer in peers for run in peer.owned())
    return all(before[1] < after[0] for before, after in itertools.pairwise(runs))


async def test_a_peer_launched_alone_owns_everything_at_once(wire: Wire) -> None:
    host1 = await wire.launch("host1")
    assert await host1.obtain("c1") == "10.2.0.1/16"
    assert await host1.sharing.dns_address(None) == IPv4Address("10.2.254.1")


async def test_a_joiner_is_given_half_of_the_free_addresses(wire: Wire) -> None:
    host1 = await wire.launch("host1")
    host2 = await wire.launch("host2", "host1")
    await ready(host1, host2)
    assert await host1.obtain("c1") == "10.2.0.1/16"
    assert await host2.obtain("c2") == "10.2.128.1/16"
    assert no_address_has_two_owners(host1, host2)


async def test_addresses_in_use_are_not_given_away(wire: Wire) -> None:
    host1 = await wire.launch("host1")
    used = {await host1.obtain(f"c{n}", "net:10.2.7.0/28") for n in range(12)}
    host2 = await wire.launch("host2", "host1")
    await ready(host1, host2)
    given = {await host2.obtain(f"d{n}", "net:10.2.7.0/28") for n in range(2)}
    assert len(used | given) == 14
    assert host1.sharing.allocator.in_use("c0")


async def test_the_last_free_address_of_a_subnet_travels_and_then_there_is_none(wire: Wire) -> None:
    host1 = await wire.launch("host1")
    host2 = await wire.launch("host2", "host1")
    await ready(host1, host2)
    await host1.obtain("c1", "net:10.2.7.0/30")
    assert await host2.obtain("d1", "net:10.2.7.0/30") == "10.2.7.2/30"
    with pytest.raises(Exception, match=r"no free address is left in 10\.2\.7\.0/30"):
        await host2.obtain("d2", "net:10.2.7.0/30")


async def test_dns_addresses_are_unique_and_the_lowest(wire: Wire) -> None:
    peers = [await wire.launch("host1")]
    peers += [await wire.launch(f"host{n}", "host1") for n in (2, 3, 4)]
    await ready(*peers)
    assert [str(await each.sharing.dns_address(None)) for each in peers] == [f"10.2.254.{n}" for n in (1, 2, 3, 4)]


async def test_a_newcomer_has_a_dns_address_also_when_the_founder_is_away(wire: Wire) -> None:
    host1, host2 = await wire.launch("host1"), await wire.launch("host2", "host1")
    await ready(host1, host2)
    await host1.sharing.dns_address(None)
    await host2.sharing.dns_address(None)
    await host1.stop()
    host3 = await wire.launch("host3", "host2")
    await ready(host3)
    assert str(await host3.sharing.dns_address(None)) not in {"10.2.254.1", "10.2.254.2"}


async def test_a_restarted_peer_carries_on_with_the_dns_address_of_its_bridge_without_anybody(wire: Wire) -> None:
    host2 = await wire.launch("host2", "host1")
    assert await host2.sharing.dns_address(None, [IPv4Address("10.2.254.9")]) == IPv4Address("10.2.254.9")


async def test_a_dns_address_that_another_peer_has_is_not_kept_and_not_taken(wire: Wire) -> None:
    host1, host2 = await wire.launch("host1"), await wire.launch("host2", "host1")
    await ready(host1, host2)
    own = await host1.sharing.dns_address(None)
    with pytest.raises(AddressInUseError, match=r"10\.2\.254\.1 is in use by the DNS server of host host1"):
        await host2.sharing.dns_address(own)
    assert await host2.sharing.dns_address(None, [own]) == IPv4Address("10.2.254.2")
    with pytest.raises(EndpointError, match=r"10\.2\.0\.7 is no host address"):
        await host2.sharing.dns_address(IPv4Address("10.2.0.7"))


async def test_peers_launched_together_split_the_range_in_the_order_of_names(wire: Wire) -> None:
    names = ["host1", "host2", "host3"]
    peers = [await wire.launch(name, *names) for name in names]
    assert not any(each.sharing.ready for each in peers)
    await ready(*peers)
    assert len({each.keeper.ring.update() for each in peers}) == 1
    assert [await each.obtain("c") for each in peers] == ["10.2.0.1/16", "10.2.84.171/16", "10.2.169.86/16"]
    assert peers[0].sharing.status().founder == "host1"


async def test_until_all_named_peers_are_there_it_is_said_for_whom_they_wait_and_a_person_may_decide(
    wire: Wire,
) -> None:
    host1 = await wire.launch("host1", "host2", "host3")
    host2 = await wire.launch("host2", "host1", "host3")
    for each in (host1, host2):
        each.run()
    assert await eventually(lambda: host1.sharing.status().waits_for == ("host3:6783",))
    wanted = host1.sharing.allocator.wants(0.0)
    assert wanted == Wanted(IPv4Network("10.2.0.0/16"), ())
    assert wanted is not None
    assert "waiting for host3:6783; 'weavenet ipam seed'" in host1.sharing.waits_for(wanted)
    assert "host3:6783" in host1.sharing.waits_for_dns()
    await host1.sharing.seed()
    assert await eventually(lambda: host2.sharing.ready)
    assert {await host1.obtain("c"), await host2.obtain("c")} == {"10.2.0.1/16", "10.2.127.1/16"}
    with pytest.raises(RingError, match="shared out already, by host1"):
        await host2.sharing.seed()


async def test_a_restart_forgets_no_gift_even_without_anybody_to_ask(wire: Wire) -> None:
    host1, host2 = await wire.launch("host1"), await wire.launch("host2", "host1")
    await ready(host1, host2)
    await host2.obtain("c")
    await host1.stop()
    wire.cut("host1", "host2")
    host1 = await wire.launch("host1")
    assert host1.sharing.ready
    assert no_address_has_two_owners(host1, host2)
    wire.mend()
    await ready(host1)
    assert host1.keeper.ring.update() == host2.keeper.ring.update()


async def test_a_gift_whose_answer_got_lost_is_not_given_twice(wire: Wire) -> None:
    host1 = await wire.launch("host1")
    host2 = await wire.launch("host2", "host1")
    await host2.sharing._find_ring()
    wire.lose_answers = 1
    wanted = host2.sharing.allocator.wants(0.0)
    assert wanted is not None
    assert not await host2.sharing._ask_around(wanted)
    owned = host1.owned()
    assert await host2.obtain("c") == "10.2.128.1/16"
    assert host1.owned() == owned


async def test_what_cannot_be_saved_is_not_given(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    host1, host2 = await wire.launch("host1"), await wire.launch("host2", "host1")
    await host2.sharing._find_ring()

    async def fail(kept: object) -> None:
        raise RingFileError("cannot write: make room there")

    with monkeypatch.context() as patched:
        patched.setattr(host1.file, "save", fail)
        wanted = host2.sharing.allocator.wants(0.0)
        assert wanted is not None
        assert not await host2.sharing._ask_around(wanted)
        assert host1.sharing.status().troubles == ("cannot write: make room there",)
    assert host2.owned() == []
    assert await host2.obtain("c") == "10.2.128.1/16"


async def test_a_peer_that_lost_its_disk_owns_nothing_of_what_it_owned(wire: Wire) -> None:
    host1, host2 = await wire.launch("host1"), await wire.launch("host2", "host1")
    await ready(host1, host2)
    await host2.obtain("c")
    await host1.stop()
    (wire.folder / "host1.ring").unlink()
    host1 = await wire.launch("host1", "host2")
    await ready(host1)
    assert await host1.obtain("d") == "10.2.192.1/16"
    assert no_address_has_two_owners(host1, host2)


async def test_nothing_is_given_before_the_addresses_in_use_are_known(wire: Wire) -> None:
    host1, host2 = await wire.launch("host1"), await wire.launch("host2", "host1")
    await host1.file.close()
    await host1.open(recovered=False)
    await ready(host1, host2)
    wanted = host2.sharing.allocator.wants(host2.now)
    assert wanted is not None
    assert not await host2.sharing._ask_around(wanted)
    host1.sharing.recovered()
    assert await host2.obtain("c") == "10.2.128.1/16"


async def test_who_takes_over_has_the_addresses_of_a_peer_that_does_not_return(wire: Wire) -> None:
    host1 = await wire.launch("host1")
    host2, host3 = await wire.launch("host2", "host1"), await wire.launch("host3", "host1")
    await ready(host1, host2, host3)
    await host1.obtain("c1")
    with pytest.raises(RingError, match="host1 is connected"):
        await host2.sharing.take_over("host1")
    await host1.stop()
    with pytest.raises(AddressInUseError, match="container c1"):
        await host2.obtain("d", "10.2.0.1")
    assert await host2.sharing.take_over("host1") > 10000
    assert await host2.obtain("d", "10.2.0.1") == "10.2.0.1/16"
    assert no_address_has_two_owners(host2, host3)


async def test_a_takeover_needs_everybody_who_is_there_to_say_what_they_know(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    host1 = await wire.launch("host1")
    host2, host3 = await wire.launch("host2", "host1"), await wire.launch("host3", "host1")
    await ready(host1, host2, host3)
    await host1.stop()
    await host2.stop()
    host2 = await wire.launch("host2")
    monkeypatch.setattr(host2, "live", lambda: ["host3"])
    wire.cut("host2", "host3")
    with pytest.raises(PeerError, match="host3"):
        await host2.sharing.take_over("host1")


async def test_a_peer_that_returns_after_a_takeover_loses_and_says_so(
    wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    host1, host2 = await wire.launch("host1"), await wire.launch("host2", "host1")
    await ready(host1, host2)
    await host1.stop()
    await host2.sharing.take_over("host1")
    host1 = await wire.launch("host1")
    await ready(host1)
    assert await eventually(lambda: no_address_has_two_owners(host1, host2))
    assert "was this host's and is now host2's" in caplog.text


async def test_a_peer_that_has_given_nothing_away_yields_to_the_group_it_joins(wire: Wire) -> None:
    host1, host2 = await wire.launch("host1"), await wire.launch("host2", "host1")
    await ready(host1, host2)
    await host2.obtain("c")
    wire.cut("host3", "host1")
    wire.cut("host3", "host2")
    host3 = await wire.launch("host3")
    await host3.obtain("c1")
    assert host3.sharing.ready
    wire.mend()
    await ready(host3)
    assert await eventually(lambda: host3.sharing.status().founder == "host1")
    assert no_address_has_two_owners(host1, host2, host3)


async def test_whoever_joined_a_peer_that_yields_yields_with_it(wire: Wire) -> None:
    for one in ("a1", "a2"):
        for other in ("b1", "b2"):
            wire.cut(one, other)
    peers = [await wire.launch("a1"), await wire.launch("b1")]
    peers += [await wire.launch("a2", "a1"), await wire.launch("b2", "b1")]
    for each in peers:
        if each.name.endswith("2"):
            await each.sharing._find_ring()
    wire.mend()
    await ready(*peers)
    assert await eventually(lambda: {each.sharing.status().founder for each in peers} == {"a1"})
    assert await eventually(lambda: all(each.owned() for each in peers))
    assert no_address_has_two_owners(*peers)


async def test_two_groups_that_meet_stay_apart_and_say_so(wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    for one in ("a1", "a2"):
        for other in ("b1", "b2"):
            wire.cut(one, other)
    peers = [await wire.launch("a1"), await wire.launch("b1")]
    peers += [await wire.launch("a2", "a1"), await wire.launch("b2", "b1")]
    await ready(*peers)
    assert await eventually(lambda: all(each.owned() for each in peers))
    before = [each.owned() for each in peers]
    wire.mend()
    assert await eventually(lambda: all(each.sharing.status().troubles for each in peers))
    assert "two groups of peers share out addresses, one founded by a1 and one by b1" in caplog.text
    assert [each.owned() for each in peers] == before


async def test_an_address_asked_for_by_number_is_had_whoever_owns_it_unless_it_is_in_use(wire: Wire) -> None:
    host1, host2 = await wire.launch("host1"), await wire.launch("host2", "host1")
    await ready(host1, host2)
    assert await host2.obtain("c2", "10.2.0.1/16") == "10.2.0.1/16"
    assert await host1.obtain("c1") == "10.2.0.2/16"
    with pytest.raises(AddressInUseError, match=r"in use by container c2 \(c2\) on host host2"):
        await host1.obtain("c3", "10.2.0.1/16")


async def test_an_address_asked_for_by_number_is_its_host_s_from_then_on(wire: Wire) -> None:
    host1, host2 = await wire.launch("host1"), await wire.launch("host2", "host1")
    await ready(host1, host2)
    await host2.obtain("c2", "10.2.7.7/16")
    number = int(IPv4Address("10.2.7.7"))
    assert (number, number) in host2.owned()
    # Not even the disk of the owner forgets it.
    await host1.stop()
    host2.sharing.allocator.foreign.forget("host1")
    host1 = await wire.launch("host1")
    assert not host1.keeper.ring.owned([(number, number)])
    assert no_address_has_two_owners(host1, host2)


async def test_who_asks_an_owner_that_gave_the_address_away_asks_the_next_one(wire: Wire) -> None:
    host1 = await wire.launch("host1")
    host2, host3 = await wire.launch("host2", "host1"), await wire.launch("host3", "host1")
    await ready(host1, host2, host3)
    wire.cut("host2", "host3")
    await host2.obtain("c2", "10.2.7.7/16")
    wire.mend()
    host3.sharing.allocator.foreign.forget("host2")
    with pytest.raises(AddressInUseError, match=r"10\.2\.7\.7 is in use by container c2 \(c2\) on host host2"):
        await host3.obtain("c3", "10.2.7.7/16")


@pytest.mark.usefixtures("soon")
async def test_a_lost_answer_to_a_question_for_an_address_is_asked_for_again(wire: Wire) -> None:
    host1, host2 = await wire.launch("host1"), await wire.launch("host2", "host1")
    await host2.sharing._find_ring()
    wire.lose_answers = 1
    await host2.obtain("c2", "10.2.7.7/16")
    assert host2.sharing.allocator.strays() == []
    assert no_address_has_two_owners(host1, host2)


@pytest.mark.usefixtures("soon")
async def test_an_owner_that_does_not_know_yet_what_is_in_use_is_asked_again_afterwards(wire: Wire) -> None:
    host1, host2 = await wire.launch("host1"), await wire.launch("host2", "host1")
    await host1.file.close()
    await host1.open(recovered=False)
    await ready(host1, host2)
    assert await host2.obtain("c2", "10.2.7.7/16") == "10.2.7.7/16"
    assert host2.sharing.allocator.strays()
    host1.sharing.recovered()
    host2.now += bynumber.STRAYS_EVERY_S
    assert await eventually(lambda: not host2.sharing.allocator.strays())


@pytest.mark.usefixtures("soon")
async def test_an_owner_of_another_ring_gives_nothing_by_number(wire: Wire) -> None:
    host1, host2 = await wire.launch("host1"), await wire.launch("host2", "host1")
    await ready(host1, host2)
    await host1.stop()
    (wire.folder / "host1.ring").unlink()
    wire.cut("host1", "host2")
    host1 = await wire.launch("host1")
    owned = host1.owned()
    wire.cuts.clear()
    host2.sharing._keeper.ring._stretches = [
        Stretch(each.first, each.last, Owner("host1", each.owner.life), each.rank)
        for each in host2.keeper.ring.update().stretches
    ]
    assert await host2.obtain("c2", "10.2.7.7/16") == "10.2.7.7/16"
    assert host1.owned() == owned


async def test_a_long_name_of_a_container_is_no_reason_to_take_its_address(wire: Wire) -> None:
    host1, host2 = await wire.launch("host1"), await wire.launch("host2", "host1")
    await ready(host1, host2)
    wire.cut("host1", "host2")
    host1.sharing.allocator.adopt("c1", "c" * 5000, IPv4Interface("10.2.7.7/16"), 0.0)
    wire.mend()
    with pytest.raises(AddressInUseError, match="in use by container ccc"):
        await host2.obtain("c2", "10.2.7.7/16")


async def test_an_address_kept_for_a_stopped_container_is_refused_elsewhere_until_it_is_free(wire: Wire) -> None:
    host1, host2 = await wire.launch("host1"), await wire.launch("host2", "host1")
    await ready(host1, host2)
    await host1.obtain("c1", "10.2.7.7")
    host1.sharing.allocator.died("c1", host1.now)
    host1.sharing.claimed()
    with pytest.raises(AddressInUseError, match="kept for container c1"):
        await host2.obtain("c2", "10.2.7.7")
    host1.now += HOLD_S
    assert await eventually(lambda: not list(host2.sharing.allocator.foreign))
    assert await host2.obtain("c2", "10.2.7.7") == "10.2.7.7/16"
    # Its former holder no longer gets it back.
    assert await host1.obtain("c1") != "10.2.7.7/16"


async def test_a_conflict_that_a_healed_partition_reveals_is_told_and_nobody_is_renumbered(
    wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    host1, host2 = await wire.launch("host1"), await wire.launch("host2", "host1")
    await ready(host1, host2)
    wire.cut("host1", "host2")
    await host1.obtain("c1", "10.2.7.7")
    await host2.obtain("c2", "10.2.7.7")
    wire.mend()
    told = "10.2.7.7 is in use by container c1 (c1) on host host1 and by container c2 (c2) on host host2"
    assert await eventually(lambda: told in caplog.text)
    assert any(told in each for each in host1.sharing.status().troubles)
    assert await host1.obtain("c1", "10.2.7.7") == "10.2.7.7/16"
    host2.sharing.allocator.removed("c2")
    host2.sharing.claimed()
    assert await eventually(lambda: host1.sharing.status().troubles == ())


async def test_an_owner_that_is_away_is_named_with_the_cure(wire: Wire) -> None:
    host1, host2 = await wire.launch("host1"), await wire.launch("host2", "host1")
    await ready(host1, host2)
    await host2.obtain("c2")
    await host1.stop()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await host2.obtain("c3", "net:10.2.7.0/24")
    said = host2.sharing.waits_for(Wanted(IPv4Network("10.2.7.0/24"), ("host1",)))
    assert "host1 (not connected) gave none: start host1, or 'weavenet ipam takeover host1'" in said


async def test_the_claims_of_a_forgotten_peer_are_dropped_and_those_of_a_lost_one_are_not(wire: Wire) -> None:
    host1, host2 = await wire.launch("host1"), await wire.launch("host2", "host1")
    await ready(host1, host2)
    await host1.obtain("c1", "10.2.7.7")
    await host1.stop()
    with pytest.raises(AddressInUseError):
        await host2.obtain("c2", "10.2.7.7")
    host2.sharing.forgotten("host1")
    assert await host2.obtain("c2", "10.2.7.7") == "10.2.7.7/16"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (RING_KEY, b"\xff"),
        (RING_KEY, b""),
        (b"a", b"\x94\x10\xa0\xa0\xc2"),
        (b"b\x0a\x02\x00\x01", b"\x94\x10\xa0\xa0\xc2"),
        (b"a\x0a\x03\x00\x01", b"\x94\x10\xa0\xa0\xc2"),
        (b"a\x0a\x02\x00\x01", b"\x94\x21\xa0\xa0\xc2"),
        (b"a\x0a\x02\x00\x01", b"\x94" * 5000),
    ],
)
async def test_malformed_entries_are_counted_and_change_nothing(wire: Wire, key: bytes, value: bytes) -> None:
    host1 = await wire.launch("host1")
    before = host1.owned()
    host1.sharing.heard("stranger", key, value)
    assert host1.sharing.malformed == 1
    assert host1.owned() == before
    assert not list(host1.sharing.allocator.foreign)


@pytest.mark.parametrize(
    "question",
    [
        b"",
        b"\xc1",
        b"\x91\xa5ring?",
        b"\x90" * 100,
        b"\x95\xa6space?\x90\xa11\x07\x18",
        # What is told of these contains them.
        b"\x93\xa5seed\x00",
        b"\x91\xda\x10\x00" + b"x" * 4096,
    ],
)
async def test_a_malformed_question_is_refused_and_counted(wire: Wire, question: bytes) -> None:
    host1 = await wire.launch("host1")
    assert isinstance(messages.decode_answer(await host1.sharing.answer("stranger", question)), messages.Refused)
    assert host1.sharing.malformed == 1


@pytest.mark.parametrize("text", ["host3:6783\n", "\x1b[2J", "a\u2028b", "a\u202eb", "\x9b2J"])
async def test_what_a_peer_says_can_be_shown(wire: Wire, text: str) -> None:
    host1 = await wire.launch("host1")
    for answer, error in ((messages.Refused(text), RingError), (messages.Used(text), TakenElsewhereError)):
        with pytest.raises(error) as told:
            host1.keeper.replied("host2", messages.decode_answer(messages.encode(answer)))
        assert str(told.value).isprintable()
    no_ring = messages.encode(messages.NoRing(("a",), "", (text,), "1"))
    reply = host1.keeper.replied("host2", messages.decode_answer(no_ring))
    assert reply is not None
    assert all(each.isprintable() for each in reply.waits_for)


async def test_a_ring_with_another_range_is_told(wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    host1 = await wire.launch("host1")
    ring = b"\x93\xa3b/1\x91\x92\xa1b\xa11\x91\x94\x00\x01\x00\x00"
    host1.sharing.heard("b", RING_KEY, ring)
    assert "give all peers the same --range" in caplog.text


async def test_a_damaged_file_is_refused_and_named(wire: Wire) -> None:
    (wire.folder / "host1.ring").write_bytes(b"\x00junk")
    with pytest.raises(RingFileError, match=r"host1\.ring is damaged"):
        await wire.launch("host1")


async def test_a_renamed_host_begins_anew(wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    await wire.launch("host1")
    await wire.peers["host1"].stop()
    (wire.folder / "host1.ring").rename(wire.folder / "other.ring")
    other = await wire.launch("other")
    assert other.keeper.me.life != "t1"
    assert "was called host1" in caplog.text


async def test_a_disk_that_cannot_be_written_does_not_keep_a_single_host_from_starting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    made = Wire(tmp_path / "file")
    with pytest.raises(RingFileError, match="cannot read"):
        await made.launch("host1")
    absent = Wire(Path("/proc/nowhere"))
    host1 = await absent.launch("host1")
    assert await host1.obtain("c") == "10.2.0.1/16"
    assert "cannot write /proc/nowhere" in host1.sharing.status().troubles[0]
    await host1.stop()
