"""What is started in a lab: the environment of its programs, etcd's command line, a host's disk."""

from __future__ import annotations

import os
import sys
from ipaddress import ip_address
from pathlib import Path

from wefted.lab import disk, etcd
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


def test_a_disk_has_files_of_its_own_and_leads_to_the_machines_directories(tmp_path):
    disk.make(tmp_path, "h1", [("10.0.0.1", "h1"), ("10.0.0.2", "h2")])
    assert (tmp_path / "etc/hostname").read_text() == "h1\n"
    assert (tmp_path / "etc/hosts").read_text().splitlines()[-2:] == ["10.0.0.1 h1", "10.0.0.2 h2"]
    assert not list((tmp_path / "etc/wefted").iterdir())
    assert not list((tmp_path / "var/lib/wefted").iterdir())
    assert (tmp_path / "etc/passwd").read_text() == Path("/etc/passwd").read_text()
    linked = [p for p in (tmp_path / "etc").iterdir() if p.is_symlink() and os.readlink(p).startswith("/run/machine/etc/")]
    assert linked


def test_two_disks_have_two_machine_ids(tmp_path):
    for name in ("a", "b"):
        disk.make(tmp_path / name, name, [])
    assert (tmp_path / "a/etc/machine-id").read_text() != (tmp_path / "b/etc/machine-id").read_text()
