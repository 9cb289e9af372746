"""The product's image: built without a network, and doing all its work from a container."""

import subprocess
from pathlib import Path

import pytest

from tests.lab import Host, Lab, wait_until

pytestmark = pytest.mark.docker

ROOT = Path(__file__).parents[2]
MAX_ADDED_MB = 80  # what the image may add to its base


@pytest.fixture(scope="module")
def image_host(module_lab: Lab) -> Host:
    """A host whose engine has the image ``weavedns``."""
    subprocess.run([ROOT / "scripts" / "image-wheels"], check=True, timeout=300)
    host = module_lab.hosts[0]
    host.load("glibc")
    build = ("docker", "build", "--network=none", "--build-arg", "BASE=glibc", "--tag", "weavedns", ROOT)
    host.run(*build, timeout_s=300)
    return host


def size_mb(host: Host, image: str) -> float:
    return int(host.docker("image", "inspect", "--format", "{{.Size}}", image)) / 1e6


def test_the_image_is_its_base_and_little_more(image_host: Host) -> None:
    assert size_mb(image_host, "weavedns") - size_mb(image_host, "glibc") < MAX_ADDED_MB


def test_the_image_runs_the_commands(image_host: Host) -> None:
    assert image_host.docker("run", "--rm", "weavedns", "--version").startswith("weavedns")


def launch(host: Host, *options: str) -> None:
    """Run the daemon in a container, and wait until it answers."""
    containers = host.directory / "docker" / "containers"
    host.docker(
        *("run", "--detach", "--name=weavedns", "--net=host", "--pid=host"),
        *("--cap-add=NET_ADMIN", "--cap-add=SYS_ADMIN", "--cap-add=SYS_PTRACE"),
        *("--security-opt=systempaths=unconfined", "--security-opt=apparmor=unconfined"),
        *("--volume=/var/run/docker.sock:/var/run/docker.sock", "--volume=/run/weavedns:/run/weavedns"),
        *(
            f"--volume={containers}:{containers}",
            f"--volume={host.state_dir}:/var/lib/weavedns",
            *options,
            "weavedns",
        ),
    )

    def serves() -> bool:
        return host.run("docker", "exec", "weavedns", "weavedns", "status", check=False).returncode == 0

    wait_until(serves, 30, what=lambda: host.run("docker", "logs", "weavedns").stderr)


def test_a_daemon_in_a_container_attaches_and_names_the_others(image_host: Host) -> None:
    launch(image_host)
    image_host.docker("run", "--detach", "--hostname=redis.weave.local", "busybox")
    app = image_host.docker("run", "--detach", "--hostname=app.weave.local", "busybox")
    wait_until(lambda: image_host.dig("app.weave.local") == ["10.2.0.2"])
    assert "10.2.0.1" in image_host.docker("exec", app, "nslookup", "redis.weave.local")
    image_host.run("weavedns", "add", "laptop", "192.0.2.60")  # the host's own command, over the shared socket
    assert "192.0.2.60" in (image_host.state_dir / "added.zone").read_text()
    image_host.docker("stop", "weavedns")
    assert image_host.docker("inspect", "--format", "{{.State.ExitCode}}", "weavedns") == "0"


def test_a_daemon_in_a_container_joins_the_peers_of_its_environment(image_host: Host, module_lab: Lab) -> None:
    image_host.sweep()
    (other,) = module_lab.add_hosts()
    other.start_daemon()
    other.docker("run", "--detach", "--hostname=redis.weave.local", "busybox")
    launch(image_host, f"--env=WEAVEDNS_PEERS={other.address}")
    app = image_host.docker("run", "--detach", "--hostname=app.weave.local", "busybox")

    def pings() -> bool:
        return image_host.run("docker", "exec", app, "ping", "-c1", "-W1", "redis", check=False).returncode == 0

    wait_until(pings, 20, what=lambda: image_host.run("docker", "logs", "weavedns").stderr)
