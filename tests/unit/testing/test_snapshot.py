"""Comparing snapshots of a machine."""

from __future__ import annotations

from wefted.testing.snapshot import READERS, difference, snapshot


def test_two_snapshots_of_a_quiet_machine_have_the_same_parts():
    first = snapshot()
    assert first.keys() == READERS.keys()
    assert any(link["ifname"] == "lo" for link in first["links"])
    assert "net/ipv4/ip_forward" in first["sysctls"]
    assert first["mounts"]


def test_what_has_gone_and_what_has_come_is_named():
    before = {"routes": [{"dst": "10.0.0.0/8"}], "nft": ["a", "b", "b"]}
    after = {"routes": [{"dst": "10.1.0.0/16"}], "nft": ["a", "b"]}
    assert difference(before, after) == ['- routes: {"dst": "10.0.0.0/8"}', '+ routes: {"dst": "10.1.0.0/16"}', "- nft: b"]


def test_another_order_is_a_difference():
    assert difference({"nft": ["a", "b"]}, {"nft": ["b", "a"]}) == ["~ nft: the order has changed"]
    assert difference({"nft": ["a", "b"]}, {"nft": ["a", "b"]}) == []


def test_a_loaded_module_is_no_difference_but_a_links_setting_is():
    before = {"sysctls": {"net/ipv4/ip_forward": "0"}}
    module = {"sysctls": {"net/ipv4/ip_forward": "0", "net/bridge/bridge-nf-call-iptables": "1"}}
    link = {"sysctls": {"net/ipv4/ip_forward": "0", "net/ipv4/conf/vx-1/rp_filter": "1"}}
    changed = {"sysctls": {"net/ipv4/ip_forward": "1"}}
    assert difference(before, module) == []
    assert difference(before, link) == ["+ sysctls: net/ipv4/conf/vx-1/rp_filter = 1"]
    assert difference(before, changed) == ["- sysctls: net/ipv4/ip_forward = 0", "+ sysctls: net/ipv4/ip_forward = 1"]
