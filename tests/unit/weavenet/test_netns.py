"""Namespaces held by descriptor; what needs no privileges."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from weavenet import netns
from weavenet.errors import ContainerGoneError
from weavenet.netns import Namespace

ID = "ca88a6e0" * 8
OTHER = "beef1234" * 8


async def test_a_thread_with_an_event_loop_never_leaves_its_namespace() -> None:
    with Namespace.own() as own, pytest.raises(RuntimeError, match="event loop"), own.entered():
        pass


def test_two_views_of_one_namespace_are_equal() -> None:
    with Namespace.own() as one, Namespace.own() as other:
        assert one == other
        assert hash(one) == hash(other)
        assert one.is_of(os.getpid())


def test_a_process_in_the_hosts_own_namespace_is_no_container() -> None:
    with Namespace.own() as host, pytest.raises(ContainerGoneError, match="redis"):
        netns.of_container(os.getpid(), ID, "redis", host)


@pytest.mark.parametrize(
    ("groups", "anothers"),
    [
        (f"0::/system.slice/docker-{ID}.scope\n", False),
        (f"12:pids:/docker/{ID}\n0::/\n", False),
        (f"0::/../{OTHER}/docker/{ID}\n", False),
        ("0::/\n", False),
        ("", False),
        (f"0::/system.slice/docker-{OTHER}.scope\n", True),
    ],
)
def test_a_process_number_that_went_to_another_container_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: str, anothers: bool
) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "cgroup").write_text(groups)
    monkeypatch.setattr(netns, "_PROC", tmp_path)
    assert netns._is_of_another_container(7, ID) == anothers
    assert netns._is_of_another_container(8, ID)
