"""New sandboxes get low numbers, so that the kernel finds them at once when they have something to tell."""

from __future__ import annotations

import os
import threading

import pytest

from wefted.kernel.linux import LinuxKernel
from wefted.kernel.netlink import Message
from wefted.kernel.nsid import RTM_GETNSID, Numbers, number_in
from wefted.model.link import Veth
from wefted.model.objects import Change, Netns
from wefted.testing.kernel_samples import BRIDGE, attached, veth

from .conftest import LabHost, wait_until

pytestmark = pytest.mark.lab


def watched(kernel: LinuxKernel) -> threading.Thread:
    """Watch a kernel in a thread, which ends with the kernel."""
    events = kernel.watch()
    reader = threading.Thread(target=lambda: [None for _ in events])
    reader.start()
    return reader


def attach(kernel: LinuxKernel, ns: Netns, name: str) -> None:
    outcomes = kernel.apply([Change(None, item) for item in (BRIDGE, veth(ns, name), *attached(ns)[2:])])
    assert [o for o in outcomes if o.error] == []


def numbers(host: LabHost) -> list[int]:
    """Return every number in use, from the highest down."""
    sock = host.kernel._socket
    found = [number_in(body) for body in sock.dump(RTM_GETNSID, bytes(4))]
    return sorted((n for n in found if n is not None), reverse=True)


def number_of(host: LabHost, ns: Netns) -> int | None:
    fd = os.open(ns, os.O_RDONLY)
    try:
        (body,) = host.kernel._socket.ask(Message(RTM_GETNSID, 0, bytes(4) + b"\x08\0\x03\0" + fd.to_bytes(4, "little")))
        return number_in(body)
    finally:
        os.close(fd)


def test_numbers_go_downwards_also_after_a_restart(host: LabHost) -> None:
    first = watched(host.kernel)
    sandboxes = [host.sandbox() for _ in range(3)]
    for number, ns in enumerate(sandboxes):
        attach(host.kernel, ns, f"ve-{number}")
    given = [number_of(host, ns) for ns in sandboxes]
    assert given == numbers(host)
    assert len(set(given)) == 3
    again = host.new_kernel()
    second = watched(again)
    late = host.sandbox()
    attach(again, late, "ve-3")
    assert number_of(host, late) == min(numbers(host))
    again.close()
    host.kernel.close()
    for reader in (first, second):
        reader.join(10)
        assert not reader.is_alive()


def test_a_sandbox_that_has_a_number_keeps_it_and_is_heard(host: LabHost) -> None:
    ns = host.sandbox()
    attach(host.kernel, ns, "ve-0")
    before = number_of(host, ns)
    heard: list[Netns] = []
    events = host.kernel.watch()
    reader = threading.Thread(target=lambda: heard.extend(events))
    reader.start()
    outcomes = host.kernel.apply([Change(None, Veth(name="ve-1", peer_ns=ns, peer_name="eth1"))])
    assert [o for o in outcomes if o.error] == []
    assert number_of(host, ns) == before
    host.take_down(ns, "eth0")
    wait_until(lambda: ns in heard, "news of the sandbox")
    host.kernel.close()
    reader.join(10)


def test_nobody_is_numbered_where_nobody_watches(host: LabHost) -> None:
    ns = host.sandbox()
    attach(host.kernel, ns, "ve-0")
    assert numbers(host) == [0], "the kernel's own choice"


def test_the_numbers_begin_anew_when_they_are_used_up(host: LabHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wefted.kernel.nsid._HIGHEST", (1 << 16) + 1)
    given = Numbers(host.kernel._socket)
    fd = os.open(host.netns, os.O_RDONLY)
    try:
        bodies = [given.give(fd).body for _ in range(3)]
    finally:
        os.close(fd)
    assert bodies[0] == bodies[2] != bodies[1]
