"""The agent: keeps this host as it should be, and answers on its socket."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

from wefted.config import Config
from wefted.engine.automatic import Automatic
from wefted.engine.engine import LocalEngine
from wefted.plugins import DOORS, Door
from wefted.wiring import locked, open_engine

from . import logs, notify
from .api import serving
from .docker import DockerService
from .loops import Loops
from .names import NameService

log = logging.getLogger("wefted.agent")


ONE_SHOT = 3.0
"""Seconds that a start waits for a command that works without an agent at this moment."""

Also = Callable[[LocalEngine], Coroutine[Any, Any, None]]


def serve(config: Config, also: Also | None = None, doors: Mapping[str, Door] | None = None) -> None:
    """Run the agent in the foreground until SIGTERM or SIGINT. Raises what prevents its start.

    `also` is done once the agent answers, and says itself that the service is ready. `doors` are further ones of its socket,
    from rooms above this one.
    """
    logs.configure(config.log_level)
    with locked(config, ONE_SHOT):
        Path(config.runtime_dir).mkdir(parents=True, exist_ok=True, mode=0o755)
        asyncio.run(_serve(config, also, {**DOORS, **(doors or {})}))


async def _serve(config: Config, also: Also | None, doors: Mapping[str, Door]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    engine = await open_engine(config, live=True)
    try:
        docker = DockerService(engine, config.docker, config.docker_socket)
        automatic = Automatic(engine.host, engine.endpoints, config.auto_network)
        loops = Loops(engine, config.interval, NameService(engine, config.dns_address), docker, automatic)
        await docker.prepare()
        await loops.first_pass()
        async with serving(engine, config.socket, doors), docker.serving():
            log.info("ready", extra={"pid": os.getpid(), "node": engine.host.node.name, "store": engine.host.cluster_url})
            gc.collect()
            gc.freeze()  # what the start made stays for good: no need to look at it again and again
            if also is None:
                notify.ready()
            await loops.run_until(stop, also(engine) if also is not None else None)
            notify.stopping()
    finally:
        await engine.close()
    log.info("stopped")
