"""Classics that are done by the agent: a small program hands on its words, and prints what comes back.

Which ways lead here, and why, is said in "Classic commands" in docs/adr.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from wefted.interfaces import Engine
from wefted.plugins import Answer, Call, Door

from . import pipework

ELSEWHERE = Answer(exit_code=-1)
"""The program has to do it by itself: `plugins/native/wefted-classic.c`."""


async def answer_pipework(engine: Engine, call: Call) -> Answer:
    """Do what the words say, in a thread: `pipework` is straight code that reads files of the kernel's."""
    words = [word.decode(errors="replace") for word in call.bytes.split(b"\0")[:-1]]
    if pipework.needs_this_process(words):
        return ELSEWHERE
    loop = asyncio.get_running_loop()

    def ask(operation: str, parameters: dict[str, Any], wanted: bool = True) -> Any:
        return asyncio.run_coroutine_threadsafe(engine.call(operation, parameters), loop).result()

    code, out, error = await asyncio.to_thread(pipework.outcome, words, ask)
    return Answer(exit_code=code, output=[_bytes(out), _bytes(error)])


def _bytes(text: str) -> str:
    """Return a character for each byte, as the program takes it."""
    return text.encode().decode("latin-1")


ANSWERS: Mapping[str, Door] = {"pipework": answer_pipework}
"""By the name of the classic: those of `wefted.compat.DOORS`."""
