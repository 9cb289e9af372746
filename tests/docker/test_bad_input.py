"""Whatever is wrong gets one clear line and a failing exit code, and changes nothing: on a real host."""

import contextlib
import json
import signal
from collections.abc import Iterator

import pytest

from tests.docker.control_socket import ask, send
from tests.docker.test_quick_start import run, wait_for
from tests.lab import Host, wait_until

pytestmark = pytest.mark.docker

NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
GOOD_ZONE = "$ORIGIN weave.local.\nfromfile 5 IN A 192.0.2.20\n"


def refused(host: Host, *command: str, code: int = 1) -> str:
    """What a command says that must fail: one line, and nothing on stdout."""
    done = host.run(*command, check=False)
    assert (done.returncode, done.stdout) == (code, ""), done
    if code == 1:
        assert done.stderr.startswith("Error: "), done.stderr
        assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def everything(host: Host) -> tuple[str, ...]:
    """All that a refused command could have changed."""
    shown = (
        str(ask(host, "GET", "/v1/records")),
        str(ask(host, "GET", "/v1/net/containers")),
        host.run("ip", "-oneline", "link").stdout,
        host.docker("exec", "plain", "ip", "-oneline", "address"),
        host.docker("exec", "plain", "cat", "/etc/resolv.conf"),
    )
    stored = host.state_dir / "added.zone"
    return (*shown, stored.read_text() if stored.exists() else "")


def nothing_is_left(host: Host) -> bool:
    """True when a launch that failed left neither bridge, rules nor socket."""
    links = host.run("ip", "-oneline", "link").stdout
    rules = host.run("iptables-save").stdout
    sockets = list((host.directory / "run").glob("weavedns/*"))
    assert "weave" not in links, links
    assert "WEAVEDNS" not in rules, rules
    assert sockets == []
    return True


@contextlib.contextmanager
def dnsmasq(host: Host, *flags: str) -> Iterator[int]:
    """Somebody else's DNS server on the host; its process number there."""
    process = host.popen(
        *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--pid-file="),
        *("--no-resolv", "--no-hosts", *flags),
        log="dnsmasq",
    )
    try:
        wait_until(lambda: ":53 " in host.run("ss", "-Hlnu").stdout, what=lambda: host.log("dnsmasq"))
        yield int(host.run("pidof", "dnsmasq").stdout)
    finally:
        process.kill()
        process.wait(10)


# A running daemon that is asked for what cannot be


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("10.2.45.300/24", "'10.2.45.300/24' is not an IPv4 address"),
        ("10.2.45.3/33", "a prefix length is at most 30"),
        ("10.9.1.1/24", "10.9.1.1/24 is not inside the weave range 10.2.0.0/16"),
        ("10.2.254.9/24", "reserved for DNS"),
        ("10.2.45.0/24", "write net:10.2.45.0/24"),
        ("10.2.45.255/24", "is the first or last address of 10.2.45.0/24"),
        ("net:10.2.67.1/24", "write net:10.2.67.0/24"),
        ("net:10.9.0.0/24", "the subnet 10.9.0.0/24 is not inside the weave range"),
        ("net:blue", "there is no network named 'blue'"),
        ("weave://blue", "there is no network named 'blue'"),
        ("2001:db8::1/64", "'2001:db8::1/64' is not an address; write 10.2.45.3/24"),
        ("none", "'none' asks for no address"),
    ],
)
def test_a_malformed_or_out_of_range_address_is_refused(busy_host: Host, address: str, told: str) -> None:
    before = everything(busy_host)
    assert told in refused(busy_host, "weavenet", "attach", "plain", address)
    # A good one beside it is not given either.
    assert told in refused(busy_host, "weavenet", "attach", "plain", "10.2.45.9/24", address)
    assert everything(busy_host) == before


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("bad name", "'bad name' is no host name"),
        ("a..b", "has an empty label"),
        ("x" * 64, "is over 63 bytes"),
        ("-db", "'-db' is no host name"),
        ("a*b", "'a*b' is no host name"),
        ("dß", "write it in its xn-- form"),
        ("", "no name is given"),
        ("db.example.com", "'db.example.com' is outside the domain weave.local; write db.weave.local"),
        ("weave.local", "is the domain itself"),
    ],
)
def test_a_malformed_name_or_one_outside_the_domain_is_refused(busy_host: Host, name: str, told: str) -> None:
    before = everything(busy_host)
    assert told in refused(busy_host, "weavedns", "add", "--", name, "192.0.2.1")
    assert told in refused(busy_host, "weavedns", "add", "--container", "redis", "--", name)
    assert told in refused(busy_host, "weavedns", "remove", "--", name)
    assert everything(busy_host) == before


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["x", "999.1.1.1"], "'999.1.1.1' is no address"),
        (["x", "192.0.2.1", "192.0.2"], "'192.0.2' is no address"),
        (["x", "192.0.2.1", "--ttl", "-1"], "-1 is no TTL; give seconds from 0 to 2147483647"),
        (["x", "192.0.2.1", "--type", "BLAH"], "'BLAH' is no record type"),
        (["x", "192.0.2.1", "--type", "AAAA"], "'192.0.2.1' is no IPv6 address"),
        (["redis", "y", "--type", "CNAME"], "CNAME"),
        (["x", "y", "--type", "DNAME"], "'DNAME' is no record type"),
        (["*.x", "y", "--type", "NS"], "*.x.weave.local"),
        (["x", '"open', "--type", "TXT"], "no closing quote"),
        (["_http._tcp.x.weave.local", "0 0 99999 x", "--type", "SRV"], "99999"),
    ],
)
def test_malformed_record_data_is_refused(busy_host: Host, options: list[str], told: str) -> None:
    before = everything(busy_host)
    assert told in refused(busy_host, "weavedns", "add", *options)
    assert everything(busy_host) == before


