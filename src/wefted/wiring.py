"""The only place that chooses: which stores, which kernel, which runtimes stand behind the interfaces."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import socket
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeVar

from wefted.config import Config
from wefted.engine import keys
from wefted.engine.engine import LocalEngine
from wefted.engine.host import Host
from wefted.engine.whoami import identity
from wefted.engine.worker import Worker
from wefted.errors import Unreachable, UsageError
from wefted.interfaces import Engine, FrameLink, Kernel, Programs, Runtime, Store
from wefted.ipam.allocator import AddressBook
from wefted.kernel.dockeruser import DockerUser
from wefted.kernel.linux import LinuxKernel
from wefted.model import spec
from wefted.model.node import Node
from wefted.model.objects import IPAddress, IPNetwork, Netns
from wefted.model.records import Put
from wefted.runtime import RUNTIMES
from wefted.runtime.resolvers import docker_resolvers
from wefted.services import udp_relay
from wefted.services.dns.zone import folded, valid
from wefted.store.flannel import FlannelStore
from wefted.store.open import open_store
from wefted.store.sqlite import SqliteStore
from wefted.store.url import parse_store_url

T = TypeVar("T")

SETTINGS = ("store", "advertise", "name", "publish_from")
"""What `up` was told is kept with the host's state, for later commands and boots."""
RELAY = (sys.executable, "-I", "-S", str(Path(udp_relay.__file__)))
"""How the process is started that carries a UDP tunnel where the kernel takes no programs."""
LOCK_WAIT = 10.0
"""Seconds that a one-shot command waits for another one."""


async def open_engine(config: Config, *, live: bool = False) -> LocalEngine:
    """Open this host's engine; the caller holds `locked`. Raises `UsageError` (no privileges, damaged state), `Unsupported`."""
    worker = Worker()
    local = SqliteStore(str(config.database), alone=True)
    try:
        config = await _settled(config, local)
        kernel: Kernel = await worker(
            LinuxKernel,
            runtime_dir=config.runtime_dir,
            relay=RELAY,
            datapath=_datapath(config),
            wireguard_key=config.wireguard_key,
        )
        facts = await worker(kernel.probe, _advertised(config))
        node_id, name = await identity(local, config.name, str(uuid.uuid4()), socket.gethostname())
        node = Node(id=node_id, name=name, underlay=facts.underlay, device=facts.device, mtu=facts.mtu)
        host = Host(
            node=replace(node, publish_from=_publish_from(config), resolvers=docker_resolvers()),
            facts=facts,
            local=local,
            cluster=await open_store(config.store) if config.store else FlannelStore(local, keys.LOCAL_CLUSTER, ()),
            cluster_url=str(parse_store_url(config.store)) if config.store else f"sqlite:{config.database}",
            kernel=kernel,
            worker=worker,
            runtimes=runtimes(),
            book=AddressBook(local),
            shared=bool(config.store),
            live=live,
            domain=_domain(config),
            open_link=_open_link,
            find_key=partial(_public_key, config.wireguard_key),
            make_programs=partial(_programs, config.runtime_dir),
            dhcp_timeout=config.dhcp_timeout,
            docker_user=DockerUser(),
        )
        engine = LocalEngine(host)
        await engine.flannels.load()  # before the cluster is read: these networks are part of it
        await host.load()
    except BaseException:
        worker.close()
        await local.close()
        raise
    return engine


def _open_link(ns: Netns, name: str, source: IPAddress | None) -> FrameLink:
    from wefted.kernel.packet import PacketLink  # only hosts whose endpoints use DHCP need it

    return PacketLink(ns, name, source)


def _public_key(own: Path, file: str) -> str:
    from wefted.kernel.wireguardkey import public_key_of  # only hosts in networks of that backend need it

    return public_key_of(own, file)


def _programs(runtime_dir: str) -> Programs:
    from wefted.kernel.program import Programs  # only hosts whose endpoints use a DHCP client of another need it

    return Programs(Path(runtime_dir, "dhcp"))


