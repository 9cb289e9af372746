"""The text of a container's resolv.conf: rewritten for WeaveDNS, and put back. Never opens a file.

A rewritten text carries the text it replaced as comment lines, and a digest over itself. So nothing has to be
remembered elsewhere, the original comes back byte for byte, and a change by somebody else is noticed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from hashlib import sha256

# glibc and musl read no more.
MAX_NAMESERVERS = 3
# A dead first server must cost a second, not the five that glibc waits by itself.
PATIENCE = {"timeout": "timeout:1", "attempts": "attempts:2"}

_HEADER = b"# weavedns: written for this container; what it replaced is kept below and comes back on detach. sha256="
_KEPT = b"# weavedns| "
_OURS = re.compile(rb"^# weavedns[:|]", re.MULTILINE)


class State(Enum):
    """Whose text it is."""

    ORIGINAL = "not written by us"
    OURS = "written by us and untouched since"
    CHANGED = "written by us and changed since"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a container's resolver shall do.

    `search` comes before what was there; it is not used when the person who started the container gave a list of
    their own (`search_given`).
    """

    nameservers: tuple[str, ...]
    search: tuple[str, ...]
    search_given: bool = False


def state_of(text: bytes) -> State:
    """Whose text this is."""
    if not _OURS.search(text):
        return State.ORIGINAL
    header, _, body = text.partition(b"\n")
    return State.OURS if header == _header(body) else State.CHANGED


def rewrite(text: bytes, wanted: Wanted) -> bytes | None:
    """The text with our resolver in it; None when somebody changed what we had written, which is to be left alone."""
    match state_of(text):
        case State.CHANGED:
            return None
        case State.OURS:
            original = _embedded(text)
        case State.ORIGINAL:
            original = text
    lines = [line.encode() for line in _render(original.decode(errors="surrogateescape"), wanted)]
    body = b"\n".join([*lines, *(_KEPT + line for line in original.split(b"\n"))]) + b"\n"
    return _header(body) + b"\n" + body


def given(text: bytes) -> list[str]:
    """The name servers in a text that we wrote; none in any other."""
    if state_of(text) is not State.OURS:
        return []
    lines = (line.split() for line in text.decode(errors="surrogateescape").splitlines())
    return [fields[1] for fields in lines if len(fields) > 1 and fields[0] == "nameserver"]


def restore(text: bytes) -> bytes | None:
    """The text as it was before we wrote it; None when somebody changed it since, and then it is to be left alone."""
    match state_of(text):
        case State.CHANGED:
            return None
        case State.OURS:
            return _embedded(text)
        case State.ORIGINAL:
            return text


def _header(body: bytes) -> bytes:
    return _HEADER + sha256(body).hexdigest().encode()


def _embedded(text: bytes) -> bytes:
    lines = text.removesuffix(b"\n").split(b"\n")
    return b"\n".join(line.removeprefix(_KEPT) for line in lines if line.startswith(_KEPT))


def _render(original: str, wanted: Wanted) -> Iterable[str]:
    search: list[str] = []
    options: list[str] = []
    sortlists: list[str] = []
    for line in original.splitlines():
        keyword, *values = line.split() or [""]
        match keyword:
            case "search" | "domain":
                search = values  # the last such line counts, as in glibc
            case "options":
                options += values
            case "sortlist":
                sortlists.append(" ".join(line.split()))
    for server in wanted.nameservers[:MAX_NAMESERVERS]:
        yield f"nameserver {server}"
    if not wanted.search_given:
        search = _distinct([*wanted.search, *search])
    if search:
        yield "search " + " ".join(search)
    yield from sortlists
    yield "options " + " ".join(_options(options))


def _distinct(domains: Sequence[str]) -> list[str]:
    first: dict[str, str] = {}
    for domain in domains:
        first.setdefault(domain.rstrip(".").lower(), domain)
    return list(first.values())


def _options(options: Sequence[str]) -> list[str]:
    # Docker writes ndots:0 for its own resolver, and it stays: a short name is asked as it is before the search list
    # is tried, so that a neighbour on a Docker network comes before what the weave domain has by that name.
    given = {option.partition(":")[0] for option in options}
    return [*options, *(setting for name, setting in PATIENCE.items() if name not in given)]
