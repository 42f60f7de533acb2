"""Sysctls are set, remembered from before the first write, and put back."""

from __future__ import annotations

import errno

import pytest

from wefted.model.firewall import Sysctl
from wefted.model.objects import HOST, Change
from wefted.testing.kernel_samples import BRIDGE

from .conftest import LabHost

pytestmark = pytest.mark.lab

FORWARD = Sysctl(name="net/ipv4/ip_forward", value="1")
OF_BRIDGE = Sysctl(name=f"net/ipv4/conf/{BRIDGE.name}/forwarding", value="1")


def value(host: LabHost, name: str) -> str:
    return host.run("sysctl", "-n", name.replace("/", ".")).strip()


def test_the_value_of_before_comes_back_also_after_a_restart_and_two_writes(host: LabHost) -> None:
    host.kernel.apply([Change(None, FORWARD)])
    host.kernel.apply([Change(FORWARD, Sysctl(name=FORWARD.name, value="1"))])
    assert value(host, FORWARD.name) == "1"
    assert [p.read_text() for p in (host.runtime_dir / "sysctl").iterdir()] == ["0"]
    assert host.new_kernel().apply([Change(FORWARD, None)])[0].error == ""
    assert value(host, FORWARD.name) == "0"
    assert not list((host.runtime_dir / "sysctl").iterdir())


def test_what_somebody_else_set_is_read_as_it_is(host: LabHost) -> None:
    host.kernel.apply([Change(None, FORWARD)])
    host.run("sysctl", "-w", "net.ipv4.ip_forward=0")
    assert host.kernel.read(HOST).objects[FORWARD.key] == Sysctl(name=FORWARD.name, value="0")


def test_words_are_separated_by_single_spaces(host: LabHost) -> None:
    ports = Sysctl(name="net/ipv4/ip_local_port_range", value="20000 60000")
    host.kernel.apply([Change(None, ports)])
    assert host.kernel.read(HOST).objects[ports.key] == ports


def test_a_setting_that_went_with_its_link_is_forgotten(host: LabHost) -> None:
    outcomes = host.kernel.apply([Change(None, BRIDGE), Change(None, OF_BRIDGE)])
    assert [o.error for o in outcomes] == ["", ""]
    host.remove_link(HOST, BRIDGE.name)
    assert OF_BRIDGE.key not in host.kernel.read(HOST).objects
    assert not list((host.runtime_dir / "sysctl").iterdir())


def test_a_setting_is_restored_before_its_link_goes_or_with_it(host: LabHost) -> None:
    host.kernel.apply([Change(None, BRIDGE), Change(None, OF_BRIDGE)])
    host.remove_link(HOST, BRIDGE.name)
    assert host.kernel.apply([Change(OF_BRIDGE, None)])[0].error == ""
    assert not list((host.runtime_dir / "sysctl").iterdir())


@pytest.mark.parametrize(
    ("sysctl", "number"),
    [
        (Sysctl(name="net/ipv4/conf/none0/forwarding", value="1"), errno.ENOENT),
        (Sysctl(name="net/ipv4/ip_forward/more", value="1"), errno.ENOTDIR),
        (Sysctl(name="net/ipv4/ip_forward", value="many"), errno.EINVAL),
        (Sysctl(name="../../etc/hostname", value="1"), errno.EINVAL),
        (Sysctl(name="net//ipv4", value="1"), errno.EINVAL),
        (Sysctl(ns=HOST, name="", value="1"), errno.EINVAL),
    ],
)
def test_what_cannot_be_set_is_refused_and_not_remembered(host: LabHost, sysctl: Sysctl, number: int) -> None:
    assert host.kernel.apply([Change(None, sysctl)])[0].errno == number
    outcome = host.kernel.apply([Change(sysctl, None)])[0]
    assert outcome.error == ""
    assert not [o for o in host.kernel.read(HOST).objects.values() if isinstance(o, Sysctl)]


def test_sysctls_of_sandboxes_are_refused(host: LabHost) -> None:
    outcome = host.kernel.apply([Change(None, Sysctl(ns=host.sandbox(), name="net/ipv4/ip_forward", value="1"))])[0]
    assert "host's namespace only" in outcome.error
