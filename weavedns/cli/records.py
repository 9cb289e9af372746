"""Commands about records: add, remove, lookup, ls, export."""

from __future__ import annotations

import copy

import click

from weavedns.errors import UnknownRecordError
from weavenet.cli.group import listing_options, socket_option
from weavenet.cli.output import listing
from weavenet.control import Client


@click.command(
    epilog="\b\nExamples:\n  weavedns add db 192.0.2.10\n  weavedns add web 10.2.1.7 10.2.1.8 --ttl 30"
    "\n  weavedns add _http._tcp.web.weave.local '0 5 80 web' --type SRV\n  weavedns add cache --container redis"
)
@click.argument("name")
@click.argument("data", nargs=-1)
@click.option("--type", "rtype", default="", help="The record type.  [default: A or AAAA, by the address]")
@click.option("--ttl", type=int, show_default="the daemon's", help="TTL in seconds.")
@click.option("--container", default="", help="Give NAME to this container, whatever its addresses are.")
@socket_option
def add(name: str, data: tuple[str, ...], rtype: str, ttl: int | None, container: str, client: Client) -> None:
    """Add records that outlive the daemon.

    Each DATA becomes a record of NAME, and is on disk when this returns. A NAME of one label is put under the
    domain. Quote DATA that has blanks.
    """
    if bool(data) == bool(container):
        raise click.UsageError("Give either DATA, such as 10.2.1.7, or --container.")
    if container and (rtype or ttl is not None):
        raise click.UsageError(
            "--type and --ttl do not go with --container: its records are made from its addresses."
        )
    body = {"name": name, "data": list(data), "type": rtype, "ttl": ttl, "container": container}
    client.call("POST", "/v1/records", body)


@click.command(epilog="\b\nExamples:\n  weavedns remove db\n  weavedns remove web 10.2.1.8")
@click.argument("name")
@click.argument("data", nargs=-1)
@socket_option
def remove(name: str, data: tuple[str, ...], client: Client) -> None:
    """Remove what was added (also: rm).

    Everything that was added under NAME goes, or just DATA of it.
    """
    client.call("DELETE", "/v1/records", {"name": name, "data": list(data)})


rm = copy.copy(remove)
rm.name, rm.hidden = "rm", True


@click.command(
    epilog="\b\nExamples:\n  weavedns lookup redis\n  weavedns lookup 10.2.0.1\n  weavedns lookup web AAAA"
)
@click.argument("name")
@click.argument("rtype", metavar="[TYPE]", default="A")
@socket_option
def lookup(name: str, rtype: str, client: Client) -> None:
    """Print what this peer answers.

    The data of NAME's records is printed, one value a line, and for an address its names. The exit code is 1 when
    there is none.
    """
    found = client.call("GET", "/v1/lookup", query={"name": name, "type": rtype})
    for value in found:
        click.echo(value)
    if not found:
        raise UnknownRecordError(f"nothing of type {rtype.upper()} is known for {name}; 'weavedns ls' shows what is")


@click.command(epilog="\b\nExamples:\n  weavedns ls\n  weavedns ls --format json")
@listing_options
@socket_option
def ls(form: str, quiet: bool, client: Client) -> None:
    """List all records.

    With where they come from, and of which peer when there are several; with -q only their names.
    """
    rows = client.call("GET", "/v1/records")
    columns = ["name", "type", "data", "ttl", "healthy", "origin", "holder"]
    # On a host that is alone the column would say the same in every line.
    if len({row["peer"] for row in rows}) > 1:
        columns.append("peer")
    listing(rows, columns, form=form, quiet=quiet, key="name")


@click.command(epilog="\b\nExample:\n  weavedns export > all.zone")
@socket_option
def export(client: Client) -> None:
    """Print all records as an RFC 1035 zone file."""
    click.echo(client.call("GET", "/v1/export"), nl=False)
