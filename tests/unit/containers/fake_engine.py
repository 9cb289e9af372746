"""An engine that misbehaves on demand, at a real socket, for the tests of the one that follows it."""

import asyncio
import json
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web

STREAM_END = object()
STREAM_BREAK = object()


def container_id(number: int) -> str:
    return f"{number:04x}".ljust(64, "0")


class FakeEngine:
    """Answers as an engine does; its attributes say what it has and how it misbehaves."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"unix://{path}"
        self.api_version: Any = "1.41"
        self.containers: dict[str, Any] = {}
        self.networks: Any = []
        self.answers: dict[str, Callable[[], web.Response]] = {}
        self.paths: list[str] = []
        self.queries: list[dict[str, str]] = []
        self.answering = asyncio.Event()
        self.answering.set()
        self.slow: set[str] = set()
        self.slow_ones_answer = asyncio.Event()
        self.inspecting = 0
        self.most_inspecting = 0
        self.history: list[dict[str, Any]] = []
        self._streams: set[asyncio.Queue[Any]] = set()
        self._runner: web.AppRunner | None = None

    async def start(self, port: int | None = None, tls: ssl.SSLContext | None = None) -> None:
        app = web.Application(middlewares=[self._misbehave])
        app.add_routes(
            [
                web.get("/version", self._version),
                web.get("/v{api}/_ping", self._ping),
                web.get("/v{api}/events", self._events),
                web.get("/v{api}/networks", self._networks),
                web.get("/v{api}/containers/json", self._list),
                web.get("/v{api}/containers/{ref}/json", self._inspect),
            ]
        )
        self._runner = web.AppRunner(app, shutdown_timeout=0.01, handle_signals=False, handler_cancellation=True)
        await self._runner.setup()
        if port is None:
            await web.UnixSite(self._runner, str(self.path)).start()
        else:
            await web.TCPSite(self._runner, "127.0.0.1", port, ssl_context=tls).start()
            self.url = f"tcp://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
            self.path.unlink(missing_ok=True)

    def run(self, number: int, name: str = "", **more: Any) -> str:
        """Have a running container."""
        full_id = container_id(number)
        self.containers[full_id] = {"Id": full_id, "Name": f"/{name or f'c{number}'}", **more}
        return full_id

    def send(self, piece: Any) -> None:
        """Put something on the open event streams: an event, raw bytes, or how they end."""
        if isinstance(piece, dict):
            self.history.append(piece)
        for stream in self._streams:
            stream.put_nowait(piece)

    def tell(self, action: str, full_id: str, kind: str = "container", **attributes: str) -> dict[str, Any]:
        """Send an event as engines do."""
        at_ns = time.time_ns()
        actor = {"ID": full_id, "Attributes": attributes}
        event = {"Type": kind, "Action": action, "Actor": actor, "time": at_ns // 10**9, "timeNano": at_ns}
        self.send(event)
        return event

    @property
    def streams(self) -> int:
        return len(self._streams)

    @web.middleware
    async def _misbehave(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.paths.append(request.path)
        await self.answering.wait()
        odd = self.answers.get(request.path.split("/", 2)[-1])
        answer: web.StreamResponse = odd() if odd else await handler(request)
        return answer

    async def _version(self, _: web.Request) -> web.Response:
        return web.json_response({"ApiVersion": self.api_version})

    async def _ping(self, _: web.Request) -> web.Response:
        return web.Response(text="OK")

    async def _networks(self, _: web.Request) -> web.Response:
        return web.json_response(self.networks)

    async def _list(self, _: web.Request) -> web.Response:
        listed = [{"Id": full_id, "Names": [each["Name"]]} for full_id, each in self.containers.items()]
        return web.json_response(listed)

    async def _inspect(self, request: web.Request) -> web.Response:
        self.inspecting += 1
        self.most_inspecting = max(self.most_inspecting, self.inspecting)
        try:
            if request.match_info["ref"] in self.slow:
                await self.slow_ones_answer.wait()
            await asyncio.sleep(0)  # lets the others in that are asked at the same time
            return self._found(request.match_info["ref"])
        finally:
            self.inspecting -= 1

    def _found(self, ref: str) -> web.Response:
        named = [each for full_id, each in self.containers.items() if ref in {full_id, each["Name"][1:]}]
        fitting = named or [each for full_id, each in self.containers.items() if full_id.startswith(ref)]
        if not fitting:
            return web.json_response({"message": f"No such container: {ref}"}, status=404)
        if len(fitting) > 1:
            return web.json_response({"message": f"Multiple IDs found with provided prefix: {ref}"}, status=400)
        return web.json_response(fitting[0])

    async def _events(self, request: web.Request) -> web.StreamResponse:
        self.queries.append(dict(request.query))
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        stream: asyncio.Queue[Any] = asyncio.Queue()
        if "since" in request.query:
            for event in self.history:
                if event["timeNano"] >= float(request.query["since"]) * 1e9:
                    stream.put_nowait(event)
        self._streams.add(stream)
        try:
            while (piece := await stream.get()) is not STREAM_END:
                if piece is STREAM_BREAK:
                    assert request.transport is not None
                    request.transport.abort()
                    break
                await response.write(json.dumps(piece).encode() + b"\n" if isinstance(piece, dict) else piece)
        finally:
            self._streams.discard(stream)
        return response