def test_an_address_in_use_is_refused_with_its_container_and_host(busy_host: Host) -> None:
    before = everything(busy_host)
    redis = busy_host.inspect("redis")["Id"][:12]
    told = refused(busy_host, "weavenet", "attach", "plain", "10.2.0.1/16")
    assert f"10.2.0.1 is in use by container redis ({redis}) on host h1" in told
    assert everything(busy_host) == before


@pytest.mark.parametrize(
    ("container", "told"),
    [
        ("nobody", "no container 'nobody' on this host"),
        ("no such", "no container 'no such' on this host"),
        ("stopped", "container stopped is not running; start it first"),
        ("hostnet", "container hostnet has no network of its own: it has --network host"),
        ("", "no ContainerID is given"),
    ],
)
def test_an_unknown_or_unattachable_container_is_refused(busy_host: Host, container: str, told: str) -> None:
    before = everything(busy_host)
    assert told in refused(busy_host, "weavenet", "attach", container)
    assert told in refused(busy_host, "weavenet", "detach", container)
    if container:
        assert told in refused(busy_host, "weavedns", "add", "cache", "--container", container)
    assert everything(busy_host) == before


def test_an_ambiguous_container_prefix_is_refused_with_those_that_it_fits(busy_host: Host) -> None:
    by_first_digit: dict[str, str] = {}
    made = []
    try:
        while True:  # at most sixteen differ
            fresh = busy_host.docker("create", "busybox")
            made.append(fresh)
            if fresh[0] in by_first_digit and not fresh[0].isdigit():
                break
            by_first_digit[fresh[0]] = fresh
        before = everything(busy_host)
        for command in (["weavenet", "attach"], ["weavenet", "detach"], ["weavedns", "add", "cache", "--container"]):
            told = refused(busy_host, *command, fresh[0])
            assert f"{fresh[0]!r} is ambiguous" in told
            assert fresh[:12] in told or "..." in told
        assert everything(busy_host) == before
    finally:
        busy_host.docker("rm", *made)


def test_what_is_not_attached_cannot_be_detached_or_named(busy_host: Host) -> None:
    before = everything(busy_host)
    assert "container plain has no weave address" in refused(busy_host, "weavenet", "detach", "plain")
    told = refused(busy_host, "weavenet", "detach", "redis", "10.2.9.9/16")
    assert "container redis has no such weave address; it has 10.2.0.1/16" in told
    assert "asks for no address" in refused(busy_host, "weavenet", "detach", "redis", "none")
    told = refused(busy_host, "weavedns", "add", "cache", "--container", "plain")
    assert "container plain has no weave address; attach it with 'weavenet attach plain'" in told
    assert everything(busy_host) == before


