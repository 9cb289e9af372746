"""Names and what stands at each: nodes with their RRsets, and empty non-terminals. Knows no record."""

from __future__ import annotations

from collections.abc import Callable

from weavedns.dns.rrset import RRset
from weavedns.records import names

# What stands at a name: the RRsets by type and class as they end a question (four bytes). A name with one
# A record and nothing else, which is what nearly every container has, is that record's bytes alone: a fifth
# of the memory and a look-up less.
RRsets = dict[bytes, RRset]
Node = bytes | RRsets

# A name that exists only because names exist under it (RFC 8020). Shared, and never written to.
EMPTY: RRsets = {}


class Tree:
    """The nodes of one or more zones; `is_apex` says where each ends."""

    def __init__(self, is_apex: Callable[[bytes], bool]) -> None:
        self.nodes: dict[bytes, Node] = {}
        self._is_apex = is_apex
        self._below: dict[bytes, int] = {}

    def put(self, name: bytes, node: Node) -> None:
        """Let `node` stand at `name`, and let every name above it exist."""
        before = self.nodes.get(name)
        self.nodes[name] = node
        if before is None or before is EMPTY:
            self._count_above(name, 1)

    def remove(self, name: bytes) -> None:
        """Take away what stands at `name`; the name goes on existing while names exist under it."""
        before = self.nodes.get(name)
        if before is None or before is EMPTY:
            return
        if name in self._below:
            self.nodes[name] = EMPTY
        else:
            del self.nodes[name]
        self._count_above(name, -1)

    def _count_above(self, name: bytes, step: int) -> None:
        if self._is_apex(name):
            return
        above = names.parent(name)
        while not self._is_apex(above):
            count = self._below.get(above, 0) + step
            if count:
                self._below[above] = count
                self.nodes.setdefault(above, EMPTY)
            else:
                del self._below[above]
                if self.nodes[above] is EMPTY:
                    del self.nodes[above]
            above = names.parent(above)
