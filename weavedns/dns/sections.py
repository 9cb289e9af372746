"""The records of a reply by section, and which of them a reply of limited size has. Knows no name and no type."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sections:
    """The records of a reply, each as it stands there; in the additional section RRset by RRset.

    They fit behind the question that they were made for, and nowhere else: they have pointers. Without the first
    `needed` of the additional RRsets, a referral's glue, the rest is of no use.
    """

    answer: tuple[bytes, ...] = ()
    authority: tuple[bytes, ...] = ()
    additional: tuple[tuple[bytes, ...], ...] = ()
    needed: int = 0

    def fit(self, room: int) -> tuple[Sections, bool]:
        """What of this is in a reply with `room` bytes for it, and whether that is cut.

        Addresses that were only added may be missing without a word (RFC 2181 section 9), but no part of an RRset and
        no glue (RFC 9471).
        """
        kept: tuple[list[bytes], list[bytes]] = [], []
        for section, records in zip(kept, (self.answer, self.authority), strict=True):
            for record in records:
                if len(record) > room:
                    return Sections(tuple(kept[0]), tuple(kept[1])), True
                section.append(record)
                room -= len(record)
        added: list[tuple[bytes, ...]] = []
        is_cut = False
        for number, whole in enumerate(self.additional):
            size = sum(map(len, whole))
            if size <= room:
                added.append(whole)
                room -= size
            else:
                is_cut = is_cut or number < self.needed
        return Sections(tuple(kept[0]), tuple(kept[1]), tuple(added)), is_cut

    @property
    def counts(self) -> tuple[int, int, int]:
        """How many records each section has."""
        return len(self.answer), len(self.authority), sum(map(len, self.additional))

    def __bytes__(self) -> bytes:
        return b"".join((*self.answer, *self.authority, *(record for whole in self.additional for record in whole)))


NOTHING = Sections()