def test_what_nobody_added_cannot_be_removed_and_the_line_says_whose_it_is(busy_host: Host) -> None:
    before = everything(busy_host)
    assert "no record is named nobody.weave.local" in refused(busy_host, "weavedns", "remove", "nobody")
    assert "belongs to container" in refused(busy_host, "weavedns", "remove", "redis")
    assert "belongs to container" in refused(busy_host, "weavedns", "remove", "redis", "10.2.0.1")
    assert "the server's own name" in refused(busy_host, "weavedns", "remove", "weavedns")
    assert "db has no added record with '192.0.2.99'" in refused(busy_host, "weavedns", "remove", "db", "192.0.2.99")
    assert everything(busy_host) == before


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/v1/net/attach", "{bad", 400),
        ("POST", "/v1/net/attach", b'{"ContainerID": "\xff"}', 400),
        ("POST", "/v1/net/attach", "[]", 400),
        ("POST", "/v1/net/attach", None, 400),
        ("POST", "/v1/net/attach", '{"ContainerID": 5}', 400),
        ("POST", "/v1/net/attach", '{"ContainerID": "plain", "Endpoint": null}', 400),
        ("POST", "/v1/net/attach", '{"ContainerID": "plain", "Subnet": ""}', 400),
        ("POST", "/v1/net/attach", '{"ContainerID": "plain", "Endpoint": "none"}', 400),
        ("POST", "/v1/net/attach", '{"ContainerID": "plain", "Endpoint": "10.9.1.1/24"}', 400),
        ("POST", "/v1/net/attach", '{"ContainerID": "plain", "Endpoint": "10.2.0.1/16"}', 409),
        ("POST", "/v1/net/attach", '{"ContainerID": "nobody"}', 404),
        ("POST", "/v1/net/attach", "x" * 3_000_000, 413),
        ("POST", "/v1/net/detach", '{"ContainerID": "plain"}', 404),
        ("POST", "/v1/net/detach", '{"ContainerID": {"a": 1}}', 400),
        ("POST", "/v1/records", '{"name": "x"}', 400),
        ("POST", "/v1/records", '{"data": ["192.0.2.1"]}', 400),
        ("POST", "/v1/records", '{"name": "x", "data": "192.0.2.1"}', 400),
        ("POST", "/v1/records", '{"name": "x", "data": ["192.0.2.1"], "ttl": "long"}', 400),
        ("POST", "/v1/records", '{"name": "x", "data": ["192.0.2.1"], "container": "redis"}', 400),
        ("POST", "/v1/records", '{"name": "x\\u0000", "data": ["192.0.2.1"]}', 400),
        ("DELETE", "/v1/records", '{"name": "db", "ttl": 5}', 400),
        ("DELETE", "/v1/records", '{"name": "nobody"}', 404),
        ("GET", "/v1/lookup", None, 400),
        ("GET", "/v1/lookup?name=redis&type=BLAH", None, 400),
        ("GET", "/status?section=weather", None, 400),
        ("POST", "/v1/stop", '{"clean": "yes"}', 400),
        ("PUT", "/v1/records", "{}", 405),
        ("GET", "/v1/net/attach", None, 405),
        ("GET", "/nowhere", None, 404),
        ("GET", "/name/a/b/c", None, 404),
        ("PUT", "/name/redis/10.2.0.1", None, 400),
        ("PUT", "/name/redis/10.2.0.9?fqdn=kv", None, 400),
        ("PUT", "/name/redis/nonsense?fqdn=kv", None, 400),
        ("PUT", "/name/nobody/10.2.0.1?fqdn=kv", None, 404),
        ("PUT", "/name/redis/10.2.0.1?fqdn=kv.example.com", None, 400),
        ("PUT", "/name/weave:extern/10.2.0.300?fqdn=kv", None, 400),
        ("DELETE", "/name/nobody", None, 404),
        ("DELETE", "/name/redis/10.2.0.9", None, 404),
        ("DELETE", "/name/weave:extern/10.2.0.300", None, 400),
    ],
)
def test_a_malformed_request_gets_a_sentence_and_changes_nothing(
    busy_host: Host, method: str, path: str, body: str | bytes | None, status: int
) -> None:
    before = everything(busy_host)
    found, answer = ask(busy_host, method, path, body)
    assert found == status, answer
    assert list(answer) == ["Error"]
    assert answer["Error"]
    assert "\n" not in answer["Error"]
    assert everything(busy_host) == before


