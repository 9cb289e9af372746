"""How it is told that another peer does not let this one in, or is not there."""

from __future__ import annotations

from weavedns.gossip.events import Address
from weavedns.gossip.seal import Rejection
from weavedns.gossip.words import UNREACHABLE

# What a refusal means to the one who is refused.
_REFUSED = {
    str(Rejection.PLAINTEXT): "it has no password, and this peer has one",
    str(Rejection.ENCRYPTED): "it has a password, and this peer has none: give --password",
    str(Rejection.UNKNOWN_KEY): "it has another password, or another --cluster",
    str(Rejection.FORGED): "it has another password, or another --cluster",
    str(
        Rejection.OTHER_VERSION
    ): "it speaks another version of the peer protocol: run the same release of weavedns on all hosts",
    str(Rejection.MALFORMED): "what answers there is no peer",
    str(Rejection.OTHER_TERMS): "it has another --cluster, --domain, --range, --dns-subnet or --overlay-port",
}


def where(addr: Address) -> str:
    """A peer of which only the address is known."""
    return f"the peer at {addr[0]} port {addr[1]}"


def is_silence(why: str) -> bool:
    """Whether it is for want of any answer."""
    return why.startswith(UNREACHABLE)


def refusal(addr: Address, why: str) -> str:
    """That a peer does not let this one in, or does not answer, as a sentence."""
    if is_silence(why):
        return f"{where(addr)} does not answer{why.removeprefix(UNREACHABLE)}"
    return f"{where(addr)} does not let this peer in: {_REFUSED.get(why.removeprefix('the stream is '), why)}"
