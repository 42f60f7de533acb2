"""The way between a host and its containers in a LAN, as the lines that a plan shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_interface

import pytest

from wefted.drivers import DRIVERS
from wefted.errors import Unsupported, UsageError
from wefted.model.node import HostLink
from wefted.model.objects import KernelObject

from .samples import endpoint, network, segment

PARENT = HostLink(
    name="eth1",
    mac="06:00:00:00:00:01",
    addresses=tuple(map(ip_interface, ("192.0.2.1/24", "10.64.1.250/24", "2001:db8::1/64", "fd64:0:0:1::fa/64"))),
)
SHIM = "sh-b055460a31fe"
SHIM_MAC = "02:7b:04:54:dc:ae"
SETTINGS = {f"sysctl net/ipv4/conf/{SHIM}/arp_ignore = 8", f"sysctl net/ipv4/conf/{SHIM}/rp_filter = 1"}
WITHOUT_IPV6 = {f"sysctl net/ipv6/conf/{SHIM}/disable_ipv6 = 1"}
WITHOUT_ROUTERS = {f"sysctl net/ipv6/conf/{SHIM}/accept_ra = 0"}
MACVLAN = f"link {SHIM} type macvlan mode bridge link eth1 address {SHIM_MAC}"


def plan(
    driver: str, versions: tuple[int, ...], links: Sequence[HostLink] = (PARENT,), numbers: Sequence[int] = (1,), **options: str
) -> list[KernelObject]:
    chosen = network(driver, versions, number=7, options={"host_access": "on", **options})
    DRIVERS[driver].validate(chosen)
    with_links = replace(segment(chosen), links=tuple(links))
    return list(DRIVERS[driver].plan(with_links, [endpoint(chosen, number) for number in numbers]))


def added(driver: str, versions: tuple[int, ...], links: Sequence[HostLink] = (PARENT,), **options: str) -> set[str]:
    """Return the lines that host access adds to a plan."""
    made = {str(o) for o in plan(driver, versions, links, **options)}
    return made - {str(o) for o in plan(driver, versions, links, **{**options, "host_access": "off"})}


def test_a_macvlan_of_the_host_leads_to_a_container() -> None:
    assert added("macvlan", (4,)) == SETTINGS | WITHOUT_IPV6 | {
        MACVLAN,
        f"route 10.64.1.2/32 dev {SHIM} src 10.64.1.250",
        f"neighbor 10.64.1.2 lladdr 02:77:0a:40:01:02 dev {SHIM}",
        f"netns c1 neighbor 10.64.1.250 lladdr {SHIM_MAC} dev eth0",
    }


def test_ipv6_goes_the_same_way() -> None:
    assert added("macvlan", (6,)) == SETTINGS | WITHOUT_ROUTERS | {
        MACVLAN,
        f"-6 route fd64:0:0:1::2/128 dev {SHIM} src fd64:0:0:1::fa",
        f"neighbor fd64:0:0:1::2 lladdr 02:77:0a:40:01:02 dev {SHIM}",
        f"netns c1 neighbor fd64:0:0:1::fa lladdr {SHIM_MAC} dev eth0",
    }


def test_an_ipvlan_uses_the_mac_that_all_share() -> None:
    assert added("ipvlan", (4,)) == SETTINGS | WITHOUT_IPV6 | {
        f"link {SHIM} type ipvlan mode l2 link eth1",
        f"route 10.64.1.2/32 dev {SHIM} src 10.64.1.250",
        f"neighbor 10.64.1.2 lladdr 06:00:00:00:00:01 dev {SHIM}",
        "netns c1 neighbor 10.64.1.250 lladdr 06:00:00:00:00:01 dev eth0",
    }


@pytest.mark.parametrize(("version", "own"), [(4, "192.0.2.1/24"), (6, "2001:db8::1/64")])
def test_a_host_in_another_subnet_is_on_the_link_all_the_same(version: int, own: str) -> None:
    parent = replace(PARENT, addresses=(ip_interface(own),))
    family, length = ("", 32) if version == 4 else ("-6 ", 128)
    lone = f"{own.split('/')[0]}/{length}"
    assert f"netns c1 {family}route {lone} dev eth0 metric 2007" in added("macvlan", (version,), [parent])


def test_dual_stack_needs_an_address_of_each_version() -> None:
    parent = replace(PARENT, addresses=PARENT.addresses[:2])
    assert [line for line in added("macvlan", (4, 6), [parent]) if "fd64" in line] == []


@pytest.mark.parametrize("links", [(), (replace(PARENT, addresses=()),)], ids=["no such link", "no address"])
def test_without_an_address_of_the_host_there_is_nothing(links: tuple[HostLink, ...]) -> None:
    assert added("macvlan", (4, 6), links) == set()


def test_without_containers_there_is_nothing() -> None:
    assert plan("macvlan", (4, 6), numbers=[]) == []


def test_containers_share_the_link() -> None:
    made = plan("macvlan", (4, 6), numbers=[1, 2, 3])
    assert len([o for o in made if str(o).startswith(f"link {SHIM}")]) == 1
    assert len({o.key for o in made if SHIM in str(o)}) == 1 + 3 + 3 * 2 * 2


@pytest.mark.parametrize(
    ("driver", "mode"), [("macvlan", "private"), ("macvlan", "vepa"), ("macvlan", "passthru"), ("ipvlan", "l3")]
)
def test_modes_in_which_nobody_is_reached_are_refused(driver: str, mode: str) -> None:
    with pytest.raises(Unsupported, match=f"in mode {mode} host and containers do not reach each other"):
        plan(driver, (4,), mode=mode)


def test_it_is_on_or_off() -> None:
    with pytest.raises(UsageError, match="host_access is 'yes', not one of on, off"):
        plan("macvlan", (4,), host_access="yes")


@pytest.mark.parametrize(("ours", "made"), [(True, True), (False, False)])
@pytest.mark.parametrize("driver", ["macvlan", "ipvlan"])
def test_a_vlan_that_the_host_has_is_used_as_it_is(driver: str, ours: bool, made: bool) -> None:
    lines = {str(o) for o in plan(driver, (4,), [HostLink(name="eth1.42", kind="vlan", ours=ours)], tag="42")}
    assert ("link eth1.42 type vlan id 42 link eth1" in lines) is made
    assert any("link eth1.42" in line for line in lines if line.startswith("netns c1 link eth0"))