@pytest.mark.parametrize(
    ("form", "kind"),
    [
        (b"fqdn=\xff\xfe", "application/x-www-form-urlencoded"),
        (b"rubbish", "multipart/form-data; boundary=x"),
        (b"rubbish", "multipart/form-data"),
    ],
)
def test_a_malformed_form_gets_a_sentence(busy_host: Host, form: bytes, kind: str) -> None:
    status, answer = ask(busy_host, "PUT", "/name/redis/10.2.0.1", form, Content_Type=kind)
    assert (status, list(answer)) == (400, ["Error"])


@pytest.mark.parametrize(
    "rubbish",
    [
        b"RUBBISH\r\n\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: w\r\n\r\n",
        b"POST /v1/stop HTTP/1.1\r\nHost: w\r\nContent-Length: x\r\n\r\n",
        b"POST /v1/stop HTTP/1.1\r\nHost: w\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
    ],
)
def test_what_is_no_http_is_turned_away_without_a_stack_trace(busy_host: Host, rubbish: bytes) -> None:
    assert send(busy_host, rubbish).startswith(b"HTTP/1.0 400 ")
    assert busy_host.dig("redis.weave.local") == ["10.2.0.1"]
    assert busy_host.daemon is not None
    assert "Traceback" not in busy_host.daemon.log
    assert "ERROR" not in busy_host.daemon.log


def test_an_attach_that_fails_for_its_last_address_leaves_nothing_half_done(busy_host: Host) -> None:
    before = everything(busy_host)
    told = refused(busy_host, "weavenet", "attach", "plain", "10.2.45.3/24", "net:10.2.67.0/24", "10.2.0.1/16")
    assert "10.2.0.1 is in use" in told
    assert everything(busy_host) == before
    # The addresses before it are free for others.
    assert busy_host.run("weavenet", "attach", "redis", "10.2.45.3/24").stdout == "10.2.45.3/24\n"
    assert busy_host.run("weavenet", "detach", "redis", "10.2.45.3/24").stdout == "10.2.45.3/24\n"


# A launch that cannot be


def test_a_wrong_setting_is_wrong_usage_and_leaves_nothing(host: Host) -> None:
    for flags, told in (
        (["--range", "nonsense"], "--range 'nonsense' is no IPv4 network; write one such as 10.2.0.0/16"),
        (["--range", "10.2.0.1/16"], "did you mean 10.2.0.0/16?"),
        (["--dns-subnet", "10.9.0.0/24"], "--dns-subnet 10.9.0.0/24 is outside the range 10.2.0.0/16"),
        (["--listen", "0.0.0.0"], "--listen 0.0.0.0 is the wildcard"),
        (["--attach", "some"], "'some' is not one of 'auto', 'all', 'none'"),
        (["--ttl", "soon"], "'soon' is not a valid integer"),
        (["--rnage", "10.2.0.0/16"], "--range"),
    ):
        assert told in refused(host, "weavedns", "launch", *flags, code=2)
    assert nothing_is_left(host)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('range = "10.2.0.0/16', "is no valid TOML"),
        ("range = \xff", "is no valid TOML"),
        ('rnage = "10.2.0.0/16"', "unknown key 'rnage'; did you mean 'range'?"),
        ("flavour = 1", "unknown key 'flavour'; remove it"),
        ("range = 10", "range = 10 is wrong; write a text in quotes"),
        ('no-network = "yes"', "no-network = 'yes' is wrong; write true or false"),
        ('ttl = "5"', "ttl = '5' is wrong; write a whole number"),
        ("listen = [53]", "listen = [53] is wrong; write a text in quotes, or a list of them"),
        ('attach = "some"', "attach: 'some' is not one of 'auto', 'all', 'none'"),
        ("[dns]\nttl = 1", "unknown key 'dns'"),
        ('name = {first = "a"}', "is wrong; write a text in quotes"),
    ],
)
def test_a_malformed_settings_file_is_told_with_its_name(host: Host, text: str, told: str) -> None:
    file = host.directory / "etc/weavedns/weavedns.toml"
    file.parent.mkdir()
    file.write_text(text, encoding="latin-1")
    said = refused(host, "weavedns", "launch")
    assert told in said
    assert "/etc/weavedns/weavedns.toml" in said
    assert told in refused(host, "weavedns", "ls")
    assert nothing_is_left(host)