def runtimes() -> Mapping[str, Runtime]:
    """Return a runtime of every kind, by its kind."""
    return {kind: make() for kind, make in RUNTIMES.items()}


def keep_settings(config: Config) -> None:
    """Keep what `up` was told, for an agent that somebody else starts (systemd)."""

    async def keep() -> None:
        local = SqliteStore(str(config.database))
        try:
            await _settled(config, local)
        finally:
            await local.close()

    with locked(config, LOCK_WAIT):
        asyncio.run(keep())


def run_once(config: Config, operation: str, parameters: Mapping[str, Any]) -> Any:
    """Do one operation without an agent."""
    return run_with(config, lambda engine: engine.call(operation, parameters))


def run_with(config: Config, work: Callable[[Engine], Awaitable[T]]) -> T:
    """Do something with an engine of this process, without an agent."""
    with locked(config, LOCK_WAIT):
        return asyncio.run(_once(config, work))


async def _once(config: Config, work: Callable[[Engine], Awaitable[T]]) -> T:
    engine = await open_engine(config)
    try:
        return await work(engine)
    finally:
        await engine.close()


@contextmanager
def locked(config: Config, wait: float = 0.0) -> Iterator[None]:
    """Hold this host's lock: one agent, or one one-shot command, at a time. Raises `UsageError`, `Unreachable`."""
    if os.geteuid() != 0:
        raise UsageError("wefted changes the network of this host, so it needs root", "try: sudo wefted ...")
    try:
        Path(config.state_dir).mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(config.lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise UsageError(f"cannot write {config.state_dir}: {error.strerror}", "choose another: WEFTED_STATE_DIR=DIR") from None
    try:
        _wait_for(lambda: _try_lock(descriptor), wait, config)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait_for(condition: Callable[[], bool], wait: float, config: Config) -> None:
    end = time.monotonic() + wait
    while not condition():
        if time.monotonic() >= end:
            raise Unreachable(f"another wefted holds {config.lock}", "if an agent is starting, wait for it: wefted status")
        time.sleep(0.01)


def _datapath(config: Config) -> str:
    if config.datapath not in ("auto", "relay"):
        raise UsageError(f"datapath is {config.datapath!r}, not one of auto, relay", "leave it out, or: WEFTED_DATAPATH=relay")
    return config.datapath


def _domain(config: Config) -> str:
    domain = folded(config.dns_domain)
    if not valid(domain):
        raise UsageError(f"dns_domain {config.dns_domain!r} is no domain", "choose one such as weft.internal")
    return domain


def _publish_from(config: Config) -> tuple[IPNetwork, ...]:
    try:
        return spec.sources(config.publish_from or "all")
    except UsageError as error:
        raise UsageError(f"publish_from: {error.message}", error.hint) from None


def _advertised(config: Config) -> Any:
    if not config.advertise:
        return None
    try:
        return ip_address(config.advertise)
    except ValueError:
        raise UsageError(f"--advertise takes an IP address of this host, not {config.advertise!r}") from None


async def _settled(config: Config, local: Store) -> Config:
    """Fill in what an earlier `up` was told, and keep what this one was: later commands and boots need no flags."""
    found = (await local.read(keys.LOCAL_SETTINGS)).items.get(keys.LOCAL_SETTINGS)
    before = json.loads(found.value) if found is not None and found.value else {}
    known = {key: before.get(key, "") for key in SETTINGS}
    now = {key: getattr(config, key) or value for key, value in known.items()}
    if now != known:
        await _refuse_other_store(known["store"], now["store"], local)
        await local.write([Put(keys.LOCAL_SETTINGS, json.dumps(now).encode())])
    return replace(config, **now)


async def _refuse_other_store(old: str, new: str, local: Store) -> None:
    """Endpoints belong to networks of one cluster; under another one they would lose them."""
    if old != new and (await local.read(keys.LOCAL_ENDPOINTS)).items:
        raise UsageError(
            f"this host has endpoints in the cluster at {old or 'its own store'}; it cannot move to {new} with them",
            "detach them first: wefted network disconnect ..., or start afresh: wefted uninstall",
        )
