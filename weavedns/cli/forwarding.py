"""Commands about queries and what upstreams say to them: flush, log-queries."""

from __future__ import annotations

import click

from weavenet.cli.group import socket_option
from weavenet.control import Client


@click.command(epilog="\b\nExamples:\n  weavedns flush\n  weavedns flush example.org")
@click.argument("name", required=False, default="")
@socket_option
def flush(name: str, client: Client) -> None:
    """Forget what other servers said.

    With a NAME only what they said of it and of the names under it. The number of answers forgotten is printed.
    """
    click.echo(client.call("POST", "/v1/flush", {"name": name})["flushed"])


@click.command("log-queries", epilog="\b\nExample:\n  weavedns log-queries on")
@click.argument("switch", type=click.Choice(["on", "off"]))
@socket_option
def log_queries(switch: str, client: Client) -> None:
    """Switch the query log on or off.

    While it is on, the daemon logs one line for each query. It is off when the daemon starts, and costs nothing then.
    """
    client.call("POST", "/v1/log-queries", {"on": switch == "on"})
