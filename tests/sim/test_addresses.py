"""No address is given out twice, and whoever needs one gets one, in whatever order machines fail, part and return."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import defaultdict
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from tests.sim.machines import Container, Machine, Machines
from weavedns.errors import innermost
from weavenet.errors import AddressInUseError, NoAddressError, PeerError, RingError
from weavenet.ipam.allocator import Wanted

NAMES = "abcd"
SMALL = ["net:10.2.0.0/29", "net:10.2.0.248/29", "net:10.2.1.0/29"]
SPELLINGS = st.sampled_from(["", *SMALL, *SMALL])
# Whatever was cut has found together by then: a peer that was not there is dialled every half minute.
CALM_S = 45.0


class Sharing(RuleBasedStateMachine):
    """Machines whose daemons crash, with or without their disk, whose network parts, and whose operators decide."""

    numbers = st.integers(0, len(NAMES) - 1)

    def __init__(self) -> None:
        super().__init__()
        self.machines: Machines
        self.pending: dict[asyncio.Task[None], Machine] = {}
        self.gone: set[str] = set()
        self.lost_disks: set[str] = set()
        self.disturbed_at = 0.0
        # By hand and not as the documentation says: then addresses may be given out twice, which has to be told.
        self.reckless = False
        # Containers with an address asked for by number that its owner, who could not be asked, has not given yet.
        self.by_claim: set[str] = set()
        self.holders = itertools.count()
        self.together = False

    @initialize(seed=st.integers(0, 2**32 - 1), together=st.booleans(), settled=st.booleans())
    def begin(self, seed: int, together: bool, settled: bool) -> None:
        self.machines = Machines(seed)
        self.together = together
        for name in NAMES:
            self.machines.add(name)
        for each in self.all[: 4 if together else 2]:
            self.start(each)
        if settled:
            self.machines.run(CALM_S + 20)

    @property
    def all(self) -> list[Machine]:
        return list(self.machines.all.values())

    def start(self, machine: Machine, *, late: bool = False) -> None:
        self.disturb()
        others = [each for each in self.all if each is not machine]
        if not self.together and (machine.name not in self.lost_disks or machine.flooded):
            others = others[: self.all.index(machine)]
        self.machines.launch(machine, *others, late=late)

    def disturb(self) -> None:
        self.disturbed_at = self.machines.now

    def calm(self) -> bool:
        return self.machines.now - self.disturbed_at > CALM_S

    def up(self, number: int) -> Machine | None:
        machine = self.all[number]
        return machine if machine.daemon is not None and machine.daemon.ready else None

    def everybody_is_there(self) -> bool:
        """Whether all that have not gone for good are connected, and were for long."""
        there = [each for each in self.all if each.name not in self.gone]
        return (
            self.calm()
            and not self.machines.world._sides
            and all(each.daemon is not None and each.daemon.ready for each in there)
        )

    # Containers.

    @rule(number=numbers, spelled=SPELLINGS)
    def attach(self, number: int, spelled: str) -> None:
        if machine := self.up(number):
            task = self.machines.loop.create_task(self.attaching(machine, spelled))
            self.pending[task] = machine
            self.machines.run(0.0005)

    @rule(numbers_=st.lists(numbers, min_size=2, max_size=8), spelled=SPELLINGS)
    def attach_many_at_once(self, numbers_: list[int], spelled: str) -> None:
        for number in numbers_:
            if machine := self.up(number):
                self.pending[self.machines.loop.create_task(self.attaching(machine, spelled))] = machine
        self.machines.run(0.0005)

    @rule(number=numbers, host=st.integers(1, 6), block=st.sampled_from(["10.2.0.", "10.2.1."]))
    def attach_by_number(self, number: int, host: int, block: str) -> None:
        if machine := self.up(number):
            self.machines.do(self.attaching(machine, f"{block}{host}"))

    @rule(
        numbers_=st.lists(numbers, min_size=2, max_size=4),
        host=st.integers(1, 6),
        block=st.sampled_from(["10.2.0.", "10.2.1."]),
        crowd=st.booleans(),
    )
    def attach_by_number_at_once(self, numbers_: list[int], host: int, block: str, crowd: bool) -> None:
        """Several want one address, maybe while others take what is free around it."""
        work = [(number, f"{block}{host}") for number in numbers_]
        work += [(number, f"net:{block}0/29") for number in numbers_ if crowd]
        for number, spelled in work:
            if machine := self.up(number):
                self.pending[self.machines.loop.create_task(self.attaching(machine, spelled))] = machine
        self.machines.run(0.0005)

    async def attaching(self, machine: Machine, spelled: str, *, again: bool = True) -> None:
        was_calm = self.calm()
        owner = self.owner_there(machine, spelled)
        try:
            found = await self.machines.obtain(machine, f"{machine.name}{next(self.holders)}", spelled)
            if found.explicit and not self.machines.owns(machine, found.interface.ip):
                assert not (was_calm and self.calm() and owner), f"{owner} was not asked for {found}"
                self.by_claim.add(found.holder)
            self.check(found)
        except AddressInUseError:
            return
        except NoAddressError:
            subnet = IPv4Network(spelled.removeprefix("net:") or "10.2.0.0/23")
            rich = [each.name for each in self.neighbours(machine) if self.has_free(each, subnet)]
            if not rich or not was_calm or not self.calm():
                return
            if not again:
                raise
            # What was freed just now need not be known here yet.
            await asyncio.sleep(1.0)
            await self.attaching(machine, spelled, again=False)

    def owner_there(self, machine: Machine, spelled: str) -> str:
        """Who could give a machine the address that is asked for by number."""
        if not spelled or spelled.startswith("net:"):
            return ""
        owner = self.machines.owner(machine, IPv4Address(spelled))
        there = [each.daemon.sharing._keeper.me for each in self.neighbours(machine) if each.daemon is not None]
        return owner.name if owner in there and owner is not None else ""

    def neighbours(self, machine: Machine) -> list[Machine]:
        return [
            each
            for number, each in enumerate(self.all)
            if each is not machine
            and self.up(number)
            and self.machines.world._sides.get(each.addr[0]) == self.machines.world._sides.get(machine.addr[0])
        ]

    def has_free(self, machine: Machine, subnet: IPv4Network) -> bool:
        daemon = machine.daemon
        return daemon is not None and daemon.sharing.allocator.has_free(subnet, self.machines.now)

    def check(self, new: Container) -> None:
        """An address was given out: nobody else has it, unless a person made it so."""
        for other in self.containers():
            if other is new or other.interface.ip != new.interface.ip:
                continue
            by_number = self.is_by_claim(new) or self.is_by_claim(other)
            assert by_number or self.reckless, f"{new} and {other}"

    def is_by_claim(self, container: Container) -> bool:
        """Whether a container's address has been its host's by a claim alone ever since."""
        machine = self.machines.all[container.machine]
        if (
            machine.daemon is not None
            and machine.daemon.ready
            and self.machines.owns(machine, container.interface.ip)
        ):
            self.by_claim.discard(container.holder)
        return container.holder in self.by_claim

    def containers(self) -> list[Container]:
        return [each for machine in self.all for each in machine.containers.values()]

    @rule(number=numbers, which=st.integers(0, 100))
    def remove(self, number: int, which: int) -> None:
        machine = self.all[number]
        if machine.containers:
            self.machines.remove(machine, sorted(machine.containers)[which % len(machine.containers)])

    # Machines and network.

    @rule(seconds=st.sampled_from([0.0007, 0.005, 0.3, 2.0, 12.0]))
    def wait(self, seconds: float) -> None:
        self.machines.run(seconds)

    @rule()
    def wait_long(self) -> None:
        self.machines.run(CALM_S + 20)

    @rule(number=numbers, disk=st.booleans(), boot=st.booleans())
    def crash(self, number: int, disk: bool, boot: bool) -> None:
        machine = self.all[number]
        if machine.daemon is not None:
            self.kill(machine)
            if not disk:
                self.machines.lose_disk(machine)
                self.lost_disks.add(machine.name)
            if boot:
                self.machines.reboot(machine)

    def kill(self, machine: Machine, how: Callable[[Machine], None] | None = None) -> None:
        self.disturb()
        for task in [task for task, whose in self.pending.items() if whose is machine]:
            task.cancel()
            del self.pending[task]
        (how or self.machines.crash)(machine)

    @rule(number=numbers)
    def stop(self, number: int) -> None:
        """As `weavedns stop`: the others are told, and the containers run on."""
        machine = self.all[number]
        if machine.daemon is not None:
            self.kill(machine, self.machines.stop)

    @rule(number=numbers, late=st.booleans())
    def launch(self, number: int, late: bool) -> None:
        machine = self.all[number]
        if machine.daemon is None and machine.name not in self.gone:
            self.start(machine, late=late)

    @precondition(lambda self: not self.machines.world._sides)
    @rule(giver=numbers, taker=numbers, spelled=SPELLINGS, after_s=st.sampled_from([0.001, 0.002, 0.004, 0.01, 0.5]))
    def fail_while_giving(self, giver: int, taker: int, spelled: str, after_s: float) -> None:
        """Whoever may give crashes then, comes back alone, and has containers of its own."""
        one, other = self.up(giver), self.up(taker)
        if one is None or other is None or one is other:
            return
        for _ in range(3):
            self.pending[self.machines.loop.create_task(self.attaching(other, spelled))] = other
        self.machines.run(after_s)
        self.kill(one)
        self.machines.split([one], [each for each in self.all if each is not one])
        self.start(one)
        self.machines.run(4.0)
        if self.up(giver):
            for _ in range(3):
                self.pending[self.machines.loop.create_task(self.attaching(one, spelled))] = one
            self.machines.run(0.1)

    @rule(side=st.sets(numbers, min_size=1, max_size=len(NAMES) - 1))
    def split(self, side: set[int]) -> None:
        self.disturb()
        self.machines.split(
            [each for number, each in enumerate(self.all) if number in side],
            [each for number, each in enumerate(self.all) if number not in side],
        )

    @precondition(lambda self: self.machines.world._sides)
    @rule()
    def heal(self) -> None:
        self.disturb()
        self.machines.heal()

    # Operators.

    @precondition(lambda self: len(self.gone) < 2)
    @rule(number=numbers)
    def scrap(self, number: int) -> None:
        """A machine that never returns."""
        machine = self.all[number]
        if machine.daemon is not None:
            self.kill(machine)
            self.machines.reboot(machine)
            self.gone.add(machine.name)

    @rule(number=numbers, whose=numbers)
    def take_over(self, number: int, whose: int) -> None:
        machine = self.up(number)
        if machine is None or machine.daemon is None:
            return
        name = NAMES[whose]
        safe = self.everybody_is_there() and (name in self.gone or name == machine.name)
        try:
            taken = self.machines.do(machine.daemon.sharing.take_over(name))
        except (RingError, PeerError):
            return
        assert taken > 0
        self.reckless |= not safe

    def teardown(self) -> None:
        if not hasattr(self, "machines"):
            return
        try:
            self.finish()
        finally:
            self.machines.close()

    def finish(self) -> None:
        """When all is well again: one ring, everybody has what it had, conflicts are told, and nobody wants."""
        machines = self.machines
        machines.heal()
        for each in self.all:
            if each.daemon is None and each.name not in self.gone:
                self.start(each)
        there = [each for each in self.all if each.name not in self.gone]
        machines.run(CALM_S)
        if self.gone and not any(each.daemon and each.daemon.sharing.ready for each in there) and there[0].daemon:
            # Those named at launch will not all be there: a person decides.
            machines.do(there[0].daemon.sharing.seed())
        machines.run_until(lambda: all(each.daemon and each.daemon.ready for each in there), 90.0)
        machines.run(20.0)
        rings = {each.daemon.sharing._keeper.ring.update() for each in there if each.daemon}
        assert len(rings) <= 1, [each.daemon.sharing.status() for each in there if each.daemon]
        for task in list(self.pending):
            assert task.done()
            task.result()
        self.all_is_told(there)
        self.nobody_wants(there)

    def all_is_told(self, there: list[Machine]) -> None:
        users: dict[IPv4Address, list[Container]] = defaultdict(list)
        for each in self.containers():
            users[each.interface.ip].append(each)
        for machine in there:
            assert machine.daemon is not None
            sharing = machine.daemon.sharing
            troubles = sharing.status().troubles
            for each in machine.containers.values():
                assert each.interface in sharing.allocator.in_use(each.holder)
                for other in users[each.interface.ip]:
                    if other is not each:
                        told = f"container {other.holder} ({other.holder}) on host {other.machine}"
                        assert any(str(each.interface.ip) in line and told in line for line in troubles)
        carried = [ip for machine in there for ip in machine.carried]
        assert len(carried) == len(set(carried)) or self.reckless

    def nobody_wants(self, there: list[Machine]) -> None:
        for machine in there:
            for spelled in ["", *SMALL]:
                subnet = IPv4Network(spelled.removeprefix("net:") or "10.2.0.0/23")
                if any(self.has_free(each, subnet) for each in there):
                    self.check(
                        self.machines.do(
                            self.machines.obtain(machine, f"{machine.name}{next(self.holders)}", spelled)
                        )
                    )


@pytest.fixture
def machines(caplog: pytest.LogCaptureFixture) -> Iterator[Machines]:
    caplog.set_level(logging.CRITICAL)
    made = Machines(1)
    yield made
    made.close()


def launch(machines: Machines, *named_first: str) -> list[Machine]:
    """The first is launched alone, the others name it; done when all have what they need to attach containers."""
    made = [machines.add(name) for name in named_first]
    machines.launch(made[0])
    for each in made[1:]:
        machines.launch(each, made[0])
    ready(machines, *made)
    machines.run(10.0)
    return made


def ready(machines: Machines, *which: Machine) -> None:
    machines.run_until(lambda: all(each.daemon and each.daemon.ready for each in which), 60.0)


def addresses(*which: Machine) -> list[IPv4Address]:
    return [each.interface.ip for machine in which for each in machine.containers.values()]


async def fill(machines: Machines, machine: Machine, spelled: str) -> None:
    """Attach containers for as long as the machine itself has addresses to give out."""
    daemon = machine.daemon
    assert daemon is not None
    while daemon.sharing.allocator.has_free(IPv4Network(spelled.removeprefix("net:")), machines.now):
        await machines.obtain(machine, f"{machine.name}{len(machine.containers)}", spelled)


@pytest.mark.parametrize("after_s", [0.0012, 0.002, 0.004, 0.005, 0.006, 0.01, 0.1])
def test_a_gift_on_its_way_when_its_giver_crashes_is_not_given_again(machines: Machines, after_s: float) -> None:
    a, b = launch(machines, "a", "b")
    taking = machines.loop.create_task(machines.obtain(b, "b0", SMALL[0]))
    machines.run(after_s)
    machines.crash(a)
    machines.split([a], [b])
    machines.launch(a)
    ready(machines, a)
    machines.do(fill(machines, a, SMALL[0]))
    machines.do(fill(machines, b, SMALL[0]))
    machines.heal()
    machines.run(60.0)
    taking.cancel()
    assert len(set(addresses(a, b))) == len(addresses(a, b))


def test_a_founder_that_lost_its_ring_does_not_found_another_one_alone(machines: Machines) -> None:
    a, b = launch(machines, "a", "b")
    for reboot in (False, True):
        machines.crash(a)
        machines.split([a], [b])
        del machines.disks[a.state_dir / "ring"]
        if reboot:
            # The kernel has forgotten the others too; the file beside the ring has not.
            machines.reboot(a)
        machines.launch(a)
        machines.run(20.0)
        assert a.daemon is not None
        assert not a.daemon.sharing.ready
        assert "waiting for 10.99.0.2:6783" in a.daemon.sharing.waits_for(Wanted(IPv4Network("10.2.0.0/29"), ()))
        machines.heal()
        machines.run_until(lambda: bool(a.daemon and a.daemon.sharing.ready), 60.0)
        assert a.daemon.sharing.status().founder == "a"
        assert any(share.lost for share in a.daemon.sharing.status().shares)


def test_what_a_late_engine_has_not_shown_yet_is_not_given_away(machines: Machines) -> None:
    a, b = launch(machines, "a", "b")
    for number in range(4):
        machines.do(machines.obtain(a, f"a{number}", SMALL[0]))
    machines.crash(a)
    machines.launch(a, late=True)
    taken = [machines.do(machines.obtain(b, f"b{number}", SMALL[0])) for number in range(2)]
    assert len({*addresses(a), *(each.interface.ip for each in taken)}) == 6


def test_peers_that_were_rebooted_find_each_other_without_the_one_that_was_named(machines: Machines) -> None:
    a, b, c = launch(machines, "a", "b", "c")
    for each in (a, b, c):
        machines.crash(each)
        machines.reboot(each)
    for each in (b, c):
        machines.launch(each, a)
    machines.run_until(lambda: bool(b.daemon and b.daemon.live() and c.daemon and c.daemon.live()), 60.0)
    for each in (b, c):
        machines.do(machines.obtain(each, each.name))
    assert len(set(addresses(b, c))) == 2


def test_a_peer_that_is_away_for_long_is_remembered_until_it_is_forgotten_by_hand(machines: Machines) -> None:
    a, b, c = launch(machines, "a", "b", "c")
    assert set(machines.disks[a.state_dir / "peers"]) == {b.addr, c.addr}
    for each in (b, c):
        machines.crash(each)
    machines.run(20.0)
    assert a.daemon is not None
    assert a.daemon.hosts.cluster is not None
    a.daemon.hosts.cluster.forget("c")
    machines.run(2400.0)
    assert a.daemon.hosts.cluster.peers() == []
    assert machines.disks[a.state_dir / "peers"] == (b.addr,)


def obtained_again(machines: Machines, machine: Machine, taken: Container) -> bool:
    """Whether a machine gives an address out although a container elsewhere has it; all are together in the end."""
    machines.do(fill(machines, machine, SMALL[0]))
    machines.heal()
    machines.run(CALM_S)
    return taken.interface.ip in addresses(machine)


def test_an_address_asked_for_by_number_is_not_given_out_when_its_user_was_away_for_long(machines: Machines) -> None:
    a, b = launch(machines, "a", "b")
    taken = machines.do(machines.obtain(b, "b0", "10.2.0.2/23"))
    machines.run(5.0)
    machines.split([a], [b])
    machines.run(32 * 60.0)
    assert a.daemon is not None
    assert a.daemon.hosts.cluster is not None
    assert a.daemon.hosts.cluster.peers() == []
    assert not obtained_again(machines, a, taken)


def test_an_address_asked_for_by_number_is_not_given_out_while_its_user_has_left(machines: Machines) -> None:
    a, b = launch(machines, "a", "b")
    taken = machines.do(machines.obtain(b, "b0", "10.2.0.2/23"))
    machines.run(5.0)
    machines.stop(b)
    machines.run(5.0)
    assert not obtained_again(machines, a, taken)
    machines.launch(b, a)
    ready(machines, b)
    machines.run(10.0)
    for each in (a, b):
        assert each.daemon is not None
        assert each.daemon.sharing.status().troubles == ()


@pytest.mark.parametrize("beside", [(), ("c",)])
def test_an_address_asked_for_by_number_is_not_given_out_by_an_owner_that_restarts_alone(
    machines: Machines, beside: tuple[str, ...]
) -> None:
    a, b, *others = launch(machines, "a", "b", *beside)
    taken = machines.do(machines.obtain(b, "b0", "10.2.0.2/23"))
    machines.run(5.0)
    machines.split([a, *others], [b])
    machines.run(20.0)
    machines.crash(a)
    machines.launch(a)
    ready(machines, a)
    machines.run(10.0)
    assert not obtained_again(machines, a, taken)


@pytest.mark.parametrize("askers", ["ab", "bc"])
def test_of_two_that_ask_for_an_address_by_number_at_once_one_has_it(machines: Machines, askers: str) -> None:
    launch(machines, "a", "b", "c")
    work = [machines.obtain(machines.all[name], f"{name}0", "10.2.0.9/23") for name in askers]

    async def both() -> list[Container | BaseException]:
        return await asyncio.gather(*work, return_exceptions=True)

    found = machines.do(both())
    (has,) = [each for each in found if isinstance(each, Container)]
    (refused,) = [each for each in found if isinstance(each, AddressInUseError)]
    assert f"container {has.holder} ({has.holder}) on host {has.machine}" in str(refused)


def test_an_address_claimed_while_its_owner_was_away_is_had_from_it_when_it_is_back(machines: Machines) -> None:
    a, b = launch(machines, "a", "b")
    machines.crash(a)
    machines.run(20.0)
    taken = machines.do(machines.obtain(b, "b0", "10.2.0.2/23"))
    assert not machines.owns(b, taken.interface.ip)
    machines.launch(a, b)
    ready(machines, a)
    machines.run(10.0)
    assert machines.owns(b, taken.interface.ip)
    machines.stop(b)
    assert not obtained_again(machines, a, taken)


def test_an_owner_that_was_killed_just_now_is_not_waited_for_long(machines: Machines) -> None:
    a, b = launch(machines, "a", "b")
    machines.split([a], [b])
    before = machines.now
    machines.do(machines.obtain(b, "b0", "10.2.0.2/23"))
    assert machines.now - before < 3.1


def test_two_hosts_launched_apart_with_one_dns_address_are_told_loudly(machines: Machines) -> None:
    a, b = launch(machines, "a", "b")
    for each in (a, b):
        machines.crash(each)
    machines.split([a], [b])
    for each in (a, b):
        machines.launch(each, dns_address="10.2.1.230")
    ready(machines, a, b)
    machines.heal()
    machines.run(CALM_S)
    told = "10.2.1.230 is in use by the DNS server of host {} and by the DNS server of host {}"
    for each, other in ((a, b), (b, a)):
        assert each.daemon is not None
        assert each.carried == [IPv4Address("10.2.1.230")]
        assert any(told.format(each.name, other.name) in line for line in each.daemon.sharing.status().troubles)


def test_a_dns_address_that_another_peer_has_is_refused_when_that_is_there(machines: Machines) -> None:
    a, b = launch(machines, "a", "b")
    machines.crash(b)
    machines.reboot(b)
    machines.launch(b, a, dns_address=str(a.carried[0]))
    with pytest.raises(ExceptionGroup) as raised:
        machines.run(20.0)
    # Its daemon ended so; there is nothing left of it to be ended.
    b.daemon = None
    assert "in use by the DNS server of host a" in str(innermost(raised.value))


def test_whatever_happens_no_address_is_given_out_twice_and_nobody_wants(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    run_state_machine_as_test(
        Sharing,
        settings=settings(
            max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
