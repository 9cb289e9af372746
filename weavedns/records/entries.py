"""Cuts a master file into entries: the fields of one record or directive (RFC 1035 section 5.1).

Knows quotes, escapes, comments and parentheses; must never know what a field means.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from weavedns.errors import ZoneFileError

# The longest data that a record can hold, every byte of it written as \DDD, and a name before it.
MAX_ENTRY_CHARS = 300_000
_MAX_SENTENCE_CHARS = 300

_SPECIAL = re.compile(r'[;()"\\]')
_FIELD = re.compile(
    r"""
    [ \t]*+
    (?: (?P<comment> ; .* )
      | (?P<bracket> [()] )
      | " (?P<quoted> (?: [^"\\]++ | \\. )*+ ) "
      | (?P<plain> (?: [^ \t;()"\\]++ | \\. )++ )
      | (?P<end> \Z )
    )
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One record or directive: where it starts, whether it starts with a blank, and its fields.

    Fields keep their escapes and lose their quotes.
    """

    line: int
    blank_start: bool
    fields: list[str]


def failure(file: str, line: int, sentence: str) -> ZoneFileError:
    """The error for something wrong at a line; a sentence that a huge value has swollen is cut in its middle."""
    if len(sentence) > _MAX_SENTENCE_CHARS:
        sentence = f"{sentence[: _MAX_SENTENCE_CHARS // 2]}...{sentence[-_MAX_SENTENCE_CHARS // 2 :]}"
    return ZoneFileError(f"{file}:{line}: {sentence}")


def read(lines: Sequence[str], at: int, file: str) -> tuple[Entry, int]:
    """Read the entry that starts at index `at`, and return it with the index after it; it may have no fields.

    Raises ZoneFileError for an open quote or parenthesis, and for an entry over MAX_ENTRY_CHARS.
    """
    start = at
    fields: list[str] = []
    depth = size = 0
    while at < len(lines):
        line = lines[at]
        at += 1
        size += len(line)
        if size > MAX_ENTRY_CHARS:
            raise failure(file, start + 1, f"the entry is over {MAX_ENTRY_CHARS} characters long; split it")
        depth = _read_line(line.removesuffix("\r"), depth, fields, file, at)
        if not depth:
            return Entry(start + 1, lines[start][:1] in {" ", "\t"}, fields), at
    raise failure(file, start + 1, "'(' is never closed; put ')' after the last field")


def _read_line(line: str, depth: int, fields: list[str], file: str, number: int) -> int:
    """Append the fields of a line, and return how many parentheses are open after it."""
    if not _SPECIAL.search(line):
        fields += [text for text in line.replace("\t", " ").split(" ") if text]
        return depth
    at = 0
    while at < len(line):
        match = _FIELD.match(line, at)
        if match is None:
            rest = line[at:].lstrip(" \t")
            if rest.startswith('"'):
                raise failure(file, number, f"{rest[:40]!r} has no closing quote on its line; put '\"' after it")
            raise failure(file, number, f"{rest[:40]!r} ends with a backslash; write it twice to mean itself")
        at = match.end()
        match match.lastgroup:
            case "plain":
                fields.append(match["plain"])
            case "quoted":
                # In quotes this is text, not the mark of generic data.
                fields.append("#" if match["quoted"] == r"\#" else match["quoted"])
            case "bracket":
                depth += 1 if match["bracket"] == "(" else -1
                if depth < 0:
                    raise failure(file, number, "')' closes nothing; remove it, or put '(' before it")
    return depth
