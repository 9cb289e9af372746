"""Which containers are attached and which names they get: the table of the README, on a real engine."""

from functools import partial

import pytest

from tests.docker.test_lifecycle import attached
from tests.docker.test_quick_start import run, wait_for
from tests.lab import Host, wait_until

pytestmark = pytest.mark.docker


def wait_for_last(host: Host) -> None:
    """Start one more container and wait for its name: whatever was to happen to the ones before has happened."""
    run(host, "--name", "last", "--hostname", "last.weave.local")
    wait_until(lambda: host.dig("last.weave.local"), what="the last container")


@pytest.mark.parametrize(
    ("options", "name", "address"),
    [
        (["-e", "WEAVE_CIDR=10.2.45.3/24"], "plain.weave.local", "10.2.45.3"),
        (["-e", "WEAVE_CIDR=net:10.2.67.0/24"], "plain.weave.local", "10.2.67.1"),
        (["-e", "WEAVE_CIDR=weave://10.2.45.4/24"], "plain.weave.local", "10.2.45.4"),
        (["-e", "WEAVE_CIDR=weave://10.2.68.0/24"], "plain.weave.local", "10.2.68.1"),
        (["-e", "WEAVE_CIDR=weave://"], "plain.weave.local", "10.2.0.1"),
        (["-e", "WEAVE_CIDR=net:default"], "plain.weave.local", "10.2.0.1"),
        (["-l", "works.weave.attach=net:10.2.69.0/24"], "plain.weave.local", "10.2.69.1"),
        (["--hostname", "Up.Weave.Local"], "up.weave.local", "10.2.0.1"),
        (["--hostname", "h", "--domainname", "shop.weave.local"], "h.shop.weave.local", "10.2.0.1"),
    ],
)
def test_a_container_gets_what_it_asks_for(host: Host, options: list[str], name: str, address: str) -> None:
    host.start_daemon()
    run(host, "--name", "plain", *options)
    wait_for(host, name, address)
    assert host.dig("-x", address) == [f"{name}."]


def test_several_addresses_are_all_given_and_all_answered(host: Host) -> None:
    host.start_daemon()
    run(host, "--name", "plain", "-e", "WEAVE_CIDR=10.2.45.3/24 net:10.2.67.0/24 net:default")
    wait_for(host, "plain.weave.local", "10.2.45.3", "10.2.67.1", "10.2.0.1")


def test_containers_that_do_not_ask_or_have_no_network_of_their_own_are_left_alone(host: Host) -> None:
    host.start_daemon()
    run(host, "--name", "plain")
    run(host, "--name", "outside", "--hostname", "web.example.com")
    run(host, "--name", "refused", "--hostname", "refused.weave.local", "-e", "WEAVE_CIDR=none")
    run(host, "--name", "hosts", "--network", "host", "-e", "WEAVE_CIDR=net:default")
    run(host, "--name", "nones", "--network", "none", "-e", "WEAVE_CIDR=net:default")
    run(host, "--name", "joined", "--network", "container:plain", "-e", "WEAVE_CIDR=net:default")
    wait_for_last(host)
    assert list(attached(host)) == ["last"]
    assert host.dig("refused.weave.local") == []


def test_the_policy_all_takes_every_container_and_none_takes_none(host: Host) -> None:
    host.start_daemon("--attach", "all")
    run(host, "--name", "plain")
    wait_for(host, "plain.weave.local", "10.2.0.1")
    host.kill_daemon()
    host.docker("rm", "-f", "plain")
    host.start_daemon("--attach", "none")
    run(host, "--name", "asks", "--hostname", "asks.weave.local")
    assert host.run("weavenet", "attach", "asks").stdout.split() == ["10.2.0.1/16"]
    wait_for(host, "asks.weave.local", "10.2.0.1")
    run(host, "--name", "other", "--hostname", "other.weave.local")
    wait_until(lambda: list(attached(host)) == ["asks"], what="only the one attached by hand")


def test_labels_give_names_services_and_ttl(host: Host) -> None:
    host.start_daemon()
    run(
        host, "--name", "web", "--hostname", "web.weave.local",
        "-l", "works.weave.dns.name=cache kv.shop.weave.local out.example.com",
        "-l", "works.weave.dns.srv._http._tcp=10 5 80",
        "-l", "works.weave.dns.ttl=30",
    )  # fmt: skip
    for name in ("web", "cache", "kv.shop"):
        wait_for(host, f"{name}.weave.local", "10.2.0.1")
    assert host.dig("_http._tcp.web.weave.local", "SRV") == ["10 5 80 web.weave.local."]
    reply = host.run("dig", "@10.2.254.1", "web.weave.local", "+noall", "+answer").stdout.split()
    assert reply == ["web.weave.local.", "30", "IN", "A", "10.2.0.1"]
    pointers = host.dig("-x", "10.2.0.1")
    assert pointers[0] == "web.weave.local."
    assert set(pointers) == {"web.weave.local.", "cache.weave.local.", "kv.shop.weave.local."}
    assert host.daemon is not None
    wait_until(lambda: host.daemon is not None and "out.example.com" in host.daemon.log, what="the warning")


