"""asker SERVER|- JSON: asks for names over and over until its standard input ends, then prints what came.

JSON is an object of names, each with its addresses. SERVER is asked by DNS queries; with "-" it is the C library that
is asked. The output is one JSON object: how often the answer was right, how often there was none (from a SERVER), and
the other answers in words. It runs as a script, alone, also in containers that have nothing but Python.
"""

import json
import select
import socket
import sys

PATIENCE_S = 1.0
PAUSE_S = 0.01
MOST_WRONG = 20


def by_query(server: str, name: str) -> list[str] | str | None:
    """The addresses that a server answers, or what else it said; None when it said nothing."""
    from dnslib import RCODE, DNSRecord

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(PATIENCE_S)
        try:
            sock.connect((server, 53))
            sock.send(DNSRecord.question(name).pack())
            reply = DNSRecord.parse(sock.recv(4096))
        except OSError:
            return None
    if reply.header.rcode != RCODE.NOERROR:
        return str(RCODE[reply.header.rcode])
    return sorted(str(answer.rdata) for answer in reply.rr)


def by_library(name: str) -> list[str] | str:
    """The addresses that the C library finds, or why it finds none."""
    try:
        found = socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)
    except OSError as exc:
        return str(exc)
    return sorted(str(each[4][0]) for each in found)


def main() -> None:
    """Ask until the input ends."""
    server, names = sys.argv[1], json.loads(sys.argv[2])
    right = silent = 0
    wrong: list[str] = []
    while True:
        for name, addresses in names.items():
            answer = by_library(name) if server == "-" else by_query(server, name)
            if answer is None:
                silent += 1
            elif answer == addresses:
                right += 1
            elif len(wrong) < MOST_WRONG:
                wrong.append(f"{name}: {answer} instead of {addresses}")
            if select.select([sys.stdin], [], [], PAUSE_S)[0]:
                print(json.dumps({"right": right, "silent": silent, "wrong": wrong}))
                return


main()
