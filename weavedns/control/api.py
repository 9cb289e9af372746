"""The control API: HTTP on a Unix socket, JSON in and out. It decodes, calls one operation, encodes: no rules."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import msgspec
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from weavedns.control.operations import Operations
from weavedns.errors import (
    ConfigError,
    EngineError,
    PeerError,
    RecordError,
    StoreError,
    UnknownContainerError,
    UnknownRecordError,
    WeaveError,
)
from weavenet.errors import (
    AddressInUseError,
    ContainerGoneError,
    EndpointError,
    NoAddressError,
    NotAttachedError,
    RingError,
    WeaveNetError,
)
from weavenet.errors import PeerError as RingPeerError

log = logging.getLogger(__name__)

SOCKET_MODE = 0o660
_SHUTDOWN_S = 2.0
# The first class that fits gives the status; anything else of our own trees is a 500 with its sentence.
_STATUS: tuple[tuple[type[Exception], int], ...] = (
    (UnknownContainerError, 404),
    (UnknownRecordError, 404),
    (NotAttachedError, 404),
    (EndpointError, 400),
    (RecordError, 400),
    (ConfigError, 400),
    (AddressInUseError, 409),
    (ContainerGoneError, 409),
    (NoAddressError, 409),
    (RingError, 409),
    (PeerError, 502),
    (RingPeerError, 502),
    (EngineError, 503),
    (StoreError, 507),
)

Body = TypeVar("Body", bound=msgspec.Struct)


class AttachBody(msgspec.Struct, forbid_unknown_fields=True):
    """What attach and detach take; the field names are those of the published API."""

    ContainerID: str
    Endpoint: str = ""


class AddBody(msgspec.Struct, forbid_unknown_fields=True):
    """Records to add: data in master-file form, or a container whose addresses are meant."""

    name: str
    data: list[str] = []
    type: str = ""
    ttl: int | None = None
    container: str = ""


class RemoveBody(msgspec.Struct, forbid_unknown_fields=True):
    """Records to remove: all of a name, or those with the data."""

    name: str
    data: list[str] = []


class FlushBody(msgspec.Struct, forbid_unknown_fields=True):
    """What to forget of what upstreams said: what is about `name` and the names under it, or everything."""

    name: str = ""


class LogQueriesBody(msgspec.Struct, forbid_unknown_fields=True):
    """Whether to log a line for each query."""

    on: bool


class StopBody(msgspec.Struct, forbid_unknown_fields=True):
    """How to stop: with `clean`, containers are detached and the bridge and its rules removed first."""

    clean: bool = False


class PeersBody(msgspec.Struct, forbid_unknown_fields=True):
    """Whom to join: names or addresses of hosts, maybe with :PORT."""

    peers: list[str]


class PeerBody(msgspec.Struct, forbid_unknown_fields=True):
    """Which peer is meant, by its name; to forget one, an address where one was looked for will do as well."""

    peer: str


def application(operations: Operations) -> web.Application:
    """The whole API as an aiohttp application over the daemon's operations."""
    app = web.Application(middlewares=[_errors_as_json])
    for routes in (_network_routes, _record_routes, _name_routes, _daemon_routes, _peer_routes):
        app.add_routes(routes(operations))
    return app


