"""What can happen at the Docker engine, and how its event messages are read. Opens nothing, knows no thread.

Every event carries the full container ID, and asks its reader to look at the container, not to trust the event.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec


@dataclass(frozen=True, slots=True)
class EngineUp:
    """The engine answers and its events are followed from here on: look at everything."""


@dataclass(frozen=True, slots=True)
class EngineDown:
    """The engine is lost, or not there at the start; `reason` says why and what helps."""

    reason: str


@dataclass(frozen=True, slots=True)
class Resync:
    """Events may have been lost, for `reason`, or it is simply time: look at everything."""

    reason: str


@dataclass(frozen=True, slots=True)
class ContainerStarted:
    """A container runs since `time_ns`, by the engine's clock."""

    container_id: str
    time_ns: int


@dataclass(frozen=True, slots=True)
class ContainerDied:
    """A container's process ended at `time_ns`, by the engine's clock."""

    container_id: str
    time_ns: int


@dataclass(frozen=True, slots=True)
class ContainerChanged:
    """A container was renamed, joined or left one of Docker's networks (which each start and end does too), or its
    health check came to another result.
    """

    container_id: str
    time_ns: int


@dataclass(frozen=True, slots=True)
class ContainerRemoved:
    """A container does not exist any more."""

    container_id: str
    time_ns: int


@dataclass(frozen=True, slots=True)
class NetworksChanged:
    """One of Docker's networks was made or removed."""


ContainerEvent = ContainerStarted | ContainerDied | ContainerChanged | ContainerRemoved
Event = EngineUp | EngineDown | Resync | ContainerEvent | NetworksChanged

# Sent to the engine, so that it keeps what health checks execute (several a second) to itself. With `health_status`
# among them it takes each as the beginning of an action.
FILTERS = {
    "type": ["container", "network"],
    "event": ["start", "die", "rename", "destroy", "create", "connect", "disconnect", "remove", "health_status"],
}

_HEALTH = "health_status"  # the result follows, or not; the inspection has it

_OF_CONTAINER: dict[str, type[ContainerEvent]] = {
    "start": ContainerStarted,
    "die": ContainerDied,
    "rename": ContainerChanged,
    "destroy": ContainerRemoved,
}


class _Actor(msgspec.Struct, rename={"id": "ID", "attributes": "Attributes"}):
    id: str = ""
    attributes: dict[str, Any] | None = None


class _Message(msgspec.Struct, rename={"type": "Type", "action": "Action", "actor": "Actor", "time_ns": "timeNano"}):
    type: str = ""
    action: str = ""
    actor: _Actor | None = None
    time_ns: int = 0


_decoder = msgspec.json.Decoder(_Message)


def decode(line: bytes) -> Event | None:
    """Read one message of the event stream; None when it is of no concern, Resync when it cannot be read."""
    try:
        message = _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Resync("the engine sent an event that cannot be read")
    actor = message.actor or _Actor()
    if message.type == "container" and actor.id:
        if message.action in _OF_CONTAINER:
            return _OF_CONTAINER[message.action](actor.id, message.time_ns)
        if message.action.partition(":")[0] == _HEALTH:
            return ContainerChanged(actor.id, message.time_ns)
    if message.type == "network":
        if message.action in {"create", "destroy", "remove"}:
            return NetworksChanged()
        container_id = (actor.attributes or {}).get("container")
        if message.action in {"connect", "disconnect"} and isinstance(container_id, str) and container_id:
            return ContainerChanged(container_id, message.time_ns)
    return None
