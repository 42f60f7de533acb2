"""`flanneld`: a thin door to our agent. The networks are joined, their files written, and the process stays until SIGTERM.

Where no agent runs, this process is the agent. When it ends, subnets, links and routes stay as they are, and so does the
traffic: the next start finds them again.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wefted import __version__
from wefted.client import RemoteEngine, complete
from wefted.config import Config, load
from wefted.errors import Unreachable, UsageError, WeftedError

from .flanneld_flags import FLAGS, SYSCONFIG, Settings, Unsupported, read
from .goflags import FlagError, usage
from .launched import bring_in_site_packages

if TYPE_CHECKING:
    from wefted.engine.engine import LocalEngine

LOOK = 0.02
"""Seconds between two looks at whether a subnet is there."""


def main(words: Sequence[str], ask: Callable[..., Any] | None = None) -> int:
    """Be flanneld; return its exit code."""
    try:
        settings = read(words, os.environ, _text(SYSCONFIG))
    except Unsupported as error:
        return _say(str(error), 1)
    except FlagError as error:
        return _say(f"{error}\n{usage('flanneld', FLAGS)}".rstrip(), 2)
    if settings["help"]:
        return _say(usage("flanneld", FLAGS).rstrip(), 0)
    if settings["version"]:
        return _say(f"wefted {__version__}, in place of flannel", 0)
    try:
        return _run(settings, load())
    except FlagError as error:
        return _say(str(error), 1)
    except WeftedError as error:
        return _say(str(error), 1)


def _run(settings: Settings, config: Config) -> int:
    if settings["listen"]:
        return _as_server(settings, config)
    remote = RemoteEngine(str(config.socket))
    # Not from within the handler: every later error would have that one as its context.
    return _beside_agent(settings, remote) if _answers(remote) else _as_agent(settings, config)


def _answers(remote: RemoteEngine) -> bool:
    try:
        complete(remote.call("status", {}))
    except Unreachable:
        return False
    return True


# -- where an agent runs ---------------------------------------------------------------------------------------------------


def _beside_agent(settings: Settings, remote: RemoteEngine) -> int:
    """Join, write the files by way of the agent, and wait for SIGTERM."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    for operation, parameters in settings.calls:
        complete(remote.call(operation, parameters))
    ready = threading.Event()
    with _health(settings, ready.is_set):
        told = ""
        while not stop.is_set() and not ready.is_set():
            missing = _missing(settings, complete(remote.call("flannel.list", {})))
            if not missing:
                _ready()
                ready.set()
            elif missing != told:
                told = missing
                _say(missing, 0)
            stop.wait(LOOK)
        stop.wait()
    return 0


def _missing(settings: Settings, rows: Sequence[Mapping[str, Any]]) -> str:
    """Return why one of our networks has no subnet, or ""."""
    names = {join["name"] for join in settings.joins}
    return next((f"{row['name']}: {row['error']}" for row in rows if row["name"] in names and row["error"]), "")


# -- where none runs --------------------------------------------------------------------------------------------------------


def _as_agent(settings: Settings, config: Config) -> int:
    """Be the agent, with these networks joined, until SIGTERM."""
    bring_in_site_packages()
    from wefted.agent.main import serve
    from wefted.kernel.hostaddresses import addresses, towards

    from .doors import ANSWERS
    from .flanneld_interface import advertised

    interface = advertised(settings, addresses(), towards)
    ready = threading.Event()

    async def join_all(engine: LocalEngine) -> None:
        if not engine.host.node.underlay and not settings["public-ip"]:
            raise UsageError("Failed to find any valid interface to use: no default route", "choose one: -iface=eth0")
        for operation, parameters in settings.calls:
            await engine.call(operation, parameters)
        while _missing(settings, await engine.call("flannel.list", {})):
            await asyncio.sleep(LOOK)
        ready.set()
        _ready()

    with _health(settings, ready.is_set):
        store = config.store if settings["remote"] else settings.store
        serve(replace(config, store=store, advertise=interface or config.advertise), also=join_all, doors=ANSWERS)
    return 0


# -- for hosts without etcd -------------------------------------------------------------------------------------------------


def _as_server(settings: Settings, config: Config) -> int:
    """Lend the networks of etcd to hosts that are not in it, until SIGTERM; this host joins none, as with flannel."""
    bring_in_site_packages()
    from wefted.agent.flannel_listen import Listening, serve_networks

    files = {key: settings[f"remote-{key}file"] for key in ("ca", "cert", "key")}
    where = Listening(settings["listen"], settings.store, settings["etcd-prefix"], settings["etcd-api"], **files)
    listening = threading.Event()

    def ready() -> None:
        listening.set()
        _ready()

    with _health(settings, listening.is_set):
        serve_networks(config, where, ready)
    return 0


def _ready() -> None:
    from wefted.agent import notify

    notify.ready()


def _health(settings: Settings, ready: Callable[[], bool]) -> Any:
    from .flanneld_health import serving

    return serving(settings["healthz-ip"], settings["healthz-port"], ready)


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _say(text: str, code: int) -> int:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n" if code == 0 and text.count("\n") == 0 else f"{text}\n")
    return code
