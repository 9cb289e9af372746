"""Lab hosts: a network namespace, a process tree and a real Docker engine each, and nothing left of them.

Used by the tests, the demonstration and the benchmarks. It knows nothing of what the product does inside;
it only starts the product's commands where a host's owner would.
"""

from tests.lab.engine import Engine
from tests.lab.host import Daemon, Host
from tests.lab.lab import Lab
from tests.lab.sandbox import LabError, Sandbox
from tests.lab.upstream import Upstream
from tests.lab.wait import wait_until

__all__ = ["Daemon", "Engine", "Host", "Lab", "LabError", "Sandbox", "Upstream", "wait_until"]
