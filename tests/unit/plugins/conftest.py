"""Fixtures of the tests of the programs in C."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .small_agent import Agent


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run")


@pytest.fixture
def serve(folder: Path) -> Iterator[Callable[..., Agent]]:
    """Start an agent that sends these bytes, or behaves as told."""
    agents: list[Agent] = []

    def start(answer: bytes | Callable[[socket.socket, bytes], None]) -> Agent:
        behave = answer if callable(answer) else lambda connection, _: connection.sendall(answer)
        agents.append(Agent(folder, behave))
        return agents[-1]

    yield start
    for agent in agents:
        agent.close()
