"""``python -m tests.lab clean`` removes what killed test runs left; ``up [HOSTS]`` keeps a lab for a person."""

import signal
import sys

from tests.lab.lab import Lab, clean

USAGE = "usage: python -m tests.lab clean | up [HOSTS]"


def up(hosts: int) -> None:
    with Lab(hosts) as lab:
        for host in lab.hosts:
            print(f"{host.name} at {host.address}:  nsenter --target {host.pid} --mount --net --pid --uts bash")
        print("Ctrl-C ends the lab and everything in it.", flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})


def main(args: list[str]) -> int:
    match args:
        case ["clean"]:
            for name in clean():
                print(f"removed the leftovers of lab {name}")
        case ["up"]:
            up(1)
        case ["up", count] if count.isdecimal():
            up(int(count))
        case _:
            print(USAGE, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
