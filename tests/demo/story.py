"""The steps of the demonstration, in their order. Each is checked; none knows how it is shown."""

import re
from pathlib import Path

from tests.demo.stage import NOTHING, SOON_S, Clock, Stage, StepFailedError
from tests.lab import Host, Lab

DOMAIN = "weave.local"
RANGE = r"10\.2\.\d+\.\d+"
# A host that died is believed gone within some seconds; a busy machine is not what is shown here.
GONE_S = 60.0


def tell(lab: Lab, stage: Stage) -> None:
    """The whole story; raises StepFailedError at the first step that does not come true."""
    _Story(lab, stage).tell()


class _Story:
    def __init__(self, lab: Lab, stage: Stage) -> None:
        self._lab = lab
        self._stage = stage
        self._h1, self._h2, self._h3 = lab.hosts
        self._dns: dict[str, str] = {}
        self._address: dict[str, str] = {}

    def tell(self) -> None:
        self._three_hosts()
        self._launch_everywhere()
        self._containers()
        self._lookups()
        self._overlay()
        self._add_and_remove()
        self._addresses()
        self._daemon_dies()
        self._partition()
        self._host_dies()
        self._graceful_stop()

    # The steps

    def _three_hosts(self) -> None:
        self._stage.step("Three hosts, each with a Docker engine of its own")
        self._stage.why(
            "Namespaces of this machine, joined by a switch; h1, h2 and h3 know each other by /etc/hosts."
        )
        for host in self._lab.hosts:
            with (host.directory / "etc" / "hosts").open("a", encoding="ascii") as hosts:
                hosts.writelines(f"{other.address} {other.name}\n" for other in self._lab.hosts)
            command = "docker info --format '{{.Name}}: Docker {{.ServerVersion}}'"
            self._stage.do(host, command)

    def _launch_everywhere(self) -> None:
        stage = self._stage
        stage.step("Launch: the first host alone, each other one with the name of a host that runs already")
        self._launch(self._h1)
        self._launch(self._h2, "h1")
        self._launch(self._h3, "h1", "h2")
        stage.see(self._h3, "weavedns status peers", r"h1 .*connected.*\n.*h2 .*connected", "each knows the others")

    def _containers(self) -> None:
        self._stage.step("Containers, one on each host")
        self._stage.why("Nothing but a host name in weave.local is asked of them.")
        for host, name in ((self._h1, "redis"), (self._h2, "app"), (self._h3, "web")):
            self._stage.do(host, f"docker run -d --name {name} --hostname {name}.{DOMAIN} busybox")

    def _lookups(self) -> None:
        stage = self._stage
        stage.step("Every host answers every name")
        for name in ("redis", "app", "web"):
            meaning = f"h1's server knows the address of {name}"
            said = stage.see(self._h1, self._dig(self._h1, name), rf"\A{RANGE}$", meaning)
            self._address[name] = said.strip()
        if len(set(self._address.values())) != len(self._address):
            raise StepFailedError(f"expected three addresses; they are {self._address}")
        redis = re.escape(self._address["redis"])
        for host in (self._h2, self._h3):
            stage.see(host, self._dig(host, "redis"), rf"\A{redis}$", f"{host.name} says the same from memory")
        stage.why("Containers ask the daemon beside them; a short name is enough.")
        stage.see(self._h2, "docker exec app nslookup redis", rf"Address: {redis}$", "app on h2 finds redis of h1")
        stage.see(self._h3, "weavedns ls", r"redis\.weave\.local.* h1$", "any host can tell whose a record is")

    def _overlay(self) -> None:
        self._stage.step("Containers of different hosts reach each other")
        self._stage.see(self._h2, "docker exec app ping -c 2 redis", " 0% packet loss", "from h2 to h1")
        self._stage.see(self._h1, "docker exec redis ping -c 2 web", " 0% packet loss", "from h1 to h3")
        self._stage.see(self._h1, "weavenet status", r"overlay: .*10\.99\.0\.2, 10\.99\.0\.3", "by a VXLAN overlay")

    def _add_and_remove(self) -> None:
        stage = self._stage
        stage.step("A name for a machine that is no container, added here and removed there")
        stage.do(self._h3, "weavedns add db 192.0.2.10")
        stage.see(self._h1, self._dig(self._h1, "db"), r"\A192\.0\.2\.10$", "added on h3, answered on h1")
        stage.see(self._h2, "docker exec app nslookup db", r"Address: 192\.0\.2\.10$", "and to containers of h2")
        stage.do(self._h1, "weavedns remove db")
        stage.see(self._h3, self._dig(self._h3, "db"), NOTHING, "removed on h1, gone on h3")

    def _addresses(self) -> None:
        self._stage.step("No address is given out twice, and nobody central gives them out")
        said = self._stage.see(
            self._h1, "weavedns status ipam", r"h1 owns [\s\S]*h2 owns [\s\S]*h3 owns ", "each host owns a share"
        )
        owned = sum(int(count) for count in re.findall(r"owns (\d+)", said))
        if owned != 2**16:
            raise StepFailedError(f"expected that the shares are the whole range of 65536 addresses, not {owned}")

    def _daemon_dies(self) -> None:
        stage = self._stage
        stage.step("The daemon beside a container is killed")
        servers = r"^nameserver {}\n^nameserver {}\n^nameserver {}$".format(
            *(re.escape(self._dns[host.name]) for host in (self._h2, self._h3, self._h1))
        )
        command = "docker exec app cat /etc/resolv.conf"
        stage.see(self._h2, command, servers, "app asks the server of h2 first, then those of the others")
        self._kill_daemon(self._h2)
        stage.see(self._h2, "docker exec app ping -c 1 redis", " 0% packet loss", "names are found by another server")
        stage.see(
            self._h1, "docker exec redis ping -c 1 app", " 0% packet loss", "and h2's containers are still reached"
        )
        stage.why("It is launched again, and needs no peer's name: the kernel still knows where the others are.")
        self._launch(self._h2)
        stage.see(self._h2, "weavedns status peers", r"h1 .*connected.*\n.*h3 .*connected", "it is back among them")
        app = re.escape(self._address["app"])
        stage.see(self._h2, self._dig(self._h2, "app"), rf"\A{app}$", "with the same addresses as before")

    def _partition(self) -> None:
        stage = self._stage
        stage.step("h3 is cut off, and comes back")
        web, redis = re.escape(self._address["web"]), re.escape(self._address["redis"])
        self._plug(self._h3, "down")
        clock = Clock()
        stage.see(
            self._h1, self._dig(self._h1, "web"), NOTHING, "its names are not answered elsewhere", within_s=GONE_S
        )
        stage.good(f"measured: after {clock}")
        stage.see(self._h3, self._dig(self._h3, "web"), rf"\A{web}$", "h3 still answers for itself")
        stage.see(self._h3, self._dig(self._h3, "redis"), NOTHING, "and for nobody else", within_s=GONE_S)
        stage.why("Both sides go on working.")
        stage.do(self._h1, "weavedns add printer 192.0.2.20")
        stage.do(self._h3, "weavedns add scanner 192.0.2.30")
        self._plug(self._h3, "up")
        clock = Clock()
        stage.see(self._h1, self._dig(self._h1, "web"), rf"\A{web}$", "web is answered again", within_s=GONE_S)
        stage.good(f"measured: {clock} after the cable was plugged in")
        stage.see(self._h3, self._dig(self._h3, "redis"), rf"\A{redis}$", "on both sides", within_s=GONE_S)
        stage.see(self._h3, self._dig(self._h3, "printer"), r"\A192\.0\.2\.20$", "h3 learns what it missed")
        stage.see(
            self._h1, self._dig(self._h1, "scanner"), r"\A192\.0\.2\.30$", "and the others what it did meanwhile"
        )

    def _host_dies(self) -> None:
        stage = self._stage
        stage.step("h3 dies: power off, no goodbye")
        self._plug(self._h3, "down")
        clock = Clock()
        self._h3.close()
        stage.see(
            self._h1, self._dig(self._h1, "web"), NOTHING, "the names of its containers are gone", within_s=GONE_S
        )
        stage.good(f"measured: after {clock}")
        stage.see(self._h2, "weavedns status peers", r"h3 .*gone", "it is remembered, as it may come back")
        stage.why("This one does not. Forget it, and let another host have its addresses.")
        stage.do(self._h1, "weavedns forget h3")
        stage.see(self._h2, "weavedns status peers", r"\A(?![\s\S]*h3)[\s\S]*h1 ", "forgotten everywhere")
        stage.do(self._h1, "weavenet ipam takeover h3")
        pattern = r"\A(?![\s\S]*h3)[\s\S]*h1 owns "
        stage.see(self._h2, "weavedns status ipam", pattern, "nothing of the range is lost")

    def _graceful_stop(self) -> None:
        stage = self._stage
        stage.step("A graceful stop")
        clock = Clock()
        stage.do(self._h2, "weavedns stop")
        stage.see(self._h1, self._dig(self._h1, "app"), NOTHING, "who leaves tells the others")
        stage.good(f"measured: after {clock}, the command itself included")
        stage.do(self._h1, "weavedns stop --clean")
        stage.see(self._h1, "ip -brief link show type bridge", r"\A(?!.*weave)docker0", "--clean removes the bridge")
        stage.see(
            self._h1, "docker exec redis cat /etc/resolv.conf", r"\Anameserver 10\.99", "and puts resolv.conf back"
        )

    # What they are made of

    def _launch(self, host: Host, *peers: str) -> None:
        daemon = host.start_daemon(*peers, wait=False)
        try:
            host.wait_for_daemon()
        finally:
            self._stage.command(host.name, " ".join(("weavedns launch", *peers, "&")), daemon.log)
        found = re.search(rf"serves {DOMAIN} on (\S+) port 53", daemon.log)
        if not found:
            raise StepFailedError(f"expected that the daemon of {host.name} says where it serves {DOMAIN}")
        self._dns[host.name] = found[1]

    def _dig(self, host: Host, name: str) -> str:
        return f"dig @{self._dns[host.name]} {name}.{DOMAIN} +short"

    def _plug(self, host: Host, state: str) -> None:
        command = f"ip link set {host.name} {state}"
        self._stage.do(self._lab.switch, command)

    def _kill_daemon(self, host: Host) -> None:
        """By its number as its own host sees it."""
        if host.daemon is None:
            raise StepFailedError(f"expected that a daemon runs on {host.name}")
        process = host.daemon.process
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
        (own_number,) = re.findall(r"^NSpid:.*\s(\d+)$", status, re.MULTILINE)
        self._stage.do(host, f"kill -9 {own_number}")
        process.wait(SOON_S)
