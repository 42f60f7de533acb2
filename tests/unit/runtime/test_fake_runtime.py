"""The fake runtime keeps the promises of the real ones."""

from __future__ import annotations

import itertools

import pytest

from wefted.testing.runtime import FakeRuntime
from wefted.testing.runtime_contract import BaselineContract, RenamingContract


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

    def rename(self, name: str) -> str:
        self.runtime.rename(name, f"{name}-new")
        return f"{name}-new"

    def sharing_host(self) -> str:
        self.runtime.share_host("host")
        return "host"


class TestFakeRuntime(BaselineContract, RenamingContract):
    @pytest.fixture
    def world(self) -> FakeWorld:
        return FakeWorld()
