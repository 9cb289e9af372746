"""One container's pair of interfaces: looks at it, and carries out single steps of a plan. Holds no rules.

Everything here blocks for about a millisecond: for worker threads.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from weavenet import plan, sysctl, textfile
from weavenet.errors import NetworkError
from weavenet.netlink import Link, Netlink
from weavenet.netns import Namespace
from weavenet.plan import INSIDE

_TUNED = {
    # Neighbours must not keep the MAC of the address's former holder.
    f"ipv4/conf/{INSIDE}/arp_notify": "1",
    # Otherwise the kernel removes all other addresses of a subnet along with the first.
    f"ipv4/conf/{INSIDE}/promote_secondaries": "1",
    # No neighbour shall make itself this container's IPv6 router.
    f"ipv6/conf/{INSIDE}/disable_ipv6": "1",
}
_UNTUNED = dict.fromkeys(_TUNED, "0")
_FORWARDING_WITHIN_S = 0.2
_POLL_S = 0.0005


@dataclass(frozen=True, slots=True)
class Site:
    """Where steps are carried out: both namespaces, a socket in each, and the bridge. Belongs to one thread."""

    host: Netlink
    inside: Netlink
    host_namespace: Namespace
    namespace: Namespace
    bridge: str


def observe(site: Site, container_id: str, name: str) -> plan.Observed:
    """How a container is attached now, `resolver` left out; NetworkError when an interface is in our way."""
    bridge = site.host.link(site.bridge)
    if bridge is None:
        raise NetworkError(f"bridge {site.bridge} is gone: launch again")
    inside = site.inside.link(INSIDE)
    routes = [route for route in site.inside.routes() if route.in_main]
    if inside is None:
        leftover = site.host.link(plan.host_end_of(container_id))
        if leftover is not None and leftover.alias not in {"", container_id}:
            raise NetworkError(f"interface {leftover.name} belongs to container {leftover.alias}: remove it")
        other_routes = frozenset(route.destination for route in routes)
        return plan.Observed(host_end=leftover.name if leftover else "", other_routes=other_routes)
    host_end = _host_end(site.host, inside)
    if host_end is None:
        raise NetworkError(f"container {name} has an interface {INSIDE} that is not of the weave network: remove it")
    return plan.Observed(
        host_end=host_end.name,
        alias=host_end.alias,
        enslaved=host_end.master == bridge.index,
        host_up=host_end.up,
        host_mtu=host_end.mtu,
        inside=True,
        mac=inside.mac,
        mtu=inside.mtu,
        tuned=inside.arp_notify,
        inside_up=inside.up,
        addresses=tuple(site.inside.addresses(inside.index)),
        routes=frozenset(route.destination for route in routes if route.link == inside.index),
        other_routes=frozenset(route.destination for route in routes if route.link != inside.index),
    )


def perform(step: plan.Step, site: Site) -> None:
    """Carry out one step; raises NetworkError or ResolverMovedError, and then nothing of it is done."""
    match step:
        case plan.Leftover() | plan.Pair() | plan.HostMtu() | plan.Alias() | plan.Enslaved() | plan.HostUp():
            _perform_on_host(step, site)
        case plan.Tuned() | plan.InsideMtu() | plan.Address() | plan.InsideUp() | plan.Route():
            _perform_inside(step, site)
        case plan.Announcement(host_end, mac):
            _await_forwarding(site.host, host_end)
            # The kernel then announces every address (RFC 5227 section 2.3), because of arp_notify. A packet socket
            # could do it too, but closing one takes ten milliseconds.
            site.inside.set_link(INSIDE, mac=mac)
        case plan.Resolver(path, text, before):
            textfile.overwrite(path, text, before)


def _perform_on_host(step: plan.HostStep, site: Site) -> None:
    host = site.host
    match step:
        case plan.Leftover(host_end) | plan.Pair(host_end, present=False):
            host.remove_link(host_end)
        case plan.Pair(host_end, mac, mtu):
            host.add_pair(host_end, mtu, INSIDE, mac, site.namespace)
        case plan.HostMtu(host_end, mtu):
            host.set_link(host_end, mtu=mtu)
        case plan.Alias(host_end, alias):
            host.set_link(host_end, alias=alias)
        case plan.Enslaved(host_end, present):
            bridge = host.link(site.bridge) if present else None
            host.set_link(host_end, master=bridge.index if bridge else 0)
        case plan.HostUp(host_end, present):
            sysctl.write(site.host_namespace, {f"ipv6/conf/{host_end}/disable_ipv6": "1"})
            host.set_link(host_end, state=_state(present))


def _perform_inside(step: plan.InsideStep, site: Site) -> None:
    inside = site.inside
    match step:
        case plan.Tuned(present):
            sysctl.write(site.namespace, _TUNED if present else _UNTUNED)
        case plan.InsideMtu(mtu):
            inside.set_link(INSIDE, mtu=mtu)
        case plan.Address(interface, present=True):
            inside.add_address(INSIDE, interface)
        case plan.Address(interface):
            inside.remove_address(INSIDE, interface)
        case plan.InsideUp(present):
            inside.set_link(INSIDE, state=_state(present))
        case plan.Route(destination, present=True):
            inside.add_route(INSIDE, destination)
        case plan.Route(destination):
            inside.remove_route(INSIDE, destination)


def _host_end(host: Netlink, inside: Link) -> Link | None:
    # An index counts in one namespace only: it is the other end if that says the same of this one.
    link = host.link_at(inside.peer) if inside.kind == "veth" and inside.peer else None
    return link if link and link.kind == "veth" and link.peer == inside.index else None


def _state(present: bool) -> str:
    return "up" if present else "down"


def _await_forwarding(host: Netlink, host_end: str) -> None:
    # The kernel opens the bridge port a moment after both ends are up; what is sent before that is lost. A port
    # that stays closed is no reason to fail: the container then asks again.
    deadline = time.monotonic() + _FORWARDING_WITHIN_S
    while time.monotonic() < deadline:
        link = host.link(host_end)
        if link is None or link.forwarding:
            return
        time.sleep(_POLL_S)