def test_opting_out_of_dns_gives_an_address_alone(host: Host) -> None:
    host.start_daemon()
    run(host, "--name", "quiet", "--hostname", "quiet.weave.local", "-l", "works.weave.dns=off")
    wait_until(lambda: attached(host) == {"quiet": ["10.2.0.1/16"]}, what=lambda: str(attached(host)))
    assert host.dig("quiet.weave.local") == []
    assert "10.2.254.1" not in host.docker("exec", "quiet", "cat", "/etc/resolv.conf")


def test_compose_containers_have_service_and_project_names(host: Host) -> None:
    host.start_daemon()
    for number in ("1", "2"):
        run(
            host, "--name", f"shop_web_{number}", "-l", "works.weave.attach=net:default",
            "-l", "com.docker.compose.service=web", "-l", "com.docker.compose.project=shop",
            "-l", f"com.docker.compose.container-number={number}",
        )  # fmt: skip
        wait_until(partial(host.dig, f"web-{number}.shop.weave.local"), what=f"instance {number}")
    wait_for(host, "web.shop.weave.local", "10.2.0.1", "10.2.0.2")


def test_a_dns_search_list_of_the_user_is_left_alone(host: Host) -> None:
    host.start_daemon()
    options = ["--dns-search", "example.test", "--dns-opt", "timeout:3"]
    run(host, "--name", "app", "--hostname", "app.weave.local", *options)
    wait_for(host, "app.weave.local", "10.2.0.1")
    text = host.docker("exec", "app", "cat", "/etc/resolv.conf")
    assert "search example.test\n" in text
    assert "timeout:3" in text
    assert "timeout:1" not in text


def test_a_resolv_conf_that_a_person_changed_is_left_alone(host: Host) -> None:
    host.start_daemon()
    run(host, "--name", "app", "--hostname", "app.weave.local")
    wait_for(host, "app.weave.local", "10.2.0.1")
    host.docker("exec", "app", "sh", "-c", "echo 'nameserver 192.0.2.53' > /etc/resolv.conf")
    host.run("weavenet", "detach", "app")
    assert host.docker("exec", "app", "cat", "/etc/resolv.conf") == "nameserver 192.0.2.53"


def test_subnets_and_docker_bridges_do_not_reach_each_other(host: Host) -> None:
    host.start_daemon()
    run(host, "--name", "a1", "-e", "WEAVE_CIDR=10.2.45.1/24")
    run(host, "--name", "a2", "-e", "WEAVE_CIDR=10.2.45.2/24")
    run(host, "--name", "b1", "-e", "WEAVE_CIDR=10.2.46.1/24")
    run(host, "--name", "docker-only")
    wait_for(host, "b1.weave.local", "10.2.46.1")

    def reaches(source: str, address: str) -> bool:
        done = host.run("docker", "exec", source, "ping", "-c1", "-W1", address, check=False)
        return done.returncode == 0

    assert reaches("a1", "10.2.45.2")
    assert reaches("a1", "10.2.254.1")
    assert not reaches("a1", "10.2.46.1")
    assert not reaches("docker-only", "10.2.45.1")
    assert reaches("docker-only", "172.17.0.1")


def test_by_hand_attach_detach_and_one_more_name(host: Host) -> None:
    host.start_daemon()
    run(host, "--name", "app")
    assert host.run("weavenet", "attach", "app", "10.2.45.3/24", "net:10.2.67.0/24").stdout.split() == [
        "10.2.45.3/24",
        "10.2.67.1/24",
    ]
    wait_for(host, "app.weave.local", "10.2.45.3", "10.2.67.1")
    host.run("weavedns", "add", "extra", "--container", "app")
    wait_for(host, "extra.weave.local", "10.2.45.3", "10.2.67.1")
    assert host.run("weavenet", "detach", "app", "10.2.45.3/24").stdout.split() == ["10.2.45.3/24"]
    wait_for(host, "extra.weave.local", "10.2.67.1")
    host.run("weavenet", "detach", "app")
    wait_for(host, "app.weave.local")
    assert attached(host) == {}
