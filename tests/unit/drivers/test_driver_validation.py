"""What drivers refuse, and how they say it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from wefted.drivers import DRIVERS, refuse_second
from wefted.errors import InUse, Unsupported, UsageError

from .samples import SUBNETS, endpoint, network


@pytest.mark.parametrize(
    ("driver", "changes", "message"),
    [
        ("macvlan", {"options": {"paernt": "eth1"}}, "unknown option 'paernt', did you mean 'parent'?"),
        ("bridge", {"options": {"parent": "eth1"}}, "unknown option 'parent'"),
        ("host", {"options": {"zzz": "1"}}, "unknown option 'zzz'"),
        ("macvlan", {"options": {"parent": ""}}, "needs the option parent"),
        ("macvlan", {"options": {"parent": "a/b"}}, "cannot be the name of a link"),
        ("macvlan", {"options": {"parent": "a b"}}, "cannot be the name of a link"),
        ("macvlan", {"options": {"parent": ".."}}, "cannot be the name of a link"),
        ("macvlan", {"options": {"parent": "sixteen-letters-"}}, "cannot be the name of a link"),
        ("macvlan", {"options": {"mode": "l2"}}, "option mode is 'l2', not one of bridge, private, vepa, passthru"),
        ("macvlan", {"options": {"tag": "4095"}}, "option tag is '4095', not a number from 1 to 4094"),
        ("macvlan", {"options": {"tag": "ten"}}, "option tag is 'ten', not a number"),
        ("macvlan", {"options": {"tag": "٣"}}, "not a number"),
        ("ipvlan", {"options": {"mode": "bridge"}}, "option mode is 'bridge', not one of l2, l3, l3s"),
        ("ipvlan", {"options": {"parent": ""}}, "needs the option parent"),
        ("vlan", {"options": {"tag": ""}}, "needs the option tag"),
        ("vlan", {"options": {"tag": "0"}}, "not a number from 1 to 4094"),
        ("phys", {"options": {"device": ""}}, "needs the option device"),
        ("phys", {"options": {"force": "yes"}}, "option force is 'yes', not one of on, off"),
        ("ipoib", {"options": {"pkey": "0x10000"}}, "option pkey is '0x10000', not a partition key"),
        ("ipoib", {"options": {"pkey": "0x8000"}}, "not a partition key"),
        ("ipoib", {"options": {"pkey": "blue"}}, "not a partition key"),
        ("ipoib", {"options": {"mode": "fast"}}, "option mode is 'fast', not one of datagram, connected"),
        ("bridge", {"options": {"vlan": "0"}}, "option vlan is '0', not a number from 1 to 4094"),
        ("bridge", {"options": {"vlan": "10", "gateway_mode": "nat"}}, "the host is not in VLAN 10"),
        ("ptp", {"subnets": ()}, "needs a subnet"),
    ],
)
def test_a_bad_network_is_refused(driver: str, changes: dict, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        DRIVERS[driver].validate(network(driver, **changes))
    assert message in str(caught.value)
    assert "'web'" in caught.value.message


@pytest.mark.parametrize(
    ("driver", "changes", "message"),
    [
        *((name, {"backend": "vxlan", "layer": 2}, "does not go with backend vxlan") for name in ("ipvlan", "vlan", "phys")),
        *((name, {"backend": "host-gw"}, "does not go with backend host-gw") for name in ("host", "none", "phys", "dummy")),
        ("macvlan", {"backend": "host-gw", "options": {"parent": ""}}, "does not go with a routed backend (host-gw, layer 3)"),
        ("macvlan", {"backend": "vxlan", "options": {"parent": ""}}, "does not go with a routed backend (vxlan, layer 3)"),
        ("macvlan", {"backend": "vxlan", "layer": 2}, "option parent does not go with backend vxlan"),
        ("ptp", {"backend": "vxlan", "layer": 2}, "no broadcast domain"),
    ],
)
def test_a_combination_that_cannot_be_is_refused_with_a_way_out(driver: str, changes: dict, message: str) -> None:
    with pytest.raises(Unsupported) as caught:
        DRIVERS[driver].validate(network(driver, **changes))
    assert message in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("driver", ["host", "none"])
def test_a_driver_without_addresses_takes_no_subnet(driver: str) -> None:
    subnets = network("bridge").subnets
    assert subnets[0].prefix == SUBNETS[4]
    with pytest.raises(UsageError, match="takes no subnet"):
        DRIVERS[driver].validate(network(driver, subnets=subnets))


@pytest.mark.parametrize(
    ("driver", "changes"),
    [
        ("bridge", {"backend": "vxlan", "layer": 2, "options": {"vni": "9", "block": "26"}}),
        ("bridge", {"options": {"block": "26"}}),
        ("bridge", {"subnets": ()}),
        ("ptp", {"backend": "host-gw"}),
        ("macvlan", {"backend": "vxlan", "layer": 2, "options": {"parent": ""}}),
        ("macvlan", {"subnets": (), "options": {"tag": "4094", "mode": "passthru"}}),
    ],
)
def test_what_can_be_is_accepted(driver: str, changes: dict) -> None:
    DRIVERS[driver].validate(network(driver, **changes))


@pytest.mark.parametrize("driver", sorted(DRIVERS))
def test_a_link_of_which_there_is_one_goes_to_one_container(driver: str) -> None:
    chosen = network(driver)
    first, second = endpoint(chosen, 1), endpoint(chosen, 2)
    refuse_second(chosen, first, [first])
    if driver in ("phys", "vlan"):
        with pytest.raises(InUse, match="netns:c1 has it"):
            refuse_second(chosen, second, [first])
    else:
        refuse_second(chosen, second, [first])
    refuse_second(chosen, second, [replace(first, network="other")])
