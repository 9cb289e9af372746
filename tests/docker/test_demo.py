"""`make demo` whole, ended in the middle, and when a step does not come true; each time nothing is left of it."""

import contextlib
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import wait_until
from tests.lab.lab import CGROUPS, FOLDER
from tests.lab.netns import NETNS_FOLDER

pytestmark = pytest.mark.docker

ROOT = Path(__file__).parents[2]
WHOLE_S = 300.0
END_S = 180.0  # the kernel takes its time with namespaces on a busy machine


class Demo:
    """One `make demo`, its output in a file."""

    def __init__(self, out: Path) -> None:
        self.rules = rules()
        self._out = out
        with out.open("wb") as file:
            self.process = subprocess.Popen(
                ["make", "--no-print-directory", "-C", ROOT, "demo"],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        return self._out.read_text(encoding="utf-8")

    def comes_to(self, step: int) -> None:
        wait_until(lambda: re.search(rf"^{step}\. ", self.said, re.MULTILINE), WHOLE_S, what=lambda: self.said)

    def lab(self) -> Path:
        """The directory of its lab, while it runs; found by whose it is."""
        (found,) = [path.parent for path in FOLDER.glob("*/owner.json") if self._owns(path)]
        return found

    def _owns(self, owner: Path) -> bool:
        pid = json.loads(owner.read_text(encoding="utf-8"))["pid"]
        with contextlib.suppress(ProcessLookupError):
            return os.getsid(pid) == self.process.pid
        return False


@pytest.fixture(scope="module", autouse=True)
def _set_up() -> None:
    """Before any rule is counted: what a first run installs is not what is asked here."""
    subprocess.run([ROOT / "scripts" / "setup", "dev"], check=True, timeout=600)


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    started = Demo(tmp_path / "demo.txt")
    try:
        yield started
    finally:
        if started.process.poll() is None:
            os.killpg(started.process.pid, signal.SIGTERM)
            started.process.wait(END_S)


def rules() -> list[str]:
    """This machine's own packet filter, without what changes by itself."""
    saved = subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout
    return [line.split("[", maxsplit=1)[0] for line in saved.splitlines() if not line.startswith("#")]


def namespaces(lab: str) -> set[int]:
    return {path.stat().st_ino for path in NETNS_FOLDER.glob(f"wd-{lab}-*")}


def processes_in(inodes: set[int]) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/ns/net"):
        with contextlib.suppress(OSError):
            if path.stat().st_ino in inodes:
                found.append(path.parts[2])
    return found


def assert_nothing_is_left(demo: Demo, directory: Path, inodes: set[int]) -> None:
    lab = directory.name
    assert inodes
    assert processes_in(inodes) == []
    assert not namespaces(lab)
    assert not directory.exists()
    assert not list(CGROUPS.glob(f"**/wd-{lab}-*"))
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    assert str(directory) not in mounts
    assert f"wd-{lab}-" not in mounts
    assert rules() == demo.rules


def test_it_comes_true_from_the_first_step_to_the_last(demo: Demo) -> None:
    demo.comes_to(2)
    directory = demo.lab()
    inodes = namespaces(directory.name)
    assert demo.process.wait(WHOLE_S) == 0, demo.said
    assert "all steps came true" in demo.said
    assert len(re.findall(r"^ok  measured: .*\d\.\d s", demo.said, re.MULTILINE)) == 4
    assert "\033" not in demo.said
    assert_nothing_is_left(demo, directory, inodes)


@pytest.mark.parametrize(("number", "step"), [(signal.SIGINT, 5), (signal.SIGTERM, 3)])
def test_it_can_be_ended_in_the_middle(demo: Demo, number: signal.Signals, step: int) -> None:
    demo.comes_to(step)
    directory = demo.lab()
    inodes = namespaces(directory.name)
    assert len(inodes) == 4
    os.killpg(demo.process.pid, number)  # as a terminal does
    assert demo.process.wait(END_S) != 0
    wait_until(lambda: not processes_in(inodes) and not directory.exists(), END_S, what=lambda: demo.said)
    assert "all steps came true" not in demo.said
    assert_nothing_is_left(demo, directory, inodes)


def test_a_step_that_does_not_come_true_ends_it_with_a_failure_that_says_what_was_expected(demo: Demo) -> None:
    demo.comes_to(3)
    directory = demo.lab()
    inodes = namespaces(directory.name)
    for pid in processes_in({(NETNS_FOLDER / f"wd-{directory.name}-h2").stat().st_ino}):
        with contextlib.suppress(OSError):
            if b"weavedns\0launch" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(int(pid), signal.SIGKILL)
    assert demo.process.wait(WHOLE_S) != 0
    assert "failed: expected that h1's server knows the address of app" in demo.said
    assert_nothing_is_left(demo, directory, inodes)


def test_without_root_it_says_how_in_one_line() -> None:
    not_root = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    done = subprocess.run(
        [*not_root, ROOT / "scripts" / "demo"], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == "error: the demonstration makes hosts, which needs root: sudo make demo\n"
