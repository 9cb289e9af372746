"""Reading the engine's event messages."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weavedns.containers.events import (
    ContainerChanged,
    ContainerDied,
    ContainerRemoved,
    ContainerStarted,
    Event,
    NetworksChanged,
    Resync,
    decode,
)

ID = "ca88a6e0" * 8


def message(kind: str, action: str, actor_id: str = ID, **attributes: Any) -> bytes:
    actor = {"ID": actor_id, "Attributes": attributes}
    event = {"status": action, "Type": kind, "Action": action, "Actor": actor, "scope": "local", "time": 1}
    return json.dumps(event | {"timeNano": 1795467617688796805}).encode()


@pytest.mark.parametrize(
    ("line", "event"),
    [
        (message("container", "start"), ContainerStarted(ID, 1795467617688796805)),
        (message("container", "die", exitCode="137"), ContainerDied(ID, 1795467617688796805)),
        (message("container", "rename", oldName="/x"), ContainerChanged(ID, 1795467617688796805)),
        (message("container", "destroy"), ContainerRemoved(ID, 1795467617688796805)),
        (message("container", "health_status: unhealthy"), ContainerChanged(ID, 1795467617688796805)),
        (message("container", "health_status"), ContainerChanged(ID, 1795467617688796805)),
        (message("container", "health_statuses"), None),
        (message("container", "health_status: healthy", ""), None),
        (message("network", "connect", "f" * 64, container=ID), ContainerChanged(ID, 1795467617688796805)),
        (message("network", "disconnect", "f" * 64, container=ID), ContainerChanged(ID, 1795467617688796805)),
        (message("network", "create"), NetworksChanged()),
        (message("network", "destroy"), NetworksChanged()),
        (message("network", "remove"), NetworksChanged()),
        (message("network", "connect", "f" * 64), None),
        (message("network", "connect", "f" * 64, container=5), None),
        (message("container", "create"), None),
        (message("container", "exec_start: true"), None),
        (message("container", "start", ""), None),
        (message("volume", "create"), None),
        (b'{"Type":"container","Action":"start","Actor":{"ID":"x","Attributes":null}}', ContainerStarted("x", 0)),
        (b'{"Type":"container","Action":"start","Actor":null}', None),
        (b"{}", None),
    ],
)
def test_a_message_is_read_as_the_event_it_is(line: bytes, event: Event | None) -> None:
    assert decode(line) == event


@pytest.mark.parametrize(
    "line", [b"", b"x", b"[]", b'{"Type":5}', b'{"timeNano":"x"}', b'{"timeNano":1e400}', b"\xff"]
)
def test_a_message_that_cannot_be_read_asks_for_a_look_at_everything(line: bytes) -> None:
    assert isinstance(decode(line), Resync)


@given(st.binary() | st.text().map(str.encode))
def test_no_message_raises(line: bytes) -> None:
    decode(line)
