"""The fake runtime keeps the promises of the real ones."""

from __future__ import annotations

import itertools

import pytest

from wefted.testing.runtime import FakeRuntime
from wefted.testing.runtime_contract import AnnouncingContract


class FakeWorld:
    bad_names = ("", "a/b", "a b")

    def __init__(self) -> None:
        self.runtime = FakeRuntime()
        self._numbers = itertools.count()

    def make(self) -> str:
        name = f"c{next(self._numbers)}"
        self.runtime.add(name)
        return name

    def remove(self, name: str) -> None:
        self.runtime.remove(name)

    def recreate(self, name: str) -> None:
        self.runtime.add(name)

    def sharing_host(self) -> str:
        self.runtime.share_host("host")
        return "host"


class TestFakeRuntime(AnnouncingContract):
    @pytest.fixture
    def world(self) -> FakeWorld:
        return FakeWorld()
