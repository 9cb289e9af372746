"""What commands print: a table for people, JSON lines for programs, bare keys for scripts. Never decides what."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

Row = Mapping[str, Any]


def listing(rows: Sequence[Row], columns: Sequence[str], *, form: str, quiet: bool, key: str) -> None:
    """Print `rows`: their `key` alone (`quiet`), an object a line (`form` is ``json``), or a table of `columns`."""
    if quiet:
        for value in dict.fromkeys(str(row[key]) for row in rows):
            click.echo(value)
    elif form == "json":
        for row in rows:
            click.echo(json.dumps(row, separators=(",", ":")))
    else:
        _table([[_cell(row.get(column)) for column in columns] for row in rows], [c.upper() for c in columns])


def _cell(value: object) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


def _table(rows: Sequence[Sequence[str]], heads: Sequence[str]) -> None:
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
        for row in (heads, *rows):
            click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in heads:
        table.add_column(head, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console(highlight=False).print(table)
