"""OPT records (RFC 6891): plain ones with their answers ready-made, and options of the others. Decides nothing."""

from __future__ import annotations

from weavedns.dns.wire import MAX_UDP_BYTES, MIN_UDP_BYTES, OPT, OPT_BYTES, opt_reply
from weavedns.errors import WireError

NSID, COOKIE, EDE = 3, 10, 15
_OPTION_HEAD_BYTES = 4
# Nearly all clients of one host send the same two or three.
_MAX_KNOWN = 512
_OPT_TYPE = 41
_DO = 0x8000


class PlainOpts(dict[bytes, tuple[int, bytes]]):
    """The size limit that an OPT of a query sets, and the OPT that answers it, by the OPT's bytes.

    What is not there yet is made; the limit is 0 for what is no plain OPT.
    """

    def __missing__(self, given: bytes) -> tuple[int, bytes]:
        if len(given) != OPT_BYTES:
            return 0, b""
        root, rtype, size, _, version, flags, rdlength = OPT.unpack(given)
        if root or rtype != _OPT_TYPE or version or rdlength:
            return 0, b""
        if len(self) >= _MAX_KNOWN:
            self.clear()
        made = min(max(size, MIN_UDP_BYTES), MAX_UDP_BYTES), opt_reply(dnssec_ok=bool(flags & _DO))
        self[given] = made
        return made


def option(code: int, data: bytes) -> bytes:
    """One option of an OPT (RFC 6891 section 6.1.2)."""
    return code.to_bytes(2, "big") + len(data).to_bytes(2, "big") + data


def read_options(raw: bytes) -> dict[int, bytes]:
    """The options in the data of an OPT, the first of each code; raises WireError for one that is cut short."""
    found: dict[int, bytes] = {}
    at = 0
    while at < len(raw):
        start = at + _OPTION_HEAD_BYTES
        at = start + int.from_bytes(raw[start - 2 : start], "big")
        if at > len(raw):
            raise WireError("an option is cut short")
        found.setdefault(int.from_bytes(raw[start - 4 : start - 2], "big"), bytes(raw[start:at]))
    return found
