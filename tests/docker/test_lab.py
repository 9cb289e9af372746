"""The lab itself: real engines on hosts of their own, and nothing left of them."""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Host, Lab, wait_until
from tests.lab.lab import CGROUPS, FOLDER, clean

pytestmark = pytest.mark.docker

LEFT_ALONE = """
import sys
from tests.lab import Lab
lab = Lab().start()
lab.hosts[0].docker("run", "-d", "busybox")
print(lab.name, flush=True)
sys.stdin.read()
"""


def processes_of(lab_name: str) -> list[str]:
    """Command lines of the processes in the lab's namespaces or that mention its directory."""
    found = []
    namespaces = {path.stat().st_ino for path in Path("/run/netns").glob(f"wd-{lab_name}-*")}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_text(errors="replace").replace("\0", " ")
            inside = (process / "ns/net").stat().st_ino in namespaces
        except OSError:
            continue
        if inside or str(FOLDER / lab_name) in command:
            found.append(command)
    return found


def leftovers(lab_name: str) -> list[str]:
    """All that a lab could have left on this machine: processes, names, groups, mounts, files."""
    found = processes_of(lab_name)
    found += [str(path) for path in Path("/run/netns").glob(f"wd-{lab_name}-*")]
    found += [str(path) for path in CGROUPS.glob(f"**/wd-{lab_name}-*")]
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f"/{lab_name}/" in line]
    found += [str(path) for path in FOLDER.glob(lab_name)]
    return found


def machine_state() -> tuple[str, str]:
    """The main namespace's links and packet filter rules, without counters."""
    links = subprocess.run(["ip", "-oneline", "link"], capture_output=True, text=True, check=True).stdout
    saved = subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout
    rules = [line for line in saved.splitlines() if line.startswith("-A")]
    return links, "\n".join(rules)


def test_a_closed_lab_leaves_nothing() -> None:
    before = machine_state()
    with Lab(hosts=2) as lab:
        for host in lab.hosts:
            host.docker("run", "--detach", "busybox")
        assert leftovers(lab.name)
    assert leftovers(lab.name) == []
    assert machine_state() == before


def test_a_lab_that_fails_half_way_leaves_nothing() -> None:
    lab = Lab(images=("no-such-image",))
    with pytest.raises(Exception, match="no-such-image"):
        lab.start()
    assert leftovers(lab.name) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signalled_program_leaves_nothing(number: signal.Signals) -> None:
    with program_with_a_lab() as (program, name):
        program.send_signal(number)
        program.communicate(timeout=60)
    assert leftovers(name) == []


def test_a_killed_program_leaves_no_process_and_clean_removes_the_rest() -> None:
    with program_with_a_lab() as (program, name):
        program.kill()
        program.communicate(timeout=60)
    wait_until(lambda: not processes_of(name), what="the end of the killed lab's processes")
    assert leftovers(name)
    assert name in clean()
    assert leftovers(name) == []


def test_clean_leaves_labs_in_use_alone(host: Host, module_lab: Lab) -> None:
    assert module_lab.name not in clean()
    assert host.docker("run", "--rm", "busybox", "echo", "here") == "here"


def test_hosts_reach_each_other_and_their_upstream(lab: Lab) -> None:
    (first,) = lab.hosts
    (second,) = lab.add_hosts()
    first.run("busybox", "ping", "-c1", "-W2", second.address)
    assert second.dig("example.test", server=lab.upstream.address) == ["192.0.2.80"]
    wait_until(lambda: ("example.test", "A", second.address) in lab.upstream.queries())


def test_a_silent_and_a_stopped_upstream_differ(lab: Lab) -> None:
    (host,) = lab.hosts
    question = ("dig", f"@{lab.upstream.address}", "+time=1", "+tries=1", "example.test")
    lab.upstream.pause()
    assert "timed out" in host.run(*question, check=False).stdout
    lab.upstream.resume()
    host.run(*question)
    lab.upstream.stop()
    assert "refused" in host.run(*question, check=False).stdout


def test_a_host_has_its_own_name_processes_and_files(host: Host) -> None:
    assert host.run("hostname").stdout.strip() == host.name
    host.run("sh", "-c", "echo changed >>/etc/hosts; touch /run/made-here")
    assert "changed" not in Path("/etc/hosts").read_text()
    assert not Path("/run/made-here").exists()
    assert (host.root / "run/made-here").exists()
    container = host.docker("run", "--detach", "busybox")
    assert host.run("cat", f"/proc/{host.container_pid(container)}/comm").stdout.strip() == "idle"


def test_containers_of_an_engine_run_again_after_its_crash(lab: Lab) -> None:
    (host,) = lab.hosts
    container = host.docker("run", "--detach", "--restart=always", "busybox")
    host.engine.restart(signal.SIGKILL)
    wait_until(lambda: host.inspect(container)["State"]["Running"])


def test_a_sweep_makes_a_host_as_new(host: Host) -> None:
    rules = [line for line in host.run("iptables-save").stdout.splitlines() if line.startswith("-A")]
    host.docker("network", "create", "mine")
    host.docker("run", "--detach", "--network=mine", "busybox")
    host.run("ip", "link", "add", "weave", "type", "bridge")
    host.run("iptables", "-A", "INPUT", "-p", "tcp", "--dport", "9", "-j", "DROP")
    host.sweep()
    assert host.docker("ps", "--all", "--quiet") == ""
    assert [line for line in host.run("iptables-save").stdout.splitlines() if line.startswith("-A")] == rules
    assert "weave" not in host.run("ip", "link").stdout


@pytest.mark.parametrize("image", ["busybox", "glibc", "musl"])
def test_an_image_looks_up_names_with_its_own_libc(host: Host, image: str) -> None:
    host.load(image)
    command = {"busybox": "nslookup", "glibc": "getent ahostsv4", "musl": "lookup"}[image]
    said = host.docker("run", "--rm", image, *command.split(), "example.test")
    assert "192.0.2.80" in said


@contextlib.contextmanager
def program_with_a_lab() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another program, with a lab and a container of its own, waiting for its end; and its lab's name."""
    program = subprocess.Popen(
        [sys.executable, "-c", LEFT_ALONE],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert program.stdout is not None
    try:
        yield program, program.stdout.readline().strip()
    finally:
        program.kill()
        program.communicate(timeout=60)
