"""Commands about the daemon itself: launch, stop, status, and whom it is joined with."""

from __future__ import annotations

import json
import secrets
import socket
import time
from pathlib import Path
from typing import Any

import click

from weavedns import config
from weavedns.errors import ConfigError, WeaveError
from weavenet.cli.group import FilePath, listed_argument, setting, socket_option
from weavenet.control import DEFAULT_SOCKET, Client
from weavenet.errors import NoDaemonError

_STOP_S = 15.0
_POLL_S = 0.05
_KEY_BYTES = 32
_LEVELS = ["debug", "info", "warning", "error"]


@click.command(
    epilog="\b\nExamples:\n  weavedns launch\n  weavedns launch --range 10.32.0.0/16 --zones /etc/weavedns/zones"
    "\n  weavedns launch --no-network --listen 127.0.0.1:5353"
    "\n  weavedns launch --forward corp.example=10.1.1.1,10.1.1.2:5353 --allow-forward local"
    " --allow-forward 192.0.2.0/24"
    "\n  weavedns launch host1 host2 --password-file /etc/weavedns/password"
)
@listed_argument("peers", metavar="[PEER]...")
@setting("--name", default=socket.gethostname, show_default="the host's name", help="This peer's name.")
@setting("--domain", default=config.DEFAULT_DOMAIN, help="The domain whose names are answered here.")
@setting("--range", "weave_range", default=config.DEFAULT_RANGE, metavar="CIDR", help="The weave range.")
@setting(
    "--dns-subnet",
    metavar="CIDR",
    show_default=config.DEFAULT_DNS_SUBNET,
    help="Part of the range reserved for DNS peers, never given to a container.",
)
@setting(
    "--dns-address",
    metavar="ADDRESS",
    show_default="the one that the bridge has, or the first free one",
    help="This peer's DNS address.",
)
@setting(
    "--subnet",
    metavar="CIDR",
    show_default="the range",
    help="Where containers get an address when they ask for none.",
)
@setting(
    "--attach",
    type=click.Choice(["auto", "all", "none"]),
    default="auto",
    help="Attach containers that ask for it by host name, label or WEAVE_CIDR; or all; or none.",
)
@setting(
    "--listen",
    multiple=True,
    metavar="ADDRESS[:PORT]",
    show_default=False,
    help="One more address to answer DNS on; may be given again.",
)
@setting(
    "--upstream",
    multiple=True,
    metavar="ADDRESS[:PORT]",
    show_default="those of the host's resolv.conf",
    help="A server for names outside the domain; may be given again.",
)
@setting(
    "--forward",
    multiple=True,
    metavar="SUFFIX=ADDRESS[:PORT],...",
    show_default=False,
    help="Servers for the names under a suffix, before --upstream; the longest suffix counts; may be given again.",
)
@setting(
    "--allow-query",
    multiple=True,
    metavar="CIDR",
    default=("any",),
    show_default="any",
    help="Who may ask, besides this host; may be given again.",
)
@setting(
    "--allow-forward",
    multiple=True,
    metavar="CIDR",
    default=("local",),
    show_default="local",
    help="Who may have other names forwarded, besides this host: networks, any, or local, which is this host's"
    " container networks and the weave range; may be given again.",
)
@setting(
    "--zones",
    multiple=True,
    type=FilePath(),
    show_default=False,
    help="A zone file, or a directory of *.zone files; may be given again.",
)
@setting("--ttl", "ttl_s", type=int, default=config.DEFAULT_TTL_S, help="TTL of answers, in seconds.")
@setting("--socket", type=FilePath(), default=DEFAULT_SOCKET, help="The control socket.")
@setting("--http", default=config.DEFAULT_HTTP, metavar="ADDRESS[:PORT]", help="Where the status page is served.")
@setting("--no-http", is_flag=True, help="Serve no status page.")
@setting(
    "--state-dir",
    type=FilePath(),
    default=config.DEFAULT_STATE_DIR,
    help="Where records that people add, this host's share of the addresses and where other peers were are kept.",
)
@setting(
    "--port", type=int, show_default=str(config.DEFAULT_PORT), help="Where other peers are heard, by UDP and TCP."
)
@setting(
    "--advertise",
    metavar="ADDRESS",
    show_default="as the first peer sees it",
    help="This host's address for other peers, and for the overlay.",
)
@setting(
    "--overlay-port",
    type=int,
    default=config.DEFAULT_OVERLAY_PORT,
    help="UDP port of the overlay between hosts; the same on all.",
)
@setting("--password", show_default=False, help="What all peers have to know; without one nothing is encrypted.")
@setting(
    "--password-file",
    type=FilePath(),
    show_default=False,
    help="The same in a file, which is followed; a second line is a password that is valid too, while it is being"
    " changed.",
)
@setting(
    "--profile",
    type=click.Choice(["fast", "lan"]),
    default=config.DEFAULT_PROFILE,
    help="How soon a peer that does not answer is believed gone: about 4 s, or 10 s with less traffic.",
)
@setting(
    "--cluster",
    default=config.DEFAULT_CLUSTER,
    metavar="NAME",
    help="The cluster's name, the same on all hosts; peers of another one are refused.",
)
@setting(
    "--max-peer-records",
    type=int,
    default=config.DEFAULT_PEER_RECORDS,
    help="How many records of each other peer are kept here; the rest is not answered.",
)
@setting("--no-network", is_flag=True, help="DNS only: no bridge, no containers; needs no root, but a --listen.")
@setting("--log-level", type=click.Choice(_LEVELS), default="info", help="How much is told on stderr.")
def launch(
    no_http: bool,
    no_network: bool,
    http: str,
    log_level: str,
    password: str | None,
    password_file: Path | None,
    **values: Any,
) -> None:
    """Run the daemon in the foreground.

    With each PEER, the name or address of a host where it runs already, maybe with :PORT, it shares names and
    addresses. Without any, those of WEAVEDNS_PEERS count, and then those of the settings file's key peers.

    It makes the weave bridge, answers DNS on its own address there, and attaches this host's containers, until
    Ctrl-C, SIGTERM or `weavedns stop`. Then containers keep their interfaces; the next launch finds everything
    again.
    """
    try:
        passwords = config.passwords(password, password_file)
        settings = config.settings(
            http=None if no_http else http,
            network=not no_network,
            passwords=passwords,
            password_file=password_file,
            **values,
        )
    except ConfigError as exc:
        raise click.UsageError(str(exc)) from exc
    # The daemon's libraries take a third of a second to import, which the other commands need not wait for.
    from weavedns import daemon

    daemon.main(settings, log_level)


