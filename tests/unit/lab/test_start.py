"""What is started in a lab: the environment of its programs, etcd's command line."""

from __future__ import annotations

import sys
from ipaddress import ip_address
from pathlib import Path

from wefted.lab import etcd
from wefted.lab.enter import environment
from wefted.lab.topology import simple


def test_programs_find_our_command_and_none_of_our_settings(monkeypatch):
    monkeypatch.setenv("WEFTED_RUNTIME_DIR", "/elsewhere")
    monkeypatch.setenv("PATH", "/opt/bin")
    found = environment({"X": "1"})
    assert "WEFTED_RUNTIME_DIR" not in found
    assert found["PATH"].split(":")[:2] == [str(Path(sys.executable).parent), "/opt/bin"]
    assert "/usr/sbin" in found["PATH"].split(":")
    assert found["X"] == "1"


def test_etcd_serves_the_underlay():
    command = etcd.command(ip_address("192.168.50.254"))
    assert command[command.index("--advertise-client-urls") + 1] == "http://192.168.50.254:2379"
    assert etcd.url(simple(1)) == "etcd://192.168.50.254:2379"
    assert etcd.url(simple(1, store=False)) == ""


def test_etcd_over_ipv6():
    assert "http://[fd00::1]:2379" in etcd.command(ip_address("fd00::1"))