@contextlib.asynccontextmanager
async def serve(operations: Operations, listener: socket.socket) -> AsyncIterator[None]:
    """Answer on a socket that `bind` made for as long as the context lasts; the socket itself stays open.

    So whoever connects while the daemon ends waits for that, as `weavedns stop` does.
    """
    runner = web.AppRunner(application(operations), access_log=None, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    try:
        await web.SockSite(runner, listener.dup()).start()
        yield
    finally:
        await runner.cleanup()


def bind(path: Path) -> socket.socket:
    """Make the control socket with mode 0660, in place of a stale one but never of one that a daemon holds.

    From then on clients can connect and wait for their answer, so that a second launch sees that it is the second.
    """
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        _remove_stale(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # The mode must be right from the first moment: a chmod afterwards would leave a gap.
        umask = os.umask(0o777 & ~SOCKET_MODE)
        try:
            listener.bind(str(path))
            listener.listen()
        except OSError:
            listener.close()
            raise
        finally:
            os.umask(umask)
    except OSError as exc:
        cure = "run as root, or choose" if isinstance(exc, PermissionError) else "choose"
        raise ConfigError(
            f"the control socket {path} cannot be made: {exc.strerror or exc}; {cure} another with --socket"
        ) from exc
    listener.setblocking(False)
    return listener


def release(listener: socket.socket, path: Path) -> None:
    """Remove the control socket's file and close it: in this order, so that it is never another daemon's file."""
    path.unlink(missing_ok=True)
    listener.close()


def _remove_stale(path: Path) -> None:
    if not path.exists():
        return
    if not path.is_socket():
        raise ConfigError(f"{path} is no socket; choose another with --socket or remove the file")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
        except TimeoutError:
            pass
        else:
            raise ConfigError(f"a daemon already answers on {path}; stop it with 'weavedns stop' or use --socket")


def is_worth_telling(record: logging.LogRecord) -> bool:
    """A filter for aiohttp's log: a request that is no HTTP has got its 400, and is nobody's stack trace."""
    return record.exc_info is None or not isinstance(record.exc_info[1], HttpProcessingError)


@web.middleware
async def _errors_as_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as exc:
        if exc.status < 400:  # noqa: PLR2004
            raise
        return _error(exc.status, f"{request.method} {request.path}: {exc.reason}")
    except (WeaveError, WeaveNetError) as exc:
        status = next((code for kind, code in _STATUS if isinstance(exc, kind)), 500)
        return _error(status, str(exc))
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        return _error(500, "the daemon failed; its log says why")


def _error(status: int, sentence: str) -> web.Response:
    return web.json_response({"Error": " ".join(sentence.split())}, status=status)


async def _decode(request: web.Request, kind: type[Body]) -> Body:
    raw = await request.read()
    try:
        return msgspec.json.decode(raw or b"{}", type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise RecordError(f"the request body is not what {request.path} takes: {exc}") from exc


def _network_routes(operations: Operations) -> list[web.RouteDef]:
    async def attach(request: web.Request) -> web.Response:
        body = await _decode(request, AttachBody)
        addresses = await operations.attach(body.ContainerID, body.Endpoint.split())
        return web.json_response({"IP": str(addresses[0].ip), "Addresses": [str(each) for each in addresses]})

    async def detach(request: web.Request) -> web.Response:
        body = await _decode(request, AttachBody)
        addresses = await operations.detach(body.ContainerID, body.Endpoint.split())
        return web.json_response({"Addresses": [str(each) for each in addresses]})

    async def containers(_: web.Request) -> web.Response:
        return web.json_response(await operations.containers())

    return [
        web.post("/v1/net/attach", attach),
        web.post("/v1/net/detach", detach),
        web.get("/v1/net/containers", containers),
    ]


def _record_routes(operations: Operations) -> list[web.RouteDef]:
    async def add(request: web.Request) -> web.Response:
        body = await _decode(request, AddBody)
        if body.container:
            if body.data or body.type or body.ttl is not None:
                raise RecordError("data, type and ttl do not go with a container: its addresses make its records")
            await operations.add_container_name(body.name, body.container)
        else:
            await operations.add_records(body.name, body.data, rtype=body.type, ttl_s=body.ttl)
        return web.json_response({})

    async def remove(request: web.Request) -> web.Response:
        body = await _decode(request, RemoveBody)
        return web.json_response({"removed": await operations.remove_records(body.name, body.data)})

    async def listed(_: web.Request) -> web.Response:
        return web.json_response(operations.records())

    async def lookup(request: web.Request) -> web.Response:
        query = request.query
        return web.json_response(operations.lookup(query.get("name", ""), query.get("type", "A")))

    async def export(_: web.Request) -> web.Response:
        return web.Response(text=operations.export())

    return [
        web.post("/v1/records", add),
        web.delete("/v1/records", remove),
        web.get("/v1/records", listed),
        web.get("/name", listed),
        web.get("/v1/lookup", lookup),
        web.get("/v1/export", export),
    ]


def _name_routes(operations: Operations) -> list[web.RouteDef]:
    """The paths of Weave Net's name API."""

    async def put_name(request: web.Request) -> web.Response:
        try:
            form = await request.post()
        except ValueError as exc:
            raise RecordError(f"the request body is no form with fqdn=NAME: {exc}") from exc
        fqdn = str(form.get("fqdn") or request.query.get("fqdn") or "")
        await operations.put_name(request.match_info["id"], request.match_info["ip"], fqdn)
        return web.Response(status=204)

    async def delete_name(request: web.Request) -> web.Response:
        info = request.match_info
        await operations.delete_name(info["id"], info.get("ip"), request.query.get("fqdn"))
        return web.Response(status=204)

    async def get_name(request: web.Request) -> web.Response:
        return web.json_response(operations.addresses_of(request.match_info["fqdn"]))

    return [
        web.put("/name/{id}/{ip}", put_name),
        web.delete("/name/{id}", delete_name),
        web.delete("/name/{id}/{ip}", delete_name),
        web.get("/name/{fqdn}", get_name),
    ]


def _daemon_routes(operations: Operations) -> list[web.RouteDef]:
    async def status(request: web.Request) -> web.Response:
        return web.Response(text=operations.status(request.query.get("section", "")))

    async def report(_: web.Request) -> web.Response:
        return web.json_response(operations.report())

    async def domain(_: web.Request) -> web.Response:
        return web.Response(text=operations.domain() + "\n")

    async def flush(request: web.Request) -> web.Response:
        body = await _decode(request, FlushBody)
        return web.json_response({"flushed": operations.flush(body.name)})

    async def log_queries(request: web.Request) -> web.Response:
        body = await _decode(request, LogQueriesBody)
        operations.log_queries(on=body.on)
        return web.json_response({})

    async def stop(request: web.Request) -> web.Response:
        body = await _decode(request, StopBody)
        await operations.stop(clean=body.clean)
        return web.json_response({})

    return [
        web.get("/status", status),
        web.get("/report", report),
        web.get("/domain", domain),
        web.post("/v1/flush", flush),
        web.post("/v1/log-queries", log_queries),
        web.post("/v1/stop", stop),
    ]


def _peer_routes(operations: Operations) -> list[web.RouteDef]:
    async def join(request: web.Request) -> web.Response:
        await operations.join((await _decode(request, PeersBody)).peers)
        return web.json_response({})

    async def forget(request: web.Request) -> web.Response:
        operations.forget((await _decode(request, PeerBody)).peer)
        return web.json_response({})

    async def connect_form(request: web.Request) -> web.Response:
        await operations.join([await _form_peer(request)])
        return web.Response(status=204)

    async def forget_form(request: web.Request) -> web.Response:
        operations.forget(await _form_peer(request))
        return web.Response(status=204)

    async def network_status(_: web.Request) -> web.Response:
        return web.Response(text=operations.network_status())

    async def take_over(request: web.Request) -> web.Response:
        body = await _decode(request, PeerBody)
        return web.json_response({"Addresses": await operations.take_over(body.peer)})

    async def seed(_: web.Request) -> web.Response:
        await operations.seed()
        return web.json_response({})

    return [
        web.post("/v1/join", join),
        web.post("/v1/forget", forget),
        # The paths of Weave Net.
        web.post("/connect", connect_form),
        web.post("/forget", forget_form),
        web.get("/v1/net/status", network_status),
        web.post("/v1/net/ipam/takeover", take_over),
        web.post("/v1/net/ipam/seed", seed),
    ]


async def _form_peer(request: web.Request) -> str:
    try:
        form = await request.post()
    except ValueError as exc:
        raise RecordError(f"the request body is no form with peer=HOST: {exc}") from exc
    return str(form.get("peer") or request.query.get("peer") or "")
