"""Kernel settings that cannot be made."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from weavenet import sysctl
from weavenet.errors import NetworkError


class Here:
    """A namespace that one is in already."""

    def entered(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()


def write(key: str, value: str) -> None:
    sysctl.write(Here(), {key: value})  # type: ignore[arg-type]


def test_a_setting_is_written_only_when_it_says_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sysctl, "_NET", tmp_path)
    setting = tmp_path / "ipv4" / "arp_notify"
    setting.parent.mkdir()
    setting.write_text("1\n")
    write("ipv4/arp_notify", "1")
    assert setting.read_text() == "1\n"
    write("ipv4/arp_notify", "0")
    assert setting.read_text() == "0"


def test_a_kernel_without_ipv6_needs_none_of_its_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysctl, "_NET", tmp_path)
    write("ipv6/conf/weave/disable_ipv6", "1")
    with pytest.raises(NetworkError, match="no such interface"):
        write("ipv4/conf/weave/arp_notify", "1")


def test_a_setting_that_cannot_be_made_is_told_with_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysctl, "_NET", tmp_path)
    (tmp_path / "arp_notify").mkdir()
    with pytest.raises(NetworkError, match=r"arp_notify to 1 .*: run as root"):
        write("arp_notify", "1")
