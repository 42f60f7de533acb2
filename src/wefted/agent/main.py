"""The agent: keeps this host as it should be, and answers on its socket."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
from pathlib import Path

from wefted.config import Config
from wefted.wiring import locked, open_engine

from . import logs, notify
from .api import serving
from .loops import Loops
from .names import NameService

log = logging.getLogger("wefted.agent")


def serve(config: Config) -> None:
    """Run the agent in the foreground until SIGTERM or SIGINT. Raises what prevents its start."""
    logs.configure(config.log_level)
    with locked(config):
        Path(config.runtime_dir).mkdir(parents=True, exist_ok=True, mode=0o755)
        asyncio.run(_serve(config))


async def _serve(config: Config) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    engine = await open_engine(config, live=True)
    try:
        loops = Loops(engine, config.interval, NameService(engine, config.dns_address))
        await loops.first_pass()
        async with serving(engine, config.socket):
            log.info("ready", extra={"pid": os.getpid(), "node": engine.host.node.name, "store": engine.host.cluster_url})
            gc.collect()
            gc.freeze()  # what the start made stays for good: no need to look at it again and again
            notify.ready()
            await loops.run_until(stop)
            notify.stopping()
    finally:
        await engine.close()
    log.info("stopped")