def test_an_unreadable_or_missing_settings_file_is_told_with_its_name(host: Host) -> None:
    file = host.directory / "etc/weavedns/weavedns.toml"
    file.parent.mkdir()
    file.write_text("ttl = 5")
    file.chmod(0o600)
    told = refused(host, *NOBODY, "weavedns", "launch")
    assert "the settings file /etc/weavedns/weavedns.toml cannot be read: Permission denied; run this as root" in told
    assert "Is a directory; correct --config" in refused(host, "weavedns", "--config", "/etc/weavedns", "launch")
    told = refused(host, "weavedns", "--config", "/etc/weavedns/other.toml", "launch")
    assert "there is no settings file /etc/weavedns/other.toml" in told
    assert nothing_is_left(host)


def test_a_taken_port_53_names_the_process_that_holds_it(host: Host) -> None:
    with dnsmasq(host, "--bind-interfaces", "--listen-address=10.99.0.1") as pid:
        told = refused(host, "weavedns", "launch", "--listen", "10.99.0.1")
        assert f"UDP 10.99.0.1 port 53 is taken by dnsmasq (process {pid})" in told
        assert nothing_is_left(host)
        # It has only that address: ours is free.
        host.start_daemon()


def test_a_port_53_taken_on_every_address_names_the_process_too(host: Host) -> None:
    with dnsmasq(host) as pid:
        told = refused(host, "weavedns", "launch")
        assert f"UDP 10.2.254.1 port 53 is taken by dnsmasq (process {pid}), which listens on every address" in told
        assert nothing_is_left(host)


def test_a_failed_launch_leaves_the_bridge_of_an_earlier_one(host: Host) -> None:
    host.start_daemon()
    run(host, "--name", "redis", "--hostname", "redis.weave.local")
    wait_for(host, "redis.weave.local", "10.2.0.1")
    host.kill_daemon()
    with dnsmasq(host):
        assert "port 53 is taken by" in refused(host, "weavedns", "launch")
    assert "10.2.0.1/16" in host.docker("exec", "redis", "ip", "-oneline", "address")
    host.start_daemon()
    assert host.dig("redis.weave.local") == ["10.2.0.1"]


def test_a_taken_status_port_names_the_process_that_holds_it(host: Host) -> None:
    holder = host.popen("python3", "-m", "http.server", "6782", "--bind", "127.0.0.1")
    try:
        wait_until(lambda: "127.0.0.1:6782" in host.run("ss", "-Hlnt").stdout)
        told = refused(host, "weavedns", "launch")
        assert "the status page cannot be served on 127.0.0.1 port 6782: it is taken by python3 (process " in told
        assert nothing_is_left(host)
    finally:
        holder.kill()
        holder.wait(10)


def test_a_range_that_overlaps_a_route_names_the_route(host: Host) -> None:
    host.run("ip", "link", "add", "lan0", "type", "bridge")
    host.run("ip", "address", "add", "10.2.77.1/24", "dev", "lan0")
    host.run("ip", "link", "set", "lan0", "up")
    told = refused(host, "weavedns", "launch")
    assert "the weave range 10.2.0.0/16 overlaps this host's route" in told
    assert "10.2.77.0/24 dev lan0" in told or "10.2.77.1/32 dev lan0" in told
    assert nothing_is_left(host)
    host.start_daemon("--range", "10.3.0.0/16")


def test_without_permission_each_command_says_so(host: Host) -> None:
    assert "run as root" in refused(host, *NOBODY, "weavedns", "launch")
    host.run("install", "-d", "-o", "65534", "/run/weavedns")
    told = refused(host, *NOBODY, "weavedns", "launch", "--state-dir", "/run/weavedns")
    assert "cannot enter a network namespace (Operation not permitted): run as root" in told
    assert nothing_is_left(host)
    assert "no daemon listens" in refused(host, *NOBODY, "weavedns", "add", "db", "192.0.2.10")
    host.start_daemon()
    run(host, "--name", "plain")
    for command in (
        ["weavedns", "add", "db", "192.0.2.10"],
        ["weavenet", "attach", "plain"],
        ["weavedns", "stop"],
        ["weavedns", "launch"],
    ):
        assert "as root" in refused(host, *NOBODY, *command)
    assert host.run("weavedns", "ls", "-q").stdout == "weavedns.weave.local\n"
    assert host.run("weavenet", "ps", "-q").stdout == ""


