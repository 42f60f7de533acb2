"""The one thread in which the kernel is used.

A thread and a queue, not an executor: the executor makes two futures and a chain between them for each call, and an attach
waits for all of it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_Job = tuple["asyncio.Future[Any]", Callable[[], Any]]


class Worker:
    """Run blocking calls one after the other in a thread of their own: `await worker(function, ...)`."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="wefted-kernel", daemon=True)
        self._thread.start()

    async def __call__(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what the call returns, or raise what it raises; one that has begun ends even if nobody waits any more."""
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._jobs.put((answer, partial(function, *args, **kwargs)))
        return await answer

    def close(self) -> None:
        """Finish what was asked for, then end the thread."""
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        for answer, call in iter(self._jobs.get, None):
            try:
                result = call()
            except BaseException as error:
                answer.get_loop().call_soon_threadsafe(_fail, answer, error)
            else:
                answer.get_loop().call_soon_threadsafe(_settle, answer, result)


def _settle(answer: asyncio.Future[Any], result: object) -> None:
    if not answer.done():
        answer.set_result(result)


def _fail(answer: asyncio.Future[Any], error: BaseException) -> None:
    if not answer.done():
        answer.set_exception(error)
