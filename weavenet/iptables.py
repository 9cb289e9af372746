"""The packet filter rules of the weave bridge, in chains of their own. Touches no other rule than the jumps to those.

br_netfilter lets bridged frames pass FORWARD, where Docker's policy is DROP; and without rules the host would route
between the weave network and every other one. A VXLAN device takes frames from whoever sends them: only peers may.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

from weavenet.errors import NetworkError
from weavenet.netns import Namespace

FORWARD_CHAIN = "WEAVEDNS-FORWARD"
INPUT_CHAIN = "WEAVEDNS-INPUT"
OVERLAY_CHAIN = "WEAVEDNS-OVERLAY"
_JUMPS = {"FORWARD": FORWARD_CHAIN, "INPUT": INPUT_CHAIN}
# In the order in which they can be removed: who jumps goes before whom it jumps to.
_OURS = (FORWARD_CHAIN, INPUT_CHAIN, OVERLAY_CHAIN)
_LOCK_WAIT_S = 5
_TIMEOUT_S = 20
_SBIN = ("/usr/sbin", "/sbin", "/usr/local/sbin")


@dataclass(frozen=True, slots=True)
class Gate:
    """Who may send to the overlay's UDP port: the addresses that peers' packets come from."""

    port: int
    sources: frozenset[IPv4Address]


def rules_for(bridge: str, dns_address: IPv4Address, gate: Gate | None = None) -> dict[str, list[str]]:
    """The rules of each chain of ours, in order; `gate` when there is an overlay."""
    to_dns = f"-i {bridge} -d {dns_address}/32"
    rules = {
        FORWARD_CHAIN: [
            f"-i {bridge} -o {bridge} -m physdev --physdev-is-bridged -j ACCEPT",
            f"-o {bridge} -j DROP",
            f"-i {bridge} -j DROP",
        ],
        INPUT_CHAIN: [
            f"{to_dns} -p udp -m udp --dport 53 -j ACCEPT",
            f"{to_dns} -p tcp -m tcp --dport 53 -j ACCEPT",
            f"{to_dns} -p icmp -j ACCEPT",
        ],
        OVERLAY_CHAIN: [],
    }
    if gate is not None:
        rules[INPUT_CHAIN].append(f"-p udp -m udp --dport {gate.port} -j {OVERLAY_CHAIN}")
        # Peers are only let past this chain: whether they come in is for the host's own rules.
        rules[OVERLAY_CHAIN] = [*(f"-s {source}/32 -j RETURN" for source in sorted(gate.sources)), "-j DROP"]
    return rules


@dataclass(frozen=True, slots=True)
class Listing:
    """The filter table: the rules of each chain, as this machine's iptables spells them."""

    chains: Mapping[str, list[str]]

    @classmethod
    def parse(cls, text: str) -> Listing:
        """Read what ``iptables -S`` prints."""
        chains: dict[str, list[str]] = {}
        for line in text.splitlines():
            command, _, rest = line.partition(" ")
            chain, _, rule = rest.partition(" ")
            if command in {"-P", "-N"}:
                chains.setdefault(chain, [])
            elif command == "-A":
                chains.setdefault(chain, []).append(rule)
        return cls(chains)

    def jumps_first(self) -> bool:
        """Whether each built-in chain starts with its jump to ours, and has no second one."""
        return all(
            self.chains.get(chain, [])[:1] == [f"-j {ours}"] and self.chains[chain].count(f"-j {ours}") == 1
            for chain, ours in _JUMPS.items()
        )

    def ours(self) -> dict[str, list[str]]:
        """The chains of ours that there are."""
        return {chain: self.chains[chain] for chain in _OURS if chain in self.chains}


def script_to_set(listing: Listing, rules: Mapping[str, list[str]]) -> str:
    """Input for ``iptables-restore --noflush`` that, at one stroke, makes our chains and the jumps to them right."""
    lines = [f":{chain} - [0:0]" for chain in rules]
    lines += [f"-A {chain} {rule}" for chain, chain_rules in rules.items() for rule in chain_rules]
    lines += _jumps_away(listing)
    lines += [f"-I {chain} 1 -j {ours}" for chain, ours in _JUMPS.items()]
    return "\n".join(["*filter", *lines, "COMMIT", ""])


def script_to_remove(listing: Listing) -> str:
    """The same to take all of it away."""
    lines = _jumps_away(listing)
    lines += [f"-F {chain}" for chain in listing.ours()]
    lines += [f"-X {chain}" for chain in listing.ours()]
    return "\n".join(["*filter", *lines, "COMMIT", ""])


def _jumps_away(listing: Listing) -> list[str]:
    return [
        f"-D {chain} -j {ours}"
        for chain, ours in _JUMPS.items()
        for rule in listing.chains.get(chain, [])
        if rule == f"-j {ours}"
    ]


class Firewall:
    """Keeps our rules in one namespace. Its methods block for some ten milliseconds: for worker threads."""

    def __init__(self, namespace: Namespace, bridge: str) -> None:
        self._namespace = namespace
        self._bridge = bridge
        # Versions of iptables spell the same rule differently: what it printed after our last change is right.
        self._spelled: dict[str, list[str]] = {}
        self._set: dict[str, list[str]] = {}

    def ensure(self, dns_address: IPv4Address, gate: Gate | None = None) -> bool:
        """Put the rules in place where they are not; whether anything had to be done. Raises NetworkError."""
        wanted = rules_for(self._bridge, dns_address, gate)
        listing = self._list()
        if self._set == wanted and listing.jumps_first() and listing.ours() == self._spelled:
            return False
        self._run("iptables-restore", "--noflush", script=script_to_set(listing, wanted))
        self._spelled = self._list().ours()
        self._set = wanted
        return True

    def remove(self) -> None:
        """Take the rules away; raises NetworkError."""
        self._set = {}
        listing = self._list()
        if listing.ours() or _jumps_away(listing):
            self._run("iptables-restore", "--noflush", script=script_to_remove(listing))

    def _list(self) -> Listing:
        return Listing.parse(self._run("iptables", "-S"))

    def _run(self, tool: str, *arguments: str, script: str | None = None) -> str:
        path = os.pathsep.join([os.environ.get("PATH", os.defpath), *_SBIN])
        binary = shutil.which(tool, path=path)
        if binary is None:
            raise NetworkError(f"{tool} is not on this machine: install the package iptables")
        command = [binary, "-w", str(_LOCK_WAIT_S), *arguments]
        try:
            with self._namespace.entered():
                done = subprocess.run(  # noqa: S603 - a fixed binary, and arguments of our own
                    command, input=script or "", capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
                )
        except (OSError, subprocess.TimeoutExpired) as exc:
            raise NetworkError(f"cannot run {binary}: {exc}") from exc
        if done.returncode != 0:
            raise NetworkError(_refusal(tool, done.stderr))
        return done.stdout


def _refusal(tool: str, said: str) -> str:
    reason = " ".join(said.split()) or "it does not say why"
    if "physdev" in reason:
        return f"{tool} refused our rules ({reason}): load the kernel module xt_physdev"
    if os.geteuid() != 0 or "ermission denied" in reason:
        return f"{tool} refused our rules ({reason}): run as root, or with CAP_NET_ADMIN"
    return f"{tool} refused our rules: {reason}"