def test_a_control_socket_of_a_living_daemon_is_left_to_it(host: Host) -> None:
    host.start_daemon()
    assert "a daemon already answers on /run/weavedns/weavedns.sock" in refused(host, "weavedns", "launch")
    told = refused(host, "weavedns", "launch", "--socket", "/run/weavedns/second.sock", "--range", "10.3.0.0/16")
    assert "another daemon (process " in told
    assert not (host.directory / "run/weavedns/second.sock").exists()
    assert host.run("weavedns", "ls", "-q").stdout == "weavedns.weave.local\n"
    assert host.dig("weavedns.weave.local") == ["10.2.254.1"]


def test_a_control_socket_that_a_killed_daemon_left_is_replaced(host: Host) -> None:
    host.start_daemon()
    host.kill_daemon()
    assert (host.directory / "run/weavedns/weavedns.sock").is_socket()
    told = refused(host, "weavedns", "ls")
    assert "no daemon listens on /run/weavedns/weavedns.sock; start one with 'weavedns launch'" in told
    host.start_daemon()
    assert host.run("weavedns", "ls", "-q").stdout == "weavedns.weave.local\n"


def test_a_file_in_the_place_of_the_control_socket_is_not_removed(host: Host) -> None:
    precious = host.directory / "run/weavedns"
    precious.write_text("precious")
    assert "cannot be made" in refused(host, "weavedns", "launch")
    told = refused(host, "weavedns", "launch", "--socket", "/run/weavedns")
    assert "/run/weavedns is no socket; choose another with --socket or remove the file" in told
    assert precious.read_text() == "precious"
    precious.unlink()


# What goes wrong while it serves


def test_a_zone_file_with_an_error_is_told_with_its_line_and_what_it_said_before_is_served(host: Host) -> None:
    zone = host.directory / "run/zones/our.zone"
    zone.parent.mkdir()
    zone.write_text(GOOD_ZONE)
    daemon = host.start_daemon("--zones", "/run/zones")
    try:
        assert host.dig("fromfile.weave.local") == ["192.0.2.20"]
        zone.write_text(GOOD_ZONE.replace("20", "21") + "broken IN A 192.0.2.300\n")
        wait_until(lambda: "/run/zones/our.zone:3: " in daemon.log, what=lambda: daemon.log)
        assert "what the file said before is still served" in daemon.log
        assert "/run/zones/our.zone:3: " in host.run("weavedns", "status", "zones").stdout
        assert host.dig("fromfile.weave.local") == ["192.0.2.20"]
        zone.write_text(GOOD_ZONE.replace("20", "22"))
        wait_until(lambda: host.dig("fromfile.weave.local") == ["192.0.2.22"])
        assert "zone files: /run/zones/our.zone: 1 records\n" in host.run("weavedns", "status", "zones").stdout
        assert "comes from the zone file /run/zones/our.zone" in refused(host, "weavedns", "remove", "fromfile")
    finally:
        zone.unlink()
        zone.parent.rmdir()


def test_a_zone_file_that_is_broken_at_launch_keeps_nothing_else_from_being_served(host: Host) -> None:
    zone = host.directory / "run/broken.zone"
    zone.write_text("fromfile IN A 192.0.2.300\n")
    try:
        daemon = host.start_daemon("--zones", "/run/broken.zone")
        assert "/run/broken.zone:1: " in daemon.log
        assert host.dig("weavedns.weave.local") == ["10.2.254.1"]
        assert "/run/broken.zone:1: " in host.run("weavedns", "status").stdout
    finally:
        zone.unlink()
    host.kill_daemon()
    assert "--zones /run/nowhere does not exist" in refused(host, "weavedns", "launch", "--zones", "/run/nowhere")


