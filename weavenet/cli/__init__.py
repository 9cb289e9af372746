"""The `weavenet` command: addresses and attachment. Each command is one call to the daemon."""

from __future__ import annotations

import click

from weavenet.cli.group import Group, listing_options, socket_option
from weavenet.cli.output import listing
from weavenet.control import Client

# The settings file is shared with `weavedns`, whose `launch` has these keys.
_DAEMON_KEYS = frozenset(
    {
        "advertise", "allow_forward", "allow_query", "attach", "cluster", "dns_address", "dns_subnet", "domain",
        "forward", "http", "listen", "log_level", "max_peer_records", "name", "no_http", "no_network", "overlay_port",
        "password", "password_file", "peers", "port", "profile", "range", "state_dir", "subnet", "ttl", "upstream",
        "zones",
    }
)  # fmt: skip

_EXAMPLES = """
\b
Examples:
  weavenet attach app                    an address of the default subnet
  weavenet attach app net:10.2.67.0/24   any free address there
  weavenet ps
"""


@click.group(cls=Group, known_keys=_DAEMON_KEYS, epilog=_EXAMPLES)
@click.version_option(package_name="weavedns", prog_name="weavenet")
def main() -> None:
    """Give containers addresses on the weave network, and take them away."""


@main.command(epilog="\b\nExample:\n  weavenet attach app 10.2.45.3/24 net:10.2.67.0/24")
@click.argument("container")
@click.argument("addresses", nargs=-1, metavar="[ADDRESS]...")
@socket_option
def attach(container: str, addresses: tuple[str, ...], client: Client) -> None:
    """Give a running CONTAINER addresses.

    The addresses are printed. An ADDRESS is 10.2.45.3/24 (that one), net:10.2.67.0/24 (any free one there) or
    net:default, which is also what is taken when none is given.
    """
    body = {"ContainerID": container, "Endpoint": " ".join(addresses)}
    for address in client.call("POST", "/v1/net/attach", body)["Addresses"]:
        click.echo(address)


@main.command(epilog="\b\nExample:\n  weavenet detach app 10.2.45.3/24")
@click.argument("container")
@click.argument("addresses", nargs=-1, metavar="[ADDRESS]...")
@socket_option
def detach(container: str, addresses: tuple[str, ...], client: Client) -> None:
    """Take addresses, or all, from a CONTAINER.

    They are printed. With the last one go its interface and the changes to its resolv.conf. The container stays
    detached until it is attached again, or it or the daemon restarts.
    """
    body = {"ContainerID": container, "Endpoint": " ".join(addresses)}
    for address in client.call("POST", "/v1/net/detach", body)["Addresses"]:
        click.echo(address)


@main.command(epilog="\b\nExample:\n  weavenet ps --format json")
@listing_options
@socket_option
def ps(form: str, quiet: bool, client: Client) -> None:
    """List the attached containers.

    With addresses, MAC and names; with -q only the container IDs.
    """
    rows = client.call("GET", "/v1/net/containers")
    listing(rows, ["container", "name", "addresses", "mac", "names"], form=form, quiet=quiet, key="container")


@main.command(epilog="\b\nExample:\n  weavenet status")
@socket_option
def status(client: Client) -> None:
    """Show the weave network of this host.

    With the bridge, the overlay to other hosts, and how the addresses are shared out.
    """
    click.echo(client.call("GET", "/v1/net/status"), nl=False)


@main.group(cls=click.Group, epilog="\b\nExamples:\n  weavenet ipam takeover host3\n  weavenet ipam seed")
def ipam() -> None:
    """Decide by hand how the addresses are shared out between hosts."""


@ipam.command(epilog="\b\nExample:\n  weavenet ipam takeover host3")
@click.argument("peer")
@socket_option
def takeover(peer: str, client: Client) -> None:
    """Inherit the addresses of a PEER that never returns.

    How many that are is printed. If it does return, it owns nothing and asks for addresses as a new host does.
    """
    click.echo(client.call("POST", "/v1/net/ipam/takeover", {"peer": peer})["Addresses"])


@ipam.command(epilog="\b\nExample:\n  weavenet ipam seed")
@socket_option
def seed(client: Client) -> None:
    """Share the addresses out between the hosts that are connected now.

    For when those named at launch cannot all be there, and 'weavenet status' says that it waits for them. Do it on
    one host only.
    """
    client.call("POST", "/v1/net/ipam/seed", {})
