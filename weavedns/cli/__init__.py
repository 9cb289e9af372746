"""The `weavedns` command: the daemon, and the records people keep in it."""

from __future__ import annotations

import click

from weavedns import __version__
from weavedns.cli import daemon, forwarding, records
from weavedns.errors import WeaveError
from weavenet.cli.group import Group

_EXAMPLES = """
\b
Examples:
  weavedns launch                     run the daemon (as root)
  docker run -d --hostname redis.weave.local redis
  dig @10.2.254.1 redis.weave.local +short
  weavedns add db 192.0.2.10          a machine that is no container
  weavedns status

A flag whose help names an environment variable is also a key in the settings file.
"""


@click.group(cls=Group, errors=(WeaveError,), epilog=_EXAMPLES)
@click.version_option(__version__, prog_name="weavedns")
def main() -> None:
    """Names for containers, answered on every Docker host."""


for command in (
    daemon.launch,
    daemon.stop,
    daemon.join,
    daemon.forget,
    daemon.genkey,
    records.add,
    records.remove,
    records.rm,
    records.lookup,
    records.ls,
    daemon.status,
    forwarding.flush,
    forwarding.log_queries,
    records.export,
):
    main.add_command(command)
