"""Turns: a contender in the virtual host where it lives, how it attaches namespaces, and the look at what it left."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from wefted import __version__
from wefted.errors import Unsupported, WeftedError

from .rows import Row, Skipped
from .worker import Worker

FEW = {"pipework-arping": 10}
"""Attaches of those that wait for a second each time."""

Say = Callable[[str], None]


@dataclass(slots=True)
class Turn:
    """A contender with the worker it lives in, and what it has done so far."""

    name: str
    what: str
    worker: Worker
    samples: list[float]
    names: list[str]

    def provide(self, count: int) -> None:
        """Make the namespaces well ahead: an agent looks at each new one, which must not fall into what is timed."""
        self.worker.ask("make", names=[self._name(number) for number in range(count)])

    def play(self, count: int) -> None:
        """Attach `count` further namespaces."""
        first = len(self.names)
        fresh = [self._name(first + n) for n in range(count)]
        self.samples += self.worker.ask("attach", contender=self.name, names=fresh, first=first)
        self.names += fresh

    def share(self, count: int) -> int:
        """Return how many of `count` attaches are its share."""
        return min(count, FEW.get(self.name, count))

    def _name(self, number: int) -> str:
        return f"{self.name}-{number}"


def machine() -> dict[str, str | int | None]:
    """Return what the numbers depend on."""
    return {
        "wefted": __version__,
        "python": platform.python_version(),
        "kernel": platform.release(),
        "cpus": os.cpu_count(),
    }


def opened(places: Iterable[tuple[str, Worker]]) -> tuple[list[Turn], list[Skipped]]:
    """Let each worker prepare its contenders; return those that can run, and why the others cannot."""
    turns, skipped = [], []
    for name, worker in places:
        try:
            turns.append(turn_of(name, worker))
        except Unsupported as error:
            skipped.append(Skipped(name=name, reason=error.message))
    return turns, skipped


def turn_of(name: str, worker: Worker) -> Turn:
    """Let a worker prepare a contender. Raises `Unsupported` where it cannot run."""
    told = worker.ask("open", contender=name)
    if told["missing"]:
        raise Unsupported(told["missing"])
    return Turn(name, told["what"], worker, [], [])


def row_of(turn: Turn) -> Row:
    """Look at what a contender made, and return its row."""
    ready = verified(turn.worker, turn.name, turn.names)
    return Row(name=turn.name, what=turn.what, samples=tuple(turn.samples), verified=ready - 1)


def verified(worker: Worker, contender: str, names: Sequence[str]) -> int:
    """Return how many interfaces are ready. Raises `WeftedError` unless all are, and the gateway answers the last and first."""
    ready = worker.ask("ready", contender=contender, names=names)
    answered = worker.ask("answered", names=[names[0], names[-1]])
    if len(ready) < len(names) or len(answered) < 2:
        raise WeftedError(
            f"{contender}: of {len(names)} attached, {len(ready)} are ready; of 2 pings, {len(answered)} answered"
        )
    return len(ready)
