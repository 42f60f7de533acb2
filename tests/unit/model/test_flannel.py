"""flannel's configuration and leases: the rules of its `CheckNetworkConfig`, and values byte for byte as it writes them."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wefted.errors import UsageError
from wefted.model import flannel, flannel_lease
from wefted.model.flannel_lease import FlannelLease
from wefted.model.flannel_network import network_of


def ranges(text: str) -> list[tuple[str, int, str, str]]:
    """Return network, length, first and last subnet of each IP version."""
    return [(str(r.network), r.length, str(r.first), str(r.last)) for r in flannel.parse(text).ranges]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"Network": "10.5.0.0/16"}', ("10.5.0.0/16", 24, "10.5.1.0", "10.5.255.0")),
        ('{"network": "10.5.0.0/22"}', ("10.5.0.0/22", 24, "10.5.1.0", "10.5.3.0")),
        ('{"NETWORK": "10.5.0.0/24"}', ("10.5.0.0/24", 26, "10.5.0.64", "10.5.0.192")),
        ('{"Network": "10.5.0.0/28"}', ("10.5.0.0/28", 30, "10.5.0.4", "10.5.0.12")),
        ('{"Network": "10.0.0.0/8", "SubnetLen": 20, "SubnetMin": "10.10.0.0", "SubnetMax": "10.99.0.0"}',
         ("10.0.0.0/8", 20, "10.10.0.0", "10.99.0.0")),
        ('{"Network": "10.5.77.1/16"}', ("10.5.0.0/16", 24, "10.5.1.0", "10.5.255.0")),
        ('{"EnableIPv4": false, "EnableIPv6": true, "IPv6Network": "fd05::/48"}',
         ("fd05::/48", 64, "fd05:0:0:1::", "fd05:0:0:ffff::")),
        ('{"EnableIPv4": false, "EnableIPv6": true, "IPv6Network": "fd05::/64"}',
         ("fd05::/64", 66, "fd05::4000:0:0:0", "fd05::c000:0:0:0")),
    ],
)  # fmt: skip
def test_the_ranges_of_a_configuration(text: str, expected: tuple[str, int, str, str]) -> None:
    assert ranges(text) == [expected]


def test_both_versions_at_once() -> None:
    text = '{"Network": "10.5.0.0/16", "EnableIPv6": true, "IPv6Network": "fc00::/48", "Backend": {"Type": "VXLAN", "vni": 7}}'
    config = flannel.parse(text)
    assert [r.network.version for r in config.ranges] == [4, 6]
    assert (config.backend_type, config.option("VNI"), config.option("Port", 8472)) == ("vxlan", 7, 8472)


def test_without_a_backend_it_is_udp() -> None:
    assert flannel.parse('{"Network": "10.5.0.0/16"}').backend_type == "udp"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it is not JSON"),
        ("[]", "no object"),
        ("{}", "Network is missing"),
        ('{"Network": "10.5.0.0"}', "Network is missing or no prefix"),
        ('{"Network": "fd05::/48"}', "Network: "),
        ('{"Network": "10.5.0.0/29"}', "10.5.0.0/29 is too small"),
        ('{"Network": "10.5.0.0/16", "SubnetLen": 31}', "SubnetLen 31 leaves no room"),
        ('{"Network": "10.5.0.0/16", "SubnetLen": 17}', "fewer than four subnets of /17"),
        ('{"Network": "10.5.0.0/16", "SubnetLen": "24"}', "SubnetLen is no number"),
        ('{"Network": "10.5.0.0/16", "SubnetMin": "10.6.0.0"}', "SubnetMin 10.6.0.0 lies outside"),
        ('{"Network": "10.5.0.0/16", "SubnetMin": "10.5.1.7"}', "SubnetMin 10.5.1.7 is not where a subnet of /24 begins"),
        ('{"Network": "10.5.0.0/16", "SubnetMax": "10.5.9.9"}', "SubnetMax 10.5.9.9 is not where"),
        ('{"Network": "10.5.0.0/16", "SubnetMin": "10.5.9.0", "SubnetMax": "10.5.2.0"}', "lies behind SubnetMax"),
        ('{"Network": "10.5.0.0/16", "Backend": {}}', "Backend has no Type"),
        ('{"Network": "10.5.0.0/16", "Backend": "udp"}', "Backend is no object"),
        ('{"EnableIPv4": false}', "neither IPv4 nor IPv6"),
        ('{"EnableIPv4": "no"}', "EnableIPv4 is neither true nor false"),
    ],
)
def test_a_bad_configuration_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as refused:
        flannel.parse(text, "/x/config")
    assert refused.value.message.startswith("/x/config: ")


_KEYS = st.sampled_from(["Network", "SubnetLen", "SubnetMin", "Backend", "Type"])
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(_KEYS, inner)
)


@given(st.text() | _JSON.map(json.dumps))
def test_no_configuration_does_anything_but_work_or_be_refused(text: str) -> None:
    try:
        config = flannel.parse(text)
    except UsageError:
        return
    assert config.ranges


MINE = FlannelLease(subnet=IPv4Network("10.5.34.0/24"), public=IPv4Address("172.31.99.1"))
BOTH = FlannelLease(
    subnet=IPv4Network("10.5.34.0/24"), subnet6=IPv6Network("fd00:12:13::/56"), public=IPv4Address("172.31.99.1"),
    public6=IPv6Address("fd99::1"), backend="vxlan", data={"VNI": 1, "VtepMAC": "62:36:36:1c:6d:33"},
    data6={"VNI": 1, "VtepMAC": "62:36:36:1c:6d:34"},
)  # fmt: skip
VXLAN = FlannelLease(
    subnet=IPv4Network("10.5.34.0/24"), public=IPv4Address("172.31.99.1"), backend="vxlan",
    data={"VNI": 1, "VtepMAC": "62:36:36:1c:6d:33"},
)  # fmt: skip


@pytest.mark.parametrize(
    ("lease", "name", "value"),
    [
        (MINE, "10.5.34.0-24", '{"PublicIP":"172.31.99.1","PublicIPv6":null}'),
        (VXLAN, "10.5.34.0-24",
         '{"PublicIP":"172.31.99.1","PublicIPv6":null,"BackendType":"vxlan",'
         '"BackendData":{"VNI":1,"VtepMAC":"62:36:36:1c:6d:33"}}'),
        (BOTH, "10.5.34.0-24&fd00:12:13::-56",
         '{"PublicIP":"172.31.99.1","PublicIPv6":"fd99::1","BackendType":"vxlan",'
         '"BackendData":{"VNI":1,"VtepMAC":"62:36:36:1c:6d:33"},"BackendV6Data":{"VNI":1,"VtepMAC":"62:36:36:1c:6d:34"}}'),
    ],
    ids=["udp", "vxlan", "both versions"],
)  # fmt: skip
def test_a_lease_is_written_as_flannel_writes_it(lease: FlannelLease, name: str, value: str) -> None:
    assert (flannel_lease.key(lease), flannel_lease.encode(lease).decode()) == (name, value)
    assert flannel_lease.decode(name, value.encode()) == lease


def test_a_lease_of_flannel_before_0_18_is_read() -> None:
    value = b'{"PublicIP":"172.31.99.1","BackendType":"vxlan","BackendData":{"VtepMAC":"a2:5d:77:89:48:a6"}}'
    lease = flannel_lease.decode("10.5.34.0-24", value)
    assert lease is not None
    assert (lease.backend, lease.data) == ("vxlan", {"VtepMAC": "a2:5d:77:89:48:a6"})


@pytest.mark.parametrize("name", ["", "config", "10.5.34.0", "10.5.34.0-33", "10.5.34.1-24", "10.5.34.0-24&fd00::1-64", "x-24"])
def test_a_key_that_names_no_subnet_is_passed_over(name: str) -> None:
    assert flannel_lease.decode(name, flannel_lease.encode(MINE)) is None


@given(st.text(), st.binary())
def test_no_key_or_value_of_others_is_an_error(name: str, value: bytes) -> None:
    assert flannel_lease.decode(name, value) is None or flannel_lease.subnets_of(name) is not None


CONFIG = flannel.parse('{"Network": "10.5.0.0/20"}')


def test_a_subnet_of_before_is_taken_again_when_it_is_free() -> None:
    before = [ip_network("10.5.7.0/24")]
    assert flannel_lease.choose(CONFIG, [], before, Random(1)) == tuple(before)
    (other,) = flannel_lease.choose(CONFIG, before, before, Random(1))
    assert other != before[0]
    for stranger in ("10.5.0.0/24", "10.6.7.0/24", "10.5.7.0/25"):
        assert flannel_lease.choose(CONFIG, [], [ip_network(stranger)], Random(1)) != (ip_network(stranger),)


def test_hosts_get_every_subnet_but_the_first_and_then_none() -> None:
    taken: list[flannel_lease.IPNetwork] = [ip_network("10.5.3.128/25")]
    random = Random(2)
    while chosen := flannel_lease.choose(CONFIG, taken, [], random):
        taken += chosen
    numbers = sorted(int(subnet.network_address) >> 8 & 0xFF for subnet in taken[1:])
    assert numbers == [n for n in range(1, 16) if n != 3]


def test_subnet_env_is_what_flannel_writes() -> None:
    assert flannel_lease.subnet_env(flannel.parse('{"Network":"10.5.0.0/16"}'), MINE, 1450, True) == (
        "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.34.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"
    )
    both = flannel.parse('{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:12::/32","IPv6SubnetLen":56}')
    text = flannel_lease.subnet_env(both, BOTH, 1430, False)
    assert text.splitlines()[2:] == [
        "FLANNEL_IPV6_NETWORK=fd00:12::/32", "FLANNEL_IPV6_SUBNET=fd00:12:13::1/56", "FLANNEL_MTU=1430", "FLANNEL_IPMASQ=false",
    ]  # fmt: skip
    assert flannel_lease.previous_subnets(text) == (ip_network("10.5.34.0/24"), ip_network("fd00:12:13::/56"))
    assert flannel_lease.previous_subnets("FLANNEL_SUBNET=garbage\nnothing") == ()


@pytest.mark.parametrize("mtu", ['"1400"', "-1", "70000", "1.5", "[1]"])
def test_an_mtu_that_is_none_is_refused(mtu: str) -> None:
    text = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","MTU":%s}}' % mtu  # noqa: UP031
    with pytest.raises(UsageError, match=r"^/p/config: MTU is no number"):
        network_of("n", "/p/", text, False)
