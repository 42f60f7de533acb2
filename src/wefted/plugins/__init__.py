"""Foreign protocols: each is decoded, becomes calls of the engine, and its answer is encoded; how a thing is done, none knows.

A door is what a small program outside asks for with one request: it hands on its environment and its standard input, and prints
and exits with what comes back.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from wefted.interfaces import Engine

from . import cni, oci_hook
from .door import Answer, Call

Door = Callable[[Engine, Call], Awaitable[Answer]]
"""What is behind a door."""

DOORS: Mapping[str, Door] = {"cni": cni.answer, "oci-hook": oci_hook.answer}
"""By the path below /v1/ of the agent's socket, and the hidden command that does the same without an agent."""

__all__ = ["DOORS", "Answer", "Call", "Door"]
