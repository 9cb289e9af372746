"""The test images' root file systems, made from this machine's own packages and cached; no registry, no network.

Only ``glibc`` needs a Debian mirror, once. An archive is made anew when its recipe changed.
"""

import contextlib
import fcntl
import hashlib
import inspect
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.lab.sandbox import LabError

CACHE = Path(__file__).parents[2] / ".cache" / "images"
HERE = Path(__file__).parent
GLIBC_PACKAGES = ("python3", "python3-pip", "python3-venv", "iptables", "ca-certificates")
GLIBC_DROP = (
    *("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "usr/share/zoneinfo"),
    *("var/cache/apt", "var/lib/apt/lists", "var/cache/debconf", "var/log", "usr/lib/valgrind", "usr/include"),
)
PASSWD = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
NSSWITCH = "passwd: files\ngroup: files\nhosts: files dns\nservices: files\n"
# Ends at once when told to: a plain sleep as process 1 would ignore SIGTERM, and `docker stop` take 10 s.
IDLE = """#!/bin/sh
trap 'exit 0' TERM INT
while :; do sleep 3600 & wait $!; done
"""


def archive(name: str) -> Path:
    """The tar archive of an image's root file system. Raises LabError for an unknown or unbuildable one."""
    if name not in RECIPES:
        raise LabError(f"no test image {name!r}; there are {', '.join(RECIPES)}")
    target = CACHE / f"{name}-{_digest(RECIPES[name])}.tar"
    with _only_one(name):
        if not target.exists():
            for old in CACHE.glob(f"{name}-*.tar"):
                old.unlink()
            _build(RECIPES[name], target)
    return target


def _busybox(root: Path) -> None:
    """Static busybox with a link for each of its programs."""
    (root / "bin").mkdir()
    program = root / "bin" / "busybox"
    shutil.copy2(_program("busybox"), program)
    for applet in _output(str(program), "--list").split():
        if applet != "busybox":
            (root / "bin" / applet).symlink_to("busybox")
    _finish(root)
    (root / "etc" / "passwd").write_text(PASSWD, encoding="ascii")
    (root / "etc" / "group").write_text("root:x:0:\nnogroup:x:65534:\n", encoding="ascii")
    (root / "etc" / "nsswitch.conf").write_text(NSSWITCH, encoding="ascii")


def _musl(root: Path) -> None:
    """Busybox, and ``lookup``: getaddrinfo of an unmodified musl, linked to it at run time and statically."""
    _busybox(root)
    source = str(HERE / "lookup.c")
    compiler = _program("musl-gcc")
    _output(compiler, "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(root / "bin/lookup"), source)
    _output(compiler, "-O2", "-static", "-o", str(root / "bin/lookup-static"), source)
    (root / "lib").mkdir()
    for loader in Path("/lib").glob("ld-musl-*.so.1"):
        shutil.copy(loader, root / "lib" / loader.name)


def _glibc(root: Path) -> None:
    """A small Debian with Python, pip and iptables: the base of the product's own image in tests."""
    _output(
        # What debootstrap mounts and starts ends with it, also when it fails half-way.
        *("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--"),
        *(_program("debootstrap"), "--variant=minbase", f"--include={','.join(GLIBC_PACKAGES)}"),
        *("bookworm", str(root)),
        timeout_s=600,
    )
    for folder in GLIBC_DROP:
        shutil.rmtree(root / folder, ignore_errors=True)
    for cached in list(root.glob("usr/lib/python3*/**/__pycache__")):
        shutil.rmtree(cached)
    (root / "var/log").mkdir()
    (root / "var/lib/apt/lists/partial").mkdir(parents=True)
    shutil.rmtree(root / "dev")
    _finish(root)


RECIPES: dict[str, Callable[[Path], None]] = {"busybox": _busybox, "glibc": _glibc, "musl": _musl}


def _digest(recipe: Callable[[Path], None]) -> str:
    """Names an image by how it is made."""
    parts = [inspect.getsource(recipe), inspect.getsource(_finish), IDLE, repr(GLIBC_PACKAGES), repr(GLIBC_DROP)]
    if recipe is not _glibc:  # that one takes a minute, and uses none of these
        parts += [inspect.getsource(_busybox), PASSWD, NSSWITCH, (HERE / "lookup.c").read_text(encoding="utf-8")]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def _finish(root: Path) -> None:
    for folder in ("dev", "etc", "proc", "root", "run", "sys", "tmp", "var"):
        (root / folder).mkdir(exist_ok=True)
    (root / "tmp").chmod(0o1777)
    idle = root / "bin" / "idle"
    idle.write_text(IDLE, encoding="ascii")
    idle.chmod(0o755)


def _build(recipe: Callable[[Path], None], target: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="wd-image-") as scratch:
        root = Path(scratch) / "root"
        root.mkdir(mode=0o755)
        recipe(root)
        partial = target.with_suffix(".partial")
        _output("tar", "-C", str(root), "--numeric-owner", "-cf", str(partial), ".", timeout_s=120)
        partial.replace(target)


@contextlib.contextmanager
def _only_one(name: str) -> Iterator[None]:
    """Test runs side by side build an image once."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _program(name: str) -> str:
    found = shutil.which(name, path="/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin")
    if found is None:
        raise LabError(f"{name} is missing; scripts/setup installs what the tests need")
    return found


def _output(*argv: str, timeout_s: float = 60.0) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=timeout_s)
    if done.returncode:
        raise LabError(f"{' '.join(argv)}: exit code {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout
