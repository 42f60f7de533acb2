"""Docker's option keys in our words."""

from __future__ import annotations

from typing import Any

import pytest

from wefted.errors import Unsupported, UsageError
from wefted.model.dockeroptions import WORDS, translated

BRIDGE = "com.docker.network.bridge."


@pytest.mark.parametrize(
    ("key", "value", "options", "fields"),
    [
        ("com.docker.network.driver.mtu", "1400", {}, {"mtu": 1400}),
        ("com.docker.network.enable_ipv6", "true", {}, {"ipv6": True}),
        ("com.docker.network.enable_ipv4", "false", {}, {"ipv4": False}),
        ("com.docker.network.driver.overlay.vxlanid_list", "4097", {"vni": "4097"}, {}),
        ("com.docker.network.internal", "1", {}, {"internal": True}),
        (f"{BRIDGE}enable_ip_masquerade", "false", {}, {"masquerade": False}),
        (f"{BRIDGE}enable_icc", "false", {"icc": "off"}, {}),
        (f"{BRIDGE}host_binding_ipv4", "127.0.0.1", {"host_binding": "127.0.0.1"}, {}),
        (f"{BRIDGE}gateway_mode_ipv4", "routed", {"gateway_mode": "routed"}, {}),
        (f"{BRIDGE}gateway_mode_ipv6", "nat", {"gateway_mode": "nat"}, {}),
        (f"{BRIDGE}name", "br7", {"name": "br7"}, {}),
        ("com.docker.network.container_iface_prefix", "net", {"ifprefix": "net"}, {}),
        ("macvlan_mode", "private", {"mode": "private"}, {}),
        ("ipvlan_mode", "l3", {"mode": "l3"}, {}),
        ("parent", "eth0", {"parent": "eth0"}, {}),
        ("whatever", "x", {"whatever": "x"}, {}),
    ],
)
def test_a_key_becomes_ours(key: str, value: str, options: dict[str, str], fields: dict[str, Any]) -> None:
    found = translated([(key, value)])
    assert (found.options, found.fields) == (options, fields)


@pytest.mark.parametrize(
    ("pairs", "told"),
    [
        ([(f"{BRIDGE}enable_icc", "maybe")], "not true or false"),
        ([("com.docker.network.driver.mtu", "big")], "not a number of bytes"),
        ([(f"{BRIDGE}gateway_mode_ipv4", "nat"), (f"{BRIDGE}gateway_mode_ipv6", "routed")], "contradicts another one"),
        ([(f"{BRIDGE}enable_icc", "true"), ("icc", "off")], "contradicts another one"),
    ],
)
def test_what_is_wrong_is_told(pairs: list[tuple[str, str]], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        translated(pairs)


@pytest.mark.parametrize(
    ("text", "fields"), [("true", {"backend": "wireguard"}), ("", {"backend": "wireguard"}), ("false", {})]
)
def test_encrypted_chooses_the_backend_that_does_it(text: str, fields: dict[str, str]) -> None:
    """Docker's overlay takes the key alone for a yes."""
    assert translated([("encrypted", text)]).fields == fields


@pytest.mark.parametrize("key", [f"{BRIDGE}inhibit_ipv4", f"{BRIDGE}trusted_host_interfaces", "ipvlan_flag"])
def test_what_has_no_counterpart_is_refused_with_a_way_out(key: str) -> None:
    with pytest.raises(Unsupported, match="no counterpart") as refused:
        translated([(key, "x")])
    assert refused.value.hint


def test_a_network_has_one_vxlan() -> None:
    with pytest.raises(Unsupported, match="in one VXLAN") as refused:
        translated([("com.docker.network.driver.overlay.vxlanid_list", "4097,4098")])
    assert refused.value.hint.endswith("vxlanid_list=4097")


def test_every_word_of_the_table_is_in_the_reference() -> None:
    from pathlib import Path

    page = (Path(__file__).resolve().parents[3] / "docs" / "reference" / "docker-network.md").read_text()
    assert [key for key in WORDS if f"`{key}" not in page] == []