@click.command(epilog="\b\nExample:\n  weavedns stop --clean")
@click.option("--clean", is_flag=True, help="First detach all containers and remove the bridge and its rules.")
@socket_option
def stop(clean: bool, client: Client) -> None:
    """Leave the other peers, stop the daemon and wait for its end.

    Containers keep their interfaces. With --clean nothing stays behind but what people added: containers are
    detached, their resolv.conf is put back, and the bridge and the firewall rules are removed.
    """
    client.call("POST", "/v1/stop", {"clean": clean})
    deadline = time.monotonic() + _STOP_S
    while time.monotonic() < deadline:
        try:
            client.call("GET", "/domain")
        except NoDaemonError:
            return
        time.sleep(_POLL_S)
    raise WeaveError(f"the daemon still answers after {_STOP_S:.0f} s; look at its log")


@click.command(epilog="\b\nExamples:\n  weavedns status\n  weavedns status dns --format json")
@click.argument("section", required=False, default="")
@setting("--format", "form", type=click.Choice(["table", "json"]), default="table", help="Text for people, or JSON.")
@socket_option
def status(section: str, form: str, client: Client) -> None:
    """Show how the daemon is doing.

    With a SECTION only that part: dns, upstream, containers, zones, peers or ipam.
    """
    text = client.call("GET", "/status", query={"section": section})
    if form == "json":
        report = client.call("GET", "/report")
        if section == "peers":
            report = {"peers": report["peers"], "gossip": report["gossip"]}
        elif section:
            report = report[section]
        click.echo(json.dumps(report))
    else:
        click.echo(text, nl=False)


@click.command(epilog="\b\nExample:\n  weavedns join host2 192.0.2.3:6783")
@click.argument("peers", nargs=-1, required=True, metavar="PEER...")
@socket_option
def join(peers: tuple[str, ...], client: Client) -> None:
    """Join more peers.

    Done when each PEER, a name or address, maybe with :PORT, let this one in. Where one did not, it is tried again
    until it does, or until 'weavedns forget' with that address. The next launch looks for all that were joined, too,
    but for those that left or were forgotten, unless 'weavedns stop --clean' comes before.
    """
    client.call("POST", "/v1/join", {"peers": list(peers)})


@click.command(epilog="\b\nExamples:\n  weavedns forget host3\n  weavedns forget 192.0.2.9:6783")
@click.argument("peer", metavar="PEER|ADDRESS[:PORT]")
@socket_option
def forget(peer: str, client: Client) -> None:
    """Drop a peer that is gone.

    Its names and its place in the overlay go on all peers at once, instead of after half an hour. PEER is its name,
    as 'weavedns status peers' shows. 'weavenet ipam takeover' inherits its addresses.

    With an ADDRESS that was to be joined and where no peer was found, nobody is looked for there any more.
    """
    client.call("POST", "/v1/forget", {"peer": peer})


@click.command(epilog="\b\nExample:\n  weavedns genkey > /etc/weavedns/password")
def genkey() -> None:
    """Print a strong password for --password."""
    click.echo(secrets.token_urlsafe(_KEY_BYTES))
