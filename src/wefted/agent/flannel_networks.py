"""The networks that a flannel server has: their leases, and the news of them, from whichever API of etcd has each."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import aclosing
from typing import Any

from wefted.engine.flannel_lending import Lending
from wefted.engine.flannel_news import News
from wefted.errors import NotFound, Unreachable, WeftedError
from wefted.model import flannel_lease
from wefted.model.flannel_wire import UNNAMED, Lent
from wefted.model.records import Item
from wefted.store.flannel import FlannelStore, Mount
from wefted.store.flannel_records import Records

log = logging.getLogger("wefted.flannel")

PATIENCE = 5.0
"""Seconds until a request that must know what there is gives up."""
RETRY = 1.0
AT_ONCE = 50
"""How many leases are asked for their end at the same time."""


class LentNetwork:
    """One network. What is told of a lease is remembered by its revision, so that its end is asked for once."""

    def __init__(self, records: Records) -> None:
        self.records = records
        self.lending = Lending(records)
        self.news: News[Lent] = News(self._lent)
        self._told: dict[str, tuple[int, Lent]] = {}
        self._places = asyncio.Semaphore(AT_ONCE)

    async def follow(self) -> None:
        """Follow the leases until cancelled."""
        await self.news.run(self.records.watch())

    def key(self, name: str) -> str:
        """Return the whole key of a lease."""
        return f"{self.records.prefix}subnets/{name}"

    async def _lent(self, item: Item) -> Lent | None:
        known = self._told.get(item.key)
        if known is not None and known[0] == item.revision:
            return known[1]
        name = item.key.rpartition("/")[2]
        lease = flannel_lease.decode(name, item.value or b"")
        if lease is None or lease.subnet6 is not None or lease.public is None:
            return None
        # One that has gone meanwhile has no end any more; the next moment tells that.
        lent = Lent(lease, (await self.ends(name) or time.time()) if item.expires else None)
        self._told[item.key] = item.revision, lent
        return lent

    async def ends(self, name: str) -> float | None:
        """Return when the lease of this key ends, in seconds since 1970, None for a reservation. Raises `Unreachable`."""
        async with self._places:
            left = await self.records.seconds_left(name)
        return None if left is None else time.time() + left


class LentNetworks:
    """All networks below a prefix of etcd's, each opened when it is first asked for, and the list of them."""

    def __init__(self, store: FlannelStore, prefix: str, api: str) -> None:
        self._store = store
        self._prefix = f"/{prefix.strip('/')}/"
        self._api = api
        self._open: dict[str, tuple[str, LentNetwork]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._opening = asyncio.Lock()
        self._names: dict[str, frozenset[str]] = {}
        """By the API of etcd in which they are."""
        self.news: News[str] = News(_name_of)

    async def network(self, name: str) -> LentNetwork:
        """Return a network by its name in the API. Raises `NotFound` and `UsageError` for one that cannot be lent."""
        async with self._opening:
            api, found = self._open.get(name) or ("", self._new(name))
            try:
                await found.lending.config()
            except NotFound:  # one whose configuration was deleted has leases still, which are given back
                if name not in self._open:
                    raise
            if found.records.api != api:
                self._open[name] = found.records.api, found
                self._start(name, found.follow)
        return found

    async def known(self, news: News[Any]) -> None:
        """Wait until it is known what there is. Raises `Unreachable`."""
        try:
            async with asyncio.timeout(PATIENCE):
                await news.known.wait()
        except TimeoutError:
            raise Unreachable("etcd does not answer", "check that its members run: etcdctl endpoint health") from None

    def follow_names(self) -> None:
        """Follow the list of networks, from when it is first asked for."""
        if "" not in self._tasks:
            self._start("", self._follow_names)

    async def close(self) -> None:
        """End everything that follows etcd."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _new(self, name: str) -> LentNetwork:
        prefix = self._prefix if name == UNNAMED else f"{self._prefix}{name}/"
        mount = Mount(_here(name), prefix, is_v2=self._api == "2", auto=self._api == "auto")
        return LentNetwork(Records(self._store.beside(mount), mount.name))

    def _start(self, name: str, follow: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if name in self._tasks:
            self._tasks[name].cancel()
        self._tasks[name] = asyncio.create_task(_for_ever(name, follow))

    async def _follow_names(self) -> None:
        apis = ("3", "2") if self._api == "auto" and await self._store.serves_v2() else (self._api.replace("auto", "3"),)
        self._names = {}
        async with asyncio.TaskGroup() as group:
            for api in apis:
                group.create_task(self._follow_api(api, len(apis)))

    async def _follow_api(self, api: str, count: int) -> None:
        async with aclosing(self._store.names(self._prefix, api)) as news:
            async for there, gone in news:
                self._names[api] = (self._names.get(api, frozenset()) - gone) | there
                if len(self._names) == count:
                    await self.news.learn(_items(frozenset().union(*self._names.values())))


async def _for_ever(name: str, follow: Callable[[], Coroutine[Any, Any, None]]) -> None:
    told = ""
    while True:
        try:
            await follow()
        except* WeftedError as group:
            error = next(_leaves(group))
            if error.message != told:
                log.warning("a network is not seen", extra={"network": name, "error": error.message})
            told = error.message
        await asyncio.sleep(RETRY)


def _leaves(group: BaseExceptionGroup[WeftedError]) -> Iterator[WeftedError]:
    for each in group.exceptions:
        if isinstance(each, WeftedError):
            yield each
        else:
            yield from _leaves(each)


def _here(name: str) -> str:
    """Return what hosts call a network that they join without saying how."""
    return "flannel" if name == UNNAMED else name


def _items(names: Iterable[str]) -> dict[str, Item]:
    return {name: Item(name, b"", 0) for name in names}


async def _name_of(item: Item) -> str:
    return item.key