def test_without_an_engine_it_serves_says_so_and_takes_the_engine_up_when_it_starts(host: Host) -> None:
    host.engine.stop()
    try:
        daemon = host.start_daemon()
        assert host.dig("weavedns.weave.local") == ["10.2.254.1"]
        wait_until(lambda: "no Docker engine" in daemon.log, what=lambda: daemon.log)
        assert "Docker engine: not there, still looking: no Docker engine" in host.run("weavedns", "status").stdout
        assert "no Docker engine" in refused(host, "weavenet", "attach", "plain")
        host.run("weavedns", "add", "db", "192.0.2.10")
        assert host.dig("db.weave.local") == ["192.0.2.10"]
    finally:
        host.engine.start()
    run(host, "--name", "redis", "--hostname", "redis.weave.local")
    wait_for(host, "redis.weave.local", "10.2.0.1")
    assert "Docker engine: connected" in host.run("weavedns", "status").stdout


def test_an_engine_that_goes_away_takes_no_name_with_it_and_is_followed_when_it_returns(host: Host) -> None:
    host.engine.stop()
    host.engine.start("--live-restore")
    try:
        daemon = host.start_daemon()
        run(host, "--name", "redis", "--hostname", "redis.weave.local")
        run(host, "--name", "gone", "--hostname", "gone.weave.local")
        wait_for(host, "redis.weave.local", "10.2.0.1")
        wait_for(host, "gone.weave.local", "10.2.0.2")
        pid = host.container_pid("gone")
        host.engine.stop(signal.SIGKILL)
        wait_until(lambda: "what is known keeps being served" in daemon.log, what=lambda: daemon.log)
        assert host.dig("redis.weave.local") == ["10.2.0.1"]
        assert json.loads(host.run("weavenet", "ps", "--format", "json").stdout.splitlines()[0])["name"] == "gone"
        assert "Docker engine" in refused(host, "weavenet", "attach", "redis")
        host.run("kill", "-9", str(pid))
        host.engine.start()
        wait_for(host, "gone.weave.local")
        run(host, "--name", "late", "--hostname", "late.weave.local")
        wait_until(lambda: host.dig("late.weave.local"))
        assert host.dig("redis.weave.local") == ["10.2.0.1"]
    finally:
        host.sweep()
        host.engine.stop()
        host.engine.start("--live-restore=false")


def test_a_full_disk_refuses_what_cannot_be_kept_and_serves_on(host: Host) -> None:
    (host.directory / "run/small").mkdir()
    host.run("mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", "/run/small")
    try:
        host.start_daemon("--state-dir", "/run/small")
        host.run("weavedns", "add", "db", "192.0.2.10")
        stored = host.run("cat", "/run/small/added.zone").stdout
        host.run("sh", "-c", "dd if=/dev/zero of=/run/small/filler bs=1k 2>/dev/null", check=False)
        shown = host.run("weavedns", "ls").stdout
        # More than the rest of the file's last page has room for.
        many = [f"198.51.100.{number}" for number in range(1, 255)]
        for command in (["add", "web", *many], ["remove", "db"]):
            told = refused(host, "weavedns", *command)
            assert "/run/small/added.zone cannot be written: No space left on device; make room there" in told
        assert host.run("weavedns", "ls").stdout == shown
        assert host.run("cat", "/run/small/added.zone").stdout == stored
        assert host.dig("db.weave.local") == ["192.0.2.10"]
        assert host.dig("web.weave.local") == []
        assert ask(host, "POST", "/v1/records", '{"name": "web", "data": ["192.0.2.11"]}')[0] == 507
        host.run("rm", "/run/small/filler")
        host.run("weavedns", "add", "web", "192.0.2.11")
        assert host.dig("web.weave.local") == ["192.0.2.11"]
    finally:
        host.kill_daemon()
        host.run("umount", "/run/small")
        (host.directory / "run/small").rmdir()


def test_a_damaged_file_of_added_records_is_left_as_it_is(host: Host) -> None:
    host.state_dir.mkdir()
    stored = host.state_dir / "added.zone"
    stored.write_text("db IN A 192.0.2.300\n")
    told = refused(host, "weavedns", "launch")
    assert f"{stored}:1: " in told
    assert stored.read_text() == "db IN A 192.0.2.300\n"
    assert nothing_is_left(host)
