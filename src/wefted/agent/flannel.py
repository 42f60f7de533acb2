"""Keeps the subnets in flannel's networks, and writes what others read of them: `subnet.env`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from pathlib import Path

from wefted.engine.flannels import Flannels, Joined
from wefted.engine.operations import FlannelWatch
from wefted.errors import WeftedError
from wefted.model import flannel_docker, flannel_lease
from wefted.model.objects import IPNetwork

log = logging.getLogger("wefted.flannel")

RETRY = 1.0
"""Seconds until a subnet is asked for again: no configuration yet, no etcd, none free."""


class FlannelService:
    """One task of the agent, with one more for each network that is joined."""

    def __init__(self, flannels: Flannels) -> None:
        self._flannels = flannels
        self._tasks: dict[str, tuple[Joined, asyncio.Task[None]]] = {}
        self._told: dict[str, str] = {}
        self._watches: dict[FlannelWatch, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Follow what is joined and left, until cancelled."""
        try:
            while True:
                self._flannels.changed.clear()
                self._follow()
                await self._flannels.changed.wait()
        finally:
            tasks = [*(task for _, task in self._tasks.values()), *self._watches.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _follow(self) -> None:
        joined = self._flannels.joined
        for name, (known, task) in list(self._tasks.items()):
            if joined.get(name) is not known:
                task.cancel()
                del self._tasks[name]
            if name not in joined:
                path = Path(known.request.subnet_file)
                path.unlink(missing_ok=True)
                if _is_ours(options_path(path)):
                    options_path(path).unlink(missing_ok=True)
        for name in joined:
            if name not in self._tasks:
                self._tasks[name] = joined[name], asyncio.create_task(self._keep(joined[name]))
        wanted = set(self._flannels.watches.values())
        for watch in set(self._watches) - wanted:
            self._watches.pop(watch).cancel()
        for watch in wanted - set(self._watches):
            self._watches[watch] = asyncio.create_task(self._watch(watch))

    async def _watch(self, watch: FlannelWatch) -> None:
        """Join what comes under a prefix, for ever."""
        told = ""
        while True:
            try:
                await self._flannels.follow(watch)
            except WeftedError as error:
                if error.message != told:
                    log.warning("networks not seen", extra={"prefix": watch.prefix, "error": error.message})
                told = error.message
            await asyncio.sleep(RETRY)

    async def _keep(self, joined: Joined) -> None:
        """Hold one subnet. Errors are told in `wefted flannel ls`, and it goes on."""
        path = Path(joined.request.subnet_file)
        joined.keeper.before = _before(path)
        while True:
            joined.woken.clear()
            try:
                lease = await self._flannels.renew(joined)
                text = self._flannels.subnet_env(joined)
                write(path, text)
                write_options(path, text)
                joined.ready.set()
                self._warn(joined, self._flannels.trouble(joined))
                log.info("subnet", extra={"network": joined.request.name, "subnet": flannel_lease.key(lease)})
                pause = flannel_lease.TTL - joined.request.renew_margin
            except (WeftedError, OSError) as error:
                joined.error = error.message if isinstance(error, WeftedError) else str(error)
                self._warn(joined, joined.error)
                pause = RETRY
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(joined.woken.wait(), pause)

    def _warn(self, joined: Joined, trouble: str) -> None:
        """Log what is wrong with a network, once."""
        if trouble and self._told.get(joined.request.name) != trouble:
            log.warning("trouble with a flannel network", extra={"network": joined.request.name, "error": trouble})
        self._told[joined.request.name] = trouble


def write(path: Path, text: str) -> None:
    """Replace a file in one step, readable for everybody, as flannel does; nothing happens when it says so already."""
    with contextlib.suppress(OSError):
        if path.read_text() == text:
            return
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(text)
    fresh.chmod(0o644)
    fresh.replace(path)


def options_path(path: Path) -> Path:
    """Return where the options of Docker's daemon stand beside an environment file: /run/flannel/docker."""
    return path.with_name("docker") if path.name == "subnet.env" else path.with_suffix(".docker")


def write_options(path: Path, text: str) -> None:
    """Write what mk-docker-opts.sh would, unless somebody has called that with words of his own."""
    environment = dict(line.split("=", 1) for line in text.splitlines())
    target = options_path(path)
    if _is_ours(target):
        write(target, flannel_docker.lines(flannel_docker.variables(environment), flannel_docker.KEY))


def _is_ours(path: Path) -> bool:
    """Tell whether a file of options is as we write it, or missing."""
    try:
        names = {line.partition("=")[0] for line in path.read_text().splitlines()}
    except OSError:
        return True
    return all(name == flannel_docker.KEY or name.startswith("DOCKER_OPT_") for name in names)


def _before(path: Path) -> tuple[IPNetwork, ...]:
    try:
        return flannel_lease.previous_subnets(path.read_text())
    except OSError:
        return ()
