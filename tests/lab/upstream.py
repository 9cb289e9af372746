"""The DNS server that a lab's hosts are born with: a dnsmasq in the switch's namespace with a few names.

It answers what it was given, NXDOMAIN for all else, and keeps a log of who asked what.
"""

import re
import signal
import subprocess
from collections.abc import Mapping, Sequence

from tests.lab.sandbox import LabError, Sandbox
from tests.lab.wait import wait_until

TTL_S = 60
DEFAULT_NAMES: Mapping[str, Sequence[str]] = {
    "example.test": ("192.0.2.80", "2001:db8::80"),
    "www.example.test": ("192.0.2.81",),
    "many.example.test": tuple(f"198.51.100.{n}" for n in range(1, 101)),  # does not fit in 512 bytes
}
DEFAULT_RECORDS: Sequence[str] = (
    "--cname=alias.example.test,example.test",
    "--txt-record=text.example.test,one,two",
    "--mx-host=example.test,mail.example.test,10",
    "--srv-host=_http._tcp.example.test,www.example.test,80",
)
QUERY = re.compile(r"query\[(?P<type>[^]]+)\] (?P<name>\S+) from (?P<client>\S+)")


class Upstream:
    """A DNS server at ``address``, port 53."""

    def __init__(self, sandbox: Sandbox, address: str, names: Mapping[str, Sequence[str]] | None = None) -> None:
        self.address = address
        self._sandbox = sandbox
        self._names = dict(DEFAULT_NAMES if names is None else names)
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start answering; done when it does."""
        if self._process is not None:
            return
        records = [f"--host-record={name},{address}" for name, all_of in self._names.items() for address in all_of]
        self._process = self._sandbox.popen(
            *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--pid-file="),
            *("--no-resolv", "--no-hosts", "--no-negcache", "--bind-interfaces", f"--listen-address={self.address}"),
            *("--except-interface=lo", "--address=/#/", "--log-queries", "--log-facility=-"),
            *(f"--local-ttl={TTL_S}", "--edns-packet-max=1232", *records, *DEFAULT_RECORDS),
            log="upstream",
        )
        wait_until(self._answers, what=lambda: f"upstream DNS: {self._sandbox.log('upstream')}")

    def stop(self) -> None:
        """Stop answering: from now on the port is closed."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def pause(self) -> None:
        """Stay silent: the port is open and nobody answers."""
        self._running().send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._running().send_signal(signal.SIGCONT)

    def queries(self) -> list[tuple[str, str, str]]:
        """All that was asked so far, oldest first: (name, type, address of who asked)."""
        found = QUERY.finditer(self._sandbox.log("upstream"))
        return [(match["name"], match["type"], match["client"]) for match in found]

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            raise LabError("the upstream DNS server is stopped")
        return self._process

    def _answers(self) -> bool:
        if self._running().poll() is not None:
            raise LabError(f"dnsmasq ended: {self._sandbox.log('upstream')}")
        asked = self._sandbox.run("dig", f"@{self.address}", "+time=1", "+tries=1", "ready.invalid", check=False)
        return asked.returncode == 0
