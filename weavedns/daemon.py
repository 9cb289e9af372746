"""The composition root: builds every part, starts them in order, stops them in reverse. Holds no rule."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import sys
import time
from collections.abc import Collection, Coroutine
from functools import partial
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

from weavedns import __version__, ownname, process
from weavedns.added import AddedStore
from weavedns.cluster.hosts import Hosts
from weavedns.cluster.reach import Reach
from weavedns.config import Settings
from weavedns.containers.engine import Engine
from weavedns.containers.neighbours import Neighbours
from weavedns.containers.roster import Roster
from weavedns.containers.service import ContainerService, Rules
from weavedns.control import api, peers, status_page
from weavedns.control.operations import Operations, Parts
from weavedns.dns.access import Access
from weavedns.dns.answers import Answers, Zone
from weavedns.dns.server import DnsServer
from weavedns.dns.upstream import DNS_PORT, Upstreams, parse_resolv_conf
from weavedns.errors import PeerError, WeaveError, innermost
from weavedns.records import names
from weavedns.records.catalog import Catalog, Change
from weavedns.registry import Registry
from weavedns.turns import Turns
from weavedns.zones import ZoneWatcher
from weavenet.attach import Attacher
from weavenet.network import WeaveNetwork
from weavenet.sharing import Sharing

log = logging.getLogger(__name__)

RESOLV_CONF = Path("/etc/resolv.conf")
RESOLV_CONF_EVERY_S = 2.0
THREAD_SWITCH_S = 0.0005
# Python's collector of cycles looks at so many new objects at once, a millisecond's work, and at older ones after 500
# times as many. Its usual 10 times let it look at tables of 100,000 records again and again while they are taken in.
COLLECT_AFTER = (2_000, 500, 50)
# How long names that are being recovered may hold back the first answer.
RECOVERY_S = 5.0
# The same while containers are attached and the engine does not say which, as when both are restarted.
ENGINE_S = 30.0
# How long a new peer waits for an address before it says so.
PATIENCE_S = 3.0


class Daemon:
    """One daemon with its parts; `run` serves until it is told to stop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stopped = asyncio.Event()
        self._failure: WeaveError | None = None
        self._catalog = Catalog(settings.name, limit=settings.max_peer_records)
        self._answers = Answers(
            Zone(
                domain=settings.domain,
                weave_range=settings.weave_range,
                ns=ownname.ns_name(settings.domain),
                ttl_s=settings.ttl_s,
            ),
            self._catalog,
        )
        self._access = Access(askers=settings.allow_query)
        self._forward_for(())
        self._upstreams = Upstreams(settings.upstream, settings.forward)
        self._neighbours = Neighbours(settings.weave_range, settings.dns_subnet)
        turns = Turns(self._answer_waiting)
        self._dns = DnsServer(
            self._answers,
            self._access,
            self._upstreams,
            peer=settings.name,
            private=self._neighbours if settings.network else None,
            awaited=turns.busy,
        )
        self._store = AddedStore(
            settings.state_dir / "added.zone",
            owner=settings.name,
            domain=settings.domain,
            default_ttl_s=settings.ttl_s,
        )
        self._registry = Registry(
            self._catalog,
            self._store,
            owner=settings.name,
            domain=settings.domain,
            default_ttl_s=settings.ttl_s,
            publish=self._publish,
            republish=self._republish,
        )
        self._roster = Roster(
            self._catalog,
            self._neighbours,
            owner=settings.name,
            publish=self._publish,
            names_by_hand=self._registry.names_of,
        )
        self._zones = ZoneWatcher(
            settings.zones,
            self._catalog,
            self._publish,
            turns,
            owner=settings.name,
            domain=settings.domain,
            default_ttl_s=settings.ttl_s,
        )
        self._hosts = Hosts(settings, self._catalog, turns, publish=self._answers.apply, lost_name=self._fail)
        self._hosts.answer_with(peers.REMOVE, partial(peers.removed_for, self._registry))
        self._network: WeaveNetwork | None = None
        self._containers: ContainerService | None = None
        self._tasks: asyncio.TaskGroup
        self._attacher: Attacher
        self._reach: Reach
        self._running: set[asyncio.Task[None]] = set()
        self._keeping: asyncio.Task[None] | None = None

    def _answer_waiting(self) -> bool:
        return self._dns.answer_waiting()

    async def run(self) -> None:
        """Start everything, serve until a signal or `stop`, and end in reverse order.

        Raises a WeaveError or WeaveNetError when a part cannot start; what had been started is undone then.
        """
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._stopped.set)
        loop.add_signal_handler(signal.SIGTERM, self._end_for_a_restart)
        async with contextlib.AsyncExitStack() as parts:
            await self._start(parts)
            await self._stopped.wait()
            process.notify("STOPPING=1")
            log.info("stopping")
        if self._failure is not None:
            raise self._failure

    async def _start(self, parts: contextlib.AsyncExitStack) -> None:
        settings = self._settings
        # The socket early: it tells at once whether another daemon owns this host.
        listener = api.bind(settings.socket)
        parts.callback(api.release, listener, settings.socket)
        parts.push_async_callback(self._store.close)
        await self._registry.load()
        await self._zones.poll()
        operations = Operations(self._parts())
        if settings.network and not await self._start_network(parts, operations, listener):
            return
        own = ownname.records(settings, self._network.dns_address if self._network else None)
        self._publish(self._catalog.replace(ownname.HOLDER, own))
        parts.push_async_callback(self._dns.close)
        for host, port in self._dns_addresses():
            await self._dns.listen(host, port)
        operations.go_on_with(self._parts())
        if settings.http:
            await parts.enter_async_context(status_page.serve(operations, *settings.http))
        self._tasks = await parts.enter_async_context(asyncio.TaskGroup())
        parts.callback(self._cancel_tasks)
        self._in_background(self._zones.follow())
        if not settings.upstream:
            self._in_background(self._follow_resolv_conf())
        if self._containers and self._network:
            await self._find_containers(self._containers, self._network, parts)
        await self._hosts.join(parts)
        await self._hosts.caught_up()
        await self._dns.start()
        self._hosts.serves()
        await parts.enter_async_context(api.serve(operations, listener))
        self._tell()

    async def _start_network(
        self, parts: contextlib.AsyncExitStack, operations: Operations, listener: socket.socket
    ) -> bool:
        """Make the network; False when the daemon was stopped while others had yet to give it an address."""
        settings = self._settings
        parts.callback(process.claim_host().close)
        network = WeaveNetwork(
            weave_range=settings.weave_range, dns_subnet=settings.dns_subnet, dns_address=settings.dns_address
        )
        # First, as it shows whether there can be a network here at all.
        carried = await network.carried()
        sharing = await self._hosts.open_sharing(parts, network)
        dns_address = await self._dns_address(sharing, carried, parts, operations, listener)
        if dns_address is None:
            return False
        # What an earlier launch left goes on; on a host that is alone there is none.
        await network.reach_out(settings.overlay_port, anew=bool(settings.peers))
        self._network = network
        if await network.up(dns_address):
            # Made by this launch: if a later part cannot start, it must not stay behind.
            parts.push_async_exit(self._undo_network)
        reach = self._reach = self._hosts.reach(network)
        attacher = Attacher(
            network,
            sharing.allocator,
            domain=names.render(settings.domain),
            nameservers=reach.nameservers,
            addresses_from=sharing,
        )
        parts.push_async_callback(attacher.close)
        self._attacher = attacher
        engine = Engine()
        parts.push_async_callback(engine.close)
        self._containers = ContainerService(
            engine,
            attacher,
            self._roster,
            Rules(settings.domain, settings.attach, settings.ttl_s),
            removed=self._container_removed,
            forward_for=self._forward_for,
            ready=self._hosts.ready,
        )
        return True

    async def _dns_address(
        self,
        sharing: Sharing,
        carried: Collection[IPv4Address],
        parts: contextlib.AsyncExitStack,
        operations: Operations,
        listener: socket.socket,
    ) -> IPv4Address | None:
        """This peer's DNS address; a new peer has it given by others, and answers commands meanwhile."""
        if found := await self._hosts.claim_dns(parts, carried):
            return found
        # Its containers have no addresses of ours, as there is no bridge.
        sharing.recovered()
        operations.go_on_with(self._parts())
        await self._hosts.join(parts)
        giving = asyncio.create_task(sharing.dns_address(self._settings.dns_address, carried))
        stopped = asyncio.create_task(self._stopped.wait())
        try:
            await asyncio.wait({giving, stopped}, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
            if not giving.done() and not stopped.done():
                log.warning("%s", self._waits_for())
                async with api.serve(operations, listener):
                    await asyncio.wait({giving, stopped}, return_when=asyncio.FIRST_COMPLETED)
            return giving.result() if giving.done() else None
        finally:
            giving.cancel()
            stopped.cancel()

    async def _find_containers(
        self, containers: ContainerService, network: WeaveNetwork, parts: contextlib.AsyncExitStack
    ) -> None:
        """Start to look after containers, and join the other peers once those that had addresses are known again."""
        self._keeping = self._in_background(network.keep())
        self._in_background(containers.run())
        # Whose interfaces are on the bridge, and which addresses they have, only the engine tells.
        attached = bool(await network.ports())
        known = containers.recovered if attached else containers.found
        self._in_background(self._give_when(known))
        self._in_background(self._reach.follow(self._attacher))
        # A restart must not answer "no such name" for containers that it is still finding again: until then queries
        # wait in the sockets, and other peers answer with what they knew.
        await self._within(ENGINE_S if attached else RECOVERY_S, known)
        if not known.is_set():
            log.warning("no engine tells which containers are attached: their names are not answered until one does")
        await self._hosts.join(parts)
        await self._within(RECOVERY_S, containers.settled)

    async def _give_when(self, known: asyncio.Event) -> None:
        await known.wait()
        if self._hosts.sharing:
            self._hosts.sharing.recovered()

    async def _within(self, seconds: float, event: asyncio.Event) -> None:
        """Wait for an event, but no longer than this, nor for more than the daemon's end."""
        either = [asyncio.create_task(each.wait()) for each in (event, self._stopped)]
        try:
            await asyncio.wait(either, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in either:
                task.cancel()

    def _fail(self, why: str) -> None:
        # There is nothing that this peer can do by that name.
        self._failure = self._failure or PeerError(why)
        self._stopped.set()

    def _end_for_a_restart(self) -> None:
        # Service managers end a daemon so when it is to be started again: its names stay answered.
        self._hosts.end_for_a_restart()
        self._stopped.set()

    def _waits_for(self) -> str:
        """Why there is no network part yet; empty when there is, or is to be none."""
        return "" if self._network or not self._hosts.sharing else self._hosts.sharing.waits_for_dns()

    def _in_background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do something for as long as the daemon runs; if it fails, so does the daemon, loudly."""
        task = self._tasks.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    def _cancel_tasks(self) -> None:
        for task in self._running:
            task.cancel()

    async def _undo_network(self, kind: Any, *_: object) -> None:
        if kind is not None and self._network is not None:
            await self._network.down()

    def _parts(self) -> Parts:
        return Parts(
            settings=self._settings,
            catalog=self._catalog,
            dns=self._dns,
            registry=self._registry,
            zones=self._zones,
            containers=self._containers,
            dns_address=self._network.dns_address if self._network else None,
            started_at=time.monotonic(),
            upstreams=self._upstreams,
            stop=self._stop,
            cluster=self._hosts.cluster,
            sharing=self._hosts.sharing,
            network=self._network,
            waits_for=self._waits_for,
        )

    def _dns_addresses(self) -> list[tuple[str, int]]:
        own = [(str(self._network.dns_address), 53)] if self._network else []
        return list(dict.fromkeys([*own, *self._settings.listen]))

    def _publish(self, changes: list[Change]) -> None:
        self._answers.apply(changes)
        self._hosts.publish()

    def _republish(self, container_id: str) -> None:
        self._roster.republish(container_id)

    def _container_removed(self, container_id: str) -> None:
        self._in_background(self._registry.forget_container(container_id))

    def _forward_for(self, subnets: Collection[IPv4Network | IPv6Network]) -> None:
        local = [self._settings.weave_range, *subnets] if self._settings.allow_forward_local else []
        self._access.allow([*self._settings.allow_forward, *local])

    async def _follow_resolv_conf(self) -> None:
        own = {host for host, port in self._dns_addresses() if port == DNS_PORT}
        seen: str | None = None
        while True:
            text = await asyncio.to_thread(process.read_text, RESOLV_CONF)
            if text != seen:
                seen = text
                servers = parse_resolv_conf(text, own)
                # A file without servers is being written, or the host is off line: the servers that we know then
                # fail by themselves, and what they said last is still given.
                if servers and self._upstreams.replace(servers):
                    self._dns.upstreams_changed()
            await asyncio.sleep(RESOLV_CONF_EVERY_S)

    async def _stop(self, clean: bool) -> None:
        if clean and self._containers and self._network:
            await self._containers.detach_all()
            if self._keeping:
                self._keeping.cancel()
            await self._network.down()
            await self._hosts.forget_others()
        # The answer to the command goes out before the socket closes.
        asyncio.get_running_loop().call_later(0.05, self._stopped.set)

    def _tell(self) -> None:
        # What is here by now stays: Python's collector of cycles need not look through all of it again and again,
        # while queries wait.
        gc.freeze()
        process.notify("READY=1")
        settings = self._settings
        where = ", ".join(f"{host} port {port}" for host, port in self._dns_addresses())
        print(f"weavedns {__version__} serves {names.render(settings.domain)} on {where}", flush=True)  # noqa: T201


def main(settings: Settings, log_level: str) -> None:
    """Run the daemon until it ends; raises a WeaveError or WeaveNetError when it cannot start."""
    logging.basicConfig(level=log_level.upper(), format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("aiohttp.server").addFilter(api.is_worth_telling)
    # A thread that works must not keep a query waiting for Python's usual 5 ms.
    sys.setswitchinterval(THREAD_SWITCH_S)
    gc.set_threshold(*COLLECT_AFTER)
    process.allow_files()
    process.give_memory_back()
    try:
        asyncio.run(Daemon(settings).run())
    except ExceptionGroup as group:
        raise innermost(group) from None
