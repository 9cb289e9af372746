"""What a node tells whoever drives it, as past-tense values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from weavedns.records.log import Change

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class RecordsChanged:
    """Visible records came or went; what is true now stands in the catalog."""

    changes: Sequence[Change]


@dataclass(frozen=True, slots=True)
class FactsChanged:
    """Another owner's facts may have changed, or came into or went out of sight."""

    owner: str


@dataclass(frozen=True, slots=True)
class PeerJoined:
    """A peer is there that was not known, or that is back as a new incarnation."""

    name: str
    addr: Address
    restarted: bool


@dataclass(frozen=True, slots=True)
class PeerSuspected:
    """A peer does not answer `accuser`; its names are still answered."""

    name: str
    accuser: str


@dataclass(frozen=True, slots=True)
class PeerCleared:
    """A suspect showed that it is there."""

    name: str


@dataclass(frozen=True, slots=True)
class PeerDown:
    """A peer's daemon is believed dead, but its host answers; its names are answered on."""

    name: str


@dataclass(frozen=True, slots=True)
class PeerLost:
    """A peer is believed dead, and its host with it; its names are hidden."""

    name: str


@dataclass(frozen=True, slots=True)
class PeerReturned:
    """A peer believed dead is back as it was; its names are answered again."""

    name: str


@dataclass(frozen=True, slots=True)
class PeerMoved:
    """A peer is at another address than before, or its datagrams come from another one."""

    name: str


@dataclass(frozen=True, slots=True)
class PeerLeft:
    """A peer is gone for good, and its records with it."""

    name: str


@dataclass(frozen=True, slots=True)
class JoinedCluster:
    """The peer `via`, at an address where this one was to join, has let it in, or had before."""

    via: str
    addr: Address


@dataclass(frozen=True, slots=True)
class JoinRefused:
    """A peer named at launch, or one on the way, would not have this one; `text` is a sentence."""

    addr: Address
    text: str


@dataclass(frozen=True, slots=True)
class MetItself:
    """An address where this peer was to join is its own."""

    addr: Address


@dataclass(frozen=True, slots=True)
class NameConflict:
    """Another live peer has this one's name, at `addr`; when this one `lost` it takes part no more."""

    addr: Address
    lost: bool


@dataclass(frozen=True, slots=True)
class StrangerRejected:
    """Packets of a source are refused for a reason that a person should know; told once a minute for each."""

    addr: Address
    why: str


@dataclass(frozen=True, slots=True)
class OwnerOverLimit:
    """A peer publishes more records than are kept here for one owner."""

    owner: str


@dataclass(frozen=True, slots=True)
class RequestCame:
    """Another peer asks something; answer with `node.reply`."""

    peer: str
    number: int
    kind: str
    body: bytes


@dataclass(frozen=True, slots=True)
class ReplyCame:
    """The answer to a request of this peer."""

    number: int
    body: bytes


@dataclass(frozen=True, slots=True)
class RequestFailed:
    """A request of this peer got no answer, or a refusal; `text` is a sentence."""

    number: int
    text: str


Event = (
    RecordsChanged
    | FactsChanged
    | PeerJoined
    | PeerSuspected
    | PeerCleared
    | PeerDown
    | PeerLost
    | PeerReturned
    | PeerMoved
    | PeerLeft
    | JoinedCluster
    | JoinRefused
    | MetItself
    | NameConflict
    | StrangerRejected
    | OwnerOverLimit
    | RequestCame
    | ReplyCame
    | RequestFailed
)
