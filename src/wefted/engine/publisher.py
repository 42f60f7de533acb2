"""Tells the cluster of this node and its endpoints, after they are attached, and again after every cut."""

from __future__ import annotations

import asyncio
import logging

from wefted.errors import Conflict, Unreachable
from wefted.model import codec
from wefted.model.records import Delete, Op, Put

from . import keys
from .host import Host

log = logging.getLogger("wefted.publisher")

CHUNK = 100
GATHER = 0.05
"""Seconds in which further changes are gathered: a hundred attaches in a row are then a few writes, not a hundred."""
RETRY = 0.3
"""Seconds between two tries while the store is away."""


class Publisher:
    """Brings the published records of one node in line with its own."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def run(self) -> None:
        """Publish whenever something changed; never gives up."""
        host = self._host
        self.everything()
        host.published.set()
        while True:
            await host.published.wait()
            await asyncio.sleep(GATHER)
            try:
                await self.flush()
            except (Unreachable, Conflict) as error:
                host.store_error = error.message
                await asyncio.sleep(RETRY)

    def everything(self) -> None:
        """Mark all of our records, and all that the cluster still has in our name, to be compared."""
        host = self._host
        prefix = f"{keys.ENDPOINTS}{host.node.id}/"
        host.announce(host.endpoints)
        host.announce(key.removeprefix(prefix) for key in host.view.endpoints if key.startswith(prefix))

    async def flush(self) -> None:
        """Publish what is marked. Raises `Unreachable`; what was not written stays marked."""
        host = self._host
        await self._node()
        while host.unpublished:
            batch = sorted(host.unpublished)[:CHUNK]
            ops = [op for op in map(self._op, batch) if op is not None]
            host.unpublished.difference_update(batch)
            try:
                if ops:
                    await host.commit(ops)
            except BaseException:
                host.unpublished.update(batch)
                raise
        host.published.clear()

    async def _node(self) -> None:
        host = self._host
        if host.view.nodes.get(host.node.id) != host.node:
            await host.commit([Put(keys.node(host.node.id), codec.dumps(host.node))])

    def _op(self, identifier: str) -> Op | None:
        """Return the write that is still missing for one endpoint."""
        host = self._host
        key = keys.published(host.node.id, identifier)
        mine, theirs = host.endpoints.get(identifier), host.view.endpoints.get(key)
        if mine is None:
            return Delete(key) if theirs is not None else None
        return Put(key, codec.dumps(mine)) if mine != theirs else None
