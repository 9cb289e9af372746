"""The Docker engine: its events, and what it says of containers and networks. The only importer of its library.

The library blocks, so events are read in a thread of their own and calls are made in a few more. It decides
nothing about containers and remembers nothing of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import logging
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, TypeVar

import docker
import requests
import urllib3
from docker.errors import APIError, DockerException, NotFound
from docker.utils import kwargs_from_env, parse_host

from weavedns.containers.backlog import Backlog
from weavedns.containers.events import (
    FILTERS,
    ContainerChanged,
    ContainerDied,
    ContainerRemoved,
    ContainerStarted,
    EngineDown,
    EngineUp,
    Event,
    NetworksChanged,
    Resync,
)
from weavedns.containers.stream import QuietError, StreamReader
from weavedns.containers.transport import EngineAdapter, Sockets
from weavedns.errors import EngineError, UnknownContainerError

__all__ = [
    "ContainerChanged",
    "ContainerDied",
    "ContainerRemoved",
    "ContainerStarted",
    "Engine",
    "EngineDown",
    "EngineUp",
    "Event",
    "NetworksChanged",
    "Resync",
]

log = logging.getLogger(__name__)

CALL_TIMEOUT_S = 10.0
# A stream that says nothing for so long is opened anew: a dead connection looks the same as a quiet engine.
QUIET_S = 60.0
CALLS_AT_ONCE = 8
# Calls that look at all containers leave the other half to the one that was just started.
CALLS_FOR_A_LIST = CALLS_AT_ONCE // 2
# A call may wait for others to finish first; past this many time-outs the engine is not coming.
PATIENCE = 3
OLDEST_API = "1.24"
_VERSION = re.compile(r"[0-9]{1,3}\.[0-9]{1,3}")
_REF = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,999}")
_SHORT_ID = 12
_MAX_SHOWN = 80
_MAX_REASON = 300
_FAILURES = (DockerException, requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError)
# The most telling first: the libraries wrap one in the other.
_CURES: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
    (PermissionError, "no permission to open {place}; run as root, or as a member of the group 'docker'"),
    (FileNotFoundError, "no Docker engine at {place}; start it with 'systemctl start docker', or set DOCKER_HOST"),
    (ConnectionRefusedError, "no Docker engine listens at {place}; start it with 'systemctl start docker'"),
    (
        (TimeoutError, requests.Timeout, urllib3.exceptions.TimeoutError),
        "the Docker engine at {place} did not answer within {timeout_s:g} s; look at its log",
    ),
    (requests.JSONDecodeError, "what listens at {place} is no Docker engine: it does not answer in JSON"),
    (
        (ConnectionError, http.client.HTTPException, urllib3.exceptions.ProtocolError),
        "the Docker engine at {place} broke the connection; look at its log",
    ),
)
_T = TypeVar("_T")


class Engine:
    """A Docker engine, at `base_url` (such as ``unix:///run/docker.sock``) or where ``DOCKER_HOST`` says.

    It need not be there: `events` goes on looking for it, and calls raise EngineError. `close` it in the end.
    """

    def __init__(
        self, base_url: str | None = None, *, call_timeout_s: float = CALL_TIMEOUT_S, quiet_s: float = QUIET_S
    ) -> None:
        self._link = _Link(base_url, call_timeout_s)
        self._patience_s = PATIENCE * call_timeout_s
        self._quiet_s = quiet_s
        self._pool = ThreadPoolExecutor(CALLS_AT_ONCE, thread_name_prefix="engine-call")
        self._slots = asyncio.Semaphore(CALLS_AT_ONCE)
        self._list_slots = asyncio.Semaphore(CALLS_FOR_A_LIST)
        self._reader: StreamReader | None = None
        self._closed = False

    async def events(self) -> AsyncIterator[Event]:
        """Yield what happens at the engine until `close`; to be called once.

        The stream is open when EngineUp comes, so nothing is missed between that and the events after it. After
        EngineUp and Resync, look at everything: events that came with the loss of a connection are gone. Events
        may come twice, and may be older than what an inspection says: compare their time.
        """
        if self._reader is not None or self._closed:
            raise EngineError("the engine's events are followed already, or it was closed")
        backlog = Backlog(asyncio.get_running_loop())
        self._reader = StreamReader(partial(self._link.stream, self._quiet_s), backlog)
        self._reader.start()
        while (event := await backlog.get()) is not None:
            yield event

    async def inspect(self, ref: str) -> dict[str, Any]:
        """Inspect a container by name, full ID, or a prefix of the ID that fits no other.

        Raises UnknownContainerError when there is none or several, EngineError when the engine cannot be asked.
        """
        return await self._call(partial(_inspect, ref))

    async def running(self) -> list[dict[str, Any]]:
        """The inspections of all running containers.

        One that cannot be inspected is left out with a warning, so ask for it before believing that it is gone;
        when none can, EngineError is raised.
        """
        ids = await self._call(_running_ids)
        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(self._inspect_for_list(container_id)) for container_id in ids]
        answers = [task.result() for task in asked]
        failures = [answer for answer in answers if isinstance(answer, EngineError)]
        if failures and len(failures) == len(answers):
            raise failures[0]
        for failure in failures:
            log.warning("a running container is not looked at: %s", failure)
        return [answer for answer in answers if isinstance(answer, dict)]

    async def subnets(self) -> list[IPv4Network | IPv6Network]:
        """The subnets of the engine's networks, in no order; raises EngineError."""
        return await self._call(_subnets)

    async def close(self) -> None:
        """End the events and every call that waits, at once; calls after this raise EngineError."""
        self._closed = True
        self._link.shut()
        if self._reader is not None:
            self._reader.stop()
        await asyncio.to_thread(self._join)

    def _join(self) -> None:
        if self._reader is not None and self._reader.is_alive():
            self._reader.join()
        self._pool.shutdown(wait=True)
        self._link.close()

    async def _inspect_for_list(self, container_id: str) -> dict[str, Any] | EngineError | None:
        try:
            async with self._list_slots:
                return await self.inspect(container_id)
        except UnknownContainerError:
            return None  # it ended since it was listed
        except EngineError as exc:
            return exc

    async def _call(self, call: Callable[[docker.APIClient], _T]) -> _T:
        try:
            async with asyncio.timeout(self._patience_s), self._slots:
                if self._closed:
                    raise EngineError("the connection to the Docker engine was closed")
                return await asyncio.get_running_loop().run_in_executor(self._pool, self._link.ask, call)
        except TimeoutError:
            raise EngineError(f"the Docker engine at {self._link.place} is too slow; look at its log") from None


class _Link:
    """The one client that all threads share, made when it is first needed and anew when the engine came back."""

    def __init__(self, base_url: str | None, call_timeout_s: float) -> None:
        self._base_url = base_url
        self._call_timeout_s = call_timeout_s
        self._lock = threading.Lock()
        self._client: docker.APIClient | None = None
        self._sockets = Sockets()
        self.place = base_url or "its usual place"

    def ask(self, call: Callable[[docker.APIClient], _T]) -> _T:
        """Make a call in the calling thread; whatever fails becomes an EngineError."""
        with self.failures():
            return call(self._current())

    @contextlib.contextmanager
    def failures(self) -> Iterator[None]:
        """Turn what the libraries raise into EngineError, with the cure."""
        try:
            yield
        except _FAILURES as exc:
            raise EngineError(_explain(exc, self.place, self._call_timeout_s)) from exc

    @contextlib.contextmanager
    def stream(self, quiet_s: float, since_ns: int, found_again: bool) -> Iterator[Iterator[bytes]]:
        """Open the event stream, from `since_ns` on or (0) from now; raises EngineError."""
        with self.failures():
            client = self._renew() if found_again else self._current()
            if not found_again:
                client.ping()
            params = {"filters": json.dumps(FILTERS)}
            if since_ns:
                params["since"] = f"{since_ns // 10**9}.{since_ns % 10**9:09d}"
            response = client.get(
                f"{client.base_url}/v{client.api_version}/events",
                params=params,
                stream=True,
                timeout=(self._call_timeout_s, quiet_s),
            )
        with contextlib.closing(response):
            with self.failures():
                response.raise_for_status()
            yield self._pieces(response)

    def shut(self) -> None:
        """Let everybody go who waits for the engine."""
        self._sockets.shut()

    def close(self) -> None:
        """Close the idle connections, when no thread is left that uses them."""
        if self._client is not None:
            self._client.close()

    def _pieces(self, response: requests.Response) -> Iterator[bytes]:
        with self.failures():
            try:
                yield from response.iter_content(None)
            except requests.ConnectionError as exc:
                if any(isinstance(cause, urllib3.exceptions.ReadTimeoutError) for cause in _causes(exc)):
                    raise QuietError("nothing was heard from the Docker engine for a while") from None
                raise

    def _current(self) -> docker.APIClient:
        with self._lock:
            if self._client is None:
                self._client = self._make()
            return self._client

    def _renew(self) -> docker.APIClient:
        """Make a new client, as an engine that came back may speak another version of the API."""
        client = self._make()
        with self._lock:
            old, self._client = self._client, client
        if old is not None:
            old.close()
        return client

    def _make(self) -> docker.APIClient:
        settings: dict[str, Any] = {**kwargs_from_env()}
        if self._base_url is not None:
            settings["base_url"] = self._base_url
        url = parse_host(settings.get("base_url"), tls=bool(settings.get("tls")))
        path = url.removeprefix("http+unix://") if url.startswith("http+unix://") else None
        self.place = path or url
        if path is not None:
            settings = {"base_url": "http://localhost:2375"}  # the path decides; the URL must only be one
        adapter = EngineAdapter(self._sockets, path, connections=CALLS_AT_ONCE + 2)
        # Every engine tells its version when asked without one; from then on that is spoken.
        answer: Any = self._open(adapter, OLDEST_API, settings).version(api_version=False)
        version = answer.get("ApiVersion") if isinstance(answer, dict) else None
        if not isinstance(version, str) or not _VERSION.fullmatch(version):
            raise EngineError(f"what listens at {self.place} is no Docker engine: it tells no API version")
        return self._open(adapter, version, settings)

    def _open(self, adapter: EngineAdapter, version: str, settings: dict[str, Any]) -> docker.APIClient:
        client = docker.APIClient(version=version, timeout=self._call_timeout_s, **settings)  # type: ignore[arg-type]
        client.trust_env = False  # no proxy stands between a daemon and the engine beside it
        client.mount("http://", adapter)
        client.mount("https://", adapter)
        return client


def _inspect(ref: str, client: docker.APIClient) -> dict[str, Any]:
    name = ref.removeprefix("/")
    unknown = UnknownContainerError(f"no container {ref[:_MAX_SHOWN]!r} on this host; see docker ps -a")
    if not _REF.fullmatch(name):
        raise unknown
    try:
        found: Any = client.inspect_container(name)
    except NotFound:
        raise unknown from None
    except APIError:
        fitting = _with_prefix(name, client)
        if len(fitting) > 1:
            raise UnknownContainerError(
                f"{name!r} is ambiguous on this host: it fits {', '.join(fitting)}; give more of the ID, or the name"
            ) from None
        raise
    if not isinstance(found, dict) or not isinstance(found.get("Id"), str):
        raise EngineError(f"the Docker engine gave no inspection of container {name}")
    return found


def _with_prefix(prefix: str, client: docker.APIClient) -> list[str]:
    """The containers whose ID starts with `prefix`, as a person would name them."""
    fitting = []
    for listed in _dicts(client.containers(all=True)):
        container_id, names = listed.get("Id"), listed.get("Names")
        if isinstance(container_id, str) and container_id.startswith(prefix.lower()):
            name = names[0].lstrip("/") if isinstance(names, list) and names and isinstance(names[0], str) else "?"
            fitting.append(f"{name} ({container_id[:_SHORT_ID]})")
    return sorted(fitting)


def _running_ids(client: docker.APIClient) -> list[str]:
    return [listed["Id"] for listed in _dicts(client.containers()) if isinstance(listed.get("Id"), str)]


def _subnets(client: docker.APIClient) -> list[IPv4Network | IPv6Network]:
    found: dict[IPv4Network | IPv6Network, None] = {}
    for network in _dicts(client.networks()):
        ipam = network.get("IPAM")
        for config in _dicts(ipam.get("Config") if isinstance(ipam, dict) else None):
            with contextlib.suppress(ValueError):
                found[ip_network(str(config.get("Subnet")), strict=False)] = None
    return list(found)


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _causes(exc: BaseException) -> list[BaseException]:
    """An exception and all that the libraries wrapped in it."""
    found: list[BaseException] = []
    waiting: list[Any] = [exc]
    while waiting:
        each = waiting.pop(0)
        if isinstance(each, BaseException) and each not in found:
            found.append(each)
            waiting += [each.__cause__, each.__context__, getattr(each, "reason", None), *each.args]
    return found


def _explain(exc: BaseException, place: str, timeout_s: float) -> str:
    """One line that names the engine, what is wrong, and the cure."""
    if isinstance(exc, APIError):
        return f"the Docker engine at {place} refused: {_one_line(exc.explanation or exc)}"
    causes = _causes(exc)
    for kinds, text in _CURES:
        if any(isinstance(cause, kinds) for cause in causes):
            return text.format(place=place, timeout_s=timeout_s)
    return f"the Docker engine at {place} cannot be asked: {_one_line(exc)}"


def _one_line(what: object) -> str:
    return " ".join(str(what).split())[:_MAX_REASON]
