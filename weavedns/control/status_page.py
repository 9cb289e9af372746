"""The read-only status port: metrics, health and a page for people. It changes nothing, whatever is asked."""

from __future__ import annotations

import contextlib
import errno
import html
import socket
from collections.abc import AsyncIterator

from aiohttp import web

from weavedns.control import metrics
from weavedns.control.operations import Operations
from weavedns.dns import holder
from weavedns.errors import ListenError

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="refresh" content="5">
<title>weavedns {name}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem }}
pre {{ white-space: pre-wrap }} table {{ border-collapse: collapse; width: 100% }}
td, th {{ text-align: left; padding: .2rem .8rem .2rem 0; border-bottom: 1px solid #8884 }}
</style>
<h1>weavedns on {name}</h1>
<pre>{status}</pre>
{peers}<h2>Containers</h2>
{containers}
<h2>Records</h2>
{records}
</html>
"""
# A page is for people: past this, `weavedns ls` and its filters serve better.
_MAX_ROWS = 500
_PEER_COLUMNS = ["peer", "address", "state", "dns", "records"]


def application(operations: Operations) -> web.Application:
    """The status port's pages as an aiohttp application."""

    async def scrape(_: web.Request) -> web.Response:
        return web.Response(body=metrics.render(operations.report), headers={"Content-Type": metrics.CONTENT_TYPE})

    async def health(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def ready(_: web.Request) -> web.Response:
        state = operations.not_ready()
        return web.Response(text=f"{state or 'ready'}\n", status=503 if state else 200)

    async def page(_: web.Request) -> web.Response:
        return web.Response(text=_render(operations), content_type="text/html")

    app = web.Application()
    app.add_routes(
        [web.get("/metrics", scrape), web.get("/health", health), web.get("/ready", ready), web.get("/", page)]
    )
    return app


@contextlib.asynccontextmanager
async def serve(operations: Operations, host: str, port: int) -> AsyncIterator[None]:
    """Answer on `host` and `port` for as long as the context lasts; raises ListenError when it is taken."""
    runner = web.AppRunner(application(operations), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as exc:
            reason = exc.strerror or str(exc)
            if exc.errno == errno.EADDRINUSE:
                reason = f"it is taken by {holder.describe(socket.SOCK_STREAM, host, port)}"
            raise ListenError(
                f"the status page cannot be served on {host} port {port}: {reason}; "
                "choose another with --http, or none with --no-http"
            ) from exc
        yield
    finally:
        await runner.cleanup()


def _render(operations: Operations) -> str:
    report = operations.report()
    records = operations.records()
    known = [row for row in report.get("peers", []) if row["peer"] is not None]
    more = f"<p>and {len(records) - _MAX_ROWS} more</p>" if len(records) > _MAX_ROWS else ""
    return _PAGE.format(
        name=html.escape(report["name"]),
        status=html.escape(operations.status()),
        peers="<h2>Peers</h2>\n" + _table(known, _PEER_COLUMNS) + "\n" if known else "",
        containers=_table(report["containers"], ["container", "name", "addresses", "names"]),
        records=_table(records[:_MAX_ROWS], ["name", "type", "data", "ttl", "origin"]) + more,
    )


def _table(rows: list[dict[str, object]], columns: list[str]) -> str:
    head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{_cell(row[column])}</td>" for column in columns) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _cell(value: object) -> str:
    return html.escape(" ".join(map(str, value)) if isinstance(value, list) else str(value))
