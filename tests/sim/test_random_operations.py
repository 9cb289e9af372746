"""Many operations in an order that nobody thought of."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from tests.sim.invariants import Invariants
from tests.sim.world import Host, Weather, World, agree, answers, record
from weavedns.gossip.core import Config
from weavedns.records.log import FactKind
from weavedns.records.record import Record

WEATHERS = [
    Weather(),
    Weather(loss=0.1, double=0.1),
    Weather(loss=0.3, overtaken=0.3),
    Weather(double=0.3, overtaken=0.5, detour_s=0.3),
]


def test_thirty_peers_of_which_five_lose_packets_agree_after_eight_hundred_operations() -> None:
    world = World(1)
    hosts = world.add_acquainted(30)
    invariants = Invariants(world)
    world.lossy = {host.addr[0]: 0.3 for host in hosts[:5]}
    for step in range(800):
        host = world.rng.choice(hosts)
        known = list(host.catalog.own.records())
        if known and world.rng.random() < 0.4:
            world.take(host, world.rng.choice(known))
        else:
            number = world.rng.randrange(20)
            world.put(host, record(host.name, f"n{number}", step, ttl_s=world.rng.choice([1, 60])))
        world.run(world.rng.random() * 0.02)
    world.run_until(lambda: agree(hosts), 20.0, 0.05)
    assert all(answers(host) == answers(hosts[0]) for host in hosts)
    assert invariants.checks > 10_000


class Cluster(RuleBasedStateMachine):
    """Hosts that change records, fail and return, on a network that does all it can."""

    size = 4

    def __init__(self) -> None:
        super().__init__()
        self.world = World(0)
        self.left: set[str] = set()

    @initialize(seed=st.integers(0, 2**32 - 1), weather=st.sampled_from(WEATHERS))
    def begin(self, seed: int, weather: Weather) -> None:
        self.world = World(seed, weather=weather)
        self.world.add_acquainted(self.size)
        addrs = tuple(host.addr for host in self.hosts)
        for host in self.hosts:
            # With what each was launched, when it starts again.
            host.config = Config(host.name, host.addr[0], host.addr[1], seeds=addrs)
        Invariants(self.world)

    @property
    def hosts(self) -> list[Host]:
        return list(self.world.hosts.values())

    def _host(self, number: int) -> Host | None:
        host = self.hosts[number]
        return host if host.up and not host.paused and host.name not in self.left else None

    numbers = st.integers(0, size - 1)

    @rule(number=numbers, name=st.integers(0, 4), ttl_s=st.integers(1, 2))
    def put(self, number: int, name: int, ttl_s: int) -> None:
        if host := self._host(number):
            self.world.put(host, record(host.name, f"n{name}", name, ttl_s=ttl_s))

    @rule(number=numbers, name=st.integers(0, 4))
    def take(self, number: int, name: int) -> None:
        if host := self._host(number):
            self.world.take(host, record(host.name, f"n{name}", name))

    @rule(number=numbers, data=st.binary(max_size=3))
    def tell(self, number: int, data: bytes) -> None:
        if host := self._host(number):
            self.world.do(host, lambda catalog: catalog.tell(FactKind.PEER, b"nickname", data))

    @rule(number=numbers, count=st.integers(500, 700))
    def put_many(self, number: int, count: int) -> None:
        if host := self._host(number):
            self.world.put(host, *(record(host.name, f"many{each}", each, holder="c2") for each in range(count)))

    @rule(seconds=st.sampled_from([0.001, 0.03, 0.5, 4.0]))
    def wait(self, seconds: float) -> None:
        self.world.run(seconds)

    @rule(number=numbers)
    def pause(self, number: int) -> None:
        if host := self._host(number):
            self.world.pause(host)

    @rule(number=numbers)
    def resume(self, number: int) -> None:
        if self.hosts[number].paused:
            self.world.resume(self.hosts[number])

    @rule(number=numbers)
    def crash(self, number: int) -> None:
        if host := self._host(number):
            self.world.crash(host)

    @rule(number=numbers, keep=st.booleans(), back_ms=st.sampled_from([0, 60_000]))
    def restart(self, number: int, keep: bool, back_ms: int) -> None:
        host = self.hosts[number]
        if not host.up or host.name in self.left:
            self.left.discard(host.name)
            self.world.restart(host, self._kept(host) if keep else (), clock_back_ms=back_ms)

    @rule(number=numbers)
    def leave(self, number: int) -> None:
        if host := self._host(number):
            self.world.leave(host)
            self.left.add(host.name)

    @precondition(lambda self: not self.world._sides)
    @rule(cut=st.integers(1, size - 1))
    def split(self, cut: int) -> None:
        self.world.split(self.hosts[:cut], self.hosts[cut:])

    @rule()
    def heal(self) -> None:
        self.world.heal()

    def teardown(self) -> None:
        """After healing and quiet, all peers are equal."""
        if not self.world.hosts:
            return
        self.world.heal()
        self.world.weather = Weather()
        for host in self.hosts:
            if host.paused:
                self.world.resume(host)
            if not host.up or host.name in self.left:
                self.world.restart(host, self._kept(host))
        self.world.run_until(lambda: agree(self.hosts), 120.0, 0.25)
        assert all(answers(host) == answers(self.hosts[0]) for host in self.hosts)

    @staticmethod
    def _kept(host: Host) -> list[Record]:
        return list(host.catalog.own.records())


def test_whatever_happens_owners_are_not_contradicted_and_peers_agree_in_the_end() -> None:
    run_state_machine_as_test(
        Cluster,
        settings=settings(
            max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
