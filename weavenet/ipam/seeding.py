"""How peers that were launched together, none with a ring, agree that one of them makes it. Never makes one.

Members are the peers named at launch by any of them, as far as they have heard of each other; the first by name
leads. The leader asks all others and makes the ring only when each knows the same members and leaves it to the
leader, by itself or through another member that does. Whoever has left it to a peer never takes that back: if a
better leader turns up, it is for that peer to leave it to the better one. So no member counts for two leaders,
whatever gets lost in between; a person decides when one never comes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

# As many as there can be peers; whoever names more is not believed.
MAX_MEMBERS = 2_048


@dataclass(frozen=True, slots=True)
class Reply:
    """What a peer without a ring answers to a leader: as `wire.NoRing`."""

    members: frozenset[str]
    promised_to: str
    waits_for: tuple[str, ...]
    life: str


@dataclass(slots=True)
class Attempt:
    """One round of a leader: the members when it began, and what they have replied."""

    members: frozenset[str]
    replies: dict[str, Reply] = field(default_factory=dict)


class Seeding:
    """One peer's side of it, until there is a ring."""

    def __init__(self, name: str, members: Iterable[str] = (), promised_to: str = "") -> None:
        self.name = name
        self.members = frozenset({name, *members})
        self.promised_to = promised_to

    @property
    def leader(self) -> str:
        """Who would make the ring as far as is known here."""
        return min(self.members)

    def learn(self, members: Iterable[str]) -> bool:
        """Hear of members; whether any was new. They stay members until there is a ring; too many are not heard."""
        before = self.members
        together = before | frozenset(members)
        if len(together) <= MAX_MEMBERS:
            self.members = together
        return self.members != before

    def asked(self, by: str, members: Collection[str], waits_for: Collection[str], life: str) -> Reply:
        """Reply to a leader. `waits_for`: who was named at launch and is not there; nothing is promised before.

        The promise, if there is one now, must be durable before the reply goes out.
        """
        self.learn([*members, by])
        agreed = self.members == frozenset(members) and by == self.leader and not waits_for
        if agreed and not self.promised_to and by != self.name:
            self.promised_to = by
        return Reply(self.members, self.promised_to, tuple(sorted(waits_for)), life)

    def attempt(self) -> Attempt | None:
        """Begin to ask the others, when this peer leads."""
        if self.leader != self.name or self.promised_to:
            return None
        return Attempt(self.members)

    def replied(self, attempt: Attempt, peer: str, reply: Reply) -> None:
        """Take in what a member replied."""
        attempt.replies[peer] = reply
        self.learn(reply.members)

    def waits_for(self, attempt: Attempt) -> list[str]:
        """Whose word is missing before this peer may make a ring of the attempt's members; empty: it may, now."""
        if self.promised_to or self.members != attempt.members:
            return [self.promised_to or self.leader]
        missing = [peer for peer in sorted(attempt.members) if not self._leaves_it_to_us(attempt, peer)]
        return sorted({name for peer in missing for name in self._missing(attempt, peer)})

    def _leaves_it_to_us(self, attempt: Attempt, peer: str) -> bool:
        seen: set[str] = set()
        while peer != self.name:
            reply = attempt.replies.get(peer)
            if reply is None or peer in seen or reply.members != attempt.members or reply.waits_for:
                return False
            seen.add(peer)
            peer = reply.promised_to
        return True

    @staticmethod
    def _missing(attempt: Attempt, peer: str) -> tuple[str, ...]:
        reply = attempt.replies.get(peer)
        return reply.waits_for if reply is not None and reply.waits_for else (peer,)
