"""Asks one server for one name until the right address comes, and prints when that was (ns since 1970).

Run by the attach bench inside a lab host, where the clock is the same one.
"""

import socket
import struct
import sys
import time

EVERY_S = 0.001
DEADLINE_S = 30.0


def query(name: str) -> bytes:
    labels = b"".join(bytes((len(label),)) + label.encode() for label in name.split("."))
    return struct.pack("!6H", 0x5744, 0x0100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1"


def main(server: str, name: str) -> int:
    asked = query(name)
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(EVERY_S)
    sock.connect((server, 53))
    print("asking", flush=True)
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        try:
            sock.send(asked)
            reply = sock.recv(4096)
        except (TimeoutError, ConnectionRefusedError):
            continue
        answers = int.from_bytes(reply[6:8], "big")
        if answers:
            print(time.time_ns(), socket.inet_ntoa(reply[-4:]), flush=True)
            return 0
        time.sleep(EVERY_S)
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
