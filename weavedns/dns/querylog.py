"""One line for each query that was answered, for people who look for something. Read off the replies."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from weavedns.dns.message import read_question
from weavedns.dns.wire import HEADER, Flag, Rcode
from weavedns.records import names
from weavedns.records.record import type_name

_RCODES = {code.value: code.name for code in Rcode}

Ask = Callable[[bytes, bytes, Callable[[bytes], None]], bytes | None]


class QueryLog:
    """Tells `log` of every reply, in one line each."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log

    def udp(self, reply: bytes, address: tuple[Any, ...]) -> None:
        """Tell of a reply over UDP to the client at this socket address."""
        self._log(describe(reply, f"{address[0]} udp"))

    def tcp(self, ask: Ask) -> Ask:
        """What answers over TCP, and tells of it."""

        def ask_and_tell(packet: bytes, client: bytes, send: Callable[[bytes], None]) -> bytes | None:
            who = f"{ip_address(client)} tcp"

            def send_and_tell(later: bytes) -> None:
                if later:
                    self._log(describe(later, who))
                send(later)

            reply = ask(packet, client, send_and_tell)
            if reply:
                self._log(describe(reply, who))
            return reply

        return ask_and_tell


def describe(reply: bytes, who: str) -> str:
    """What was asked and answered, as ``10.2.0.7 udp redis.weave.local A: NOERROR, 1 answer, ours``."""
    _, flags, _, answers, *_ = HEADER.unpack_from(reply)
    question = read_question(reply)
    asked = "no question"
    if question:
        asked = f"{names.render(question[:-4])} {type_name(int.from_bytes(question[-4:-2], 'big'))}"
    rcode = flags & 0xF
    told = [_RCODES.get(rcode, f"RCODE{rcode}")]
    told.append(f"{answers} answer{'' if answers == 1 else 's'}")
    if flags & Flag.AA:
        told.append("ours")
    if flags & Flag.TC:
        told.append("cut")
    return f"{who} {asked}: {', '.join(told)}"
