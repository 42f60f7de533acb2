"""The fake kernel passes the tests of the real one."""

from __future__ import annotations

import errno
import itertools

import pytest

from wefted.model.link import LinkState
from wefted.model.objects import HOST, Change, Netns
from wefted.testing.kernel import FakeKernel
from wefted.testing.kernel_contract import KernelContract
from wefted.testing.kernel_samples import BRIDGE, FOREIGN


class FakeWorld:
    """Implements `World`."""

    def __init__(self) -> None:
        self.kernel = FakeKernel()
        self._numbers = itertools.count(1)
        self.add_link(HOST, FOREIGN)

    def sandbox(self) -> Netns:
        ns = Netns(f"/run/netns/c{next(self._numbers)}")
        self.kernel.add_namespace(ns)
        return ns

    def remove_sandbox(self, ns: Netns) -> None:
        self.kernel.remove_namespace(ns)

    def add_link(self, ns: Netns, name: str) -> None:
        self.kernel.add_link(LinkState(ns=ns, name=name, mtu=1500, mac="02:00:00:00:99:01"))

    def remove_link(self, ns: Netns, name: str) -> None:
        self.kernel.discard(("link", ns, name))
        self.kernel.discard(("link state", ns, name))

    def take_down(self, ns: Netns, name: str) -> None:
        self.kernel.take_down(ns, name)

    def strand(self, ns: Netns, name: str) -> None:
        self.kernel.strand(ns, name)


class TestFakeKernel(KernelContract):
    @pytest.fixture
    def world(self) -> FakeWorld:
        return FakeWorld()


def test_it_refuses_what_a_test_says() -> None:
    kernel = FakeKernel()
    kernel.refuse[BRIDGE.key] = errno.EPERM
    (outcome,) = kernel.apply([Change(None, BRIDGE)])
    assert outcome.errno == errno.EPERM
    assert kernel.applied == []
    assert BRIDGE.key not in kernel.read(HOST).objects


def test_it_remembers_what_was_applied() -> None:
    kernel = FakeKernel()
    kernel.apply([Change(None, BRIDGE)])
    assert kernel.applied == [Change(None, BRIDGE)]
