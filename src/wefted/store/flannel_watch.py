"""The watches of the places in which a `FlannelStore` finds its records, as one watch."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import Protocol

from wefted.errors import WeftedError
from wefted.interfaces import Store
from wefted.model.records import EPOCH, Item, Snapshot

from .flannel_view import OWNERS, Mount, View

REFUSED = 1.0
"""Seconds until a place that refuses to be watched is asked again: an etcd that was started without its API v2."""

_log = logging.getLogger("wefted.flannel")


class Source(Protocol):
    """What a watch asks of its `FlannelStore`."""

    @property
    def own_place(self) -> tuple[Store, str]:
        """The store, and the prefix in it, of everything that is not flannel's."""
        ...

    def place_of(self, mount: Mount) -> tuple[Store, str]:
        """Return the store that has a network, and the prefix in it."""
        ...

    def view_of(self, mount: Mount) -> View:
        """Return an empty view of a network."""
        ...

    def take(self, view: View, item: Item) -> tuple[Item, ...]:
        """Enter a raw item into a view; return what changes by it."""
        ...

    def passed(self, items: Iterable[Item]) -> dict[str, Item]:
        """Return what is not flannel's, by its key."""
        ...


class Merged:
    """The watches of a `FlannelStore`'s places as one."""

    def __init__(self, store: Source, own: str, mounts: Iterable[Mount]) -> None:
        self._store = store
        self._own_prefix = own
        self._own: dict[str, Item] | None = None
        self._owners: dict[str, Item] = {}
        """Whose the leases are, also those of networks that are joined later."""
        self._views = {mount.place: store.view_of(mount) for mount in mounts}
        self._waiting = {own, *self._views}
        """The places that have not told what there is."""
        self._told: dict[str, int] = {}
        """The revision up to which each place has told; not of those with a clock of their own."""
        self._queue: asyncio.Queue[tuple[str, Snapshot | tuple[Item, ...] | BaseException | None]] = asyncio.Queue()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def add(self, mount: Mount) -> None:
        """Watch one more place; until it has told what is there, nothing is yielded."""
        view = self._views[mount.place] = self._store.view_of(mount)
        for item in self._owners.values():
            self._store.take(view, item)
        self._waiting.add(mount.place)
        self._start(mount.place)

    def drop(self, mount: Mount) -> None:
        """Watch a place no longer; what was there is missing in the Snapshot that follows."""
        self._views.pop(mount.place, None)
        self._waiting.discard(mount.place)
        self._told.pop(mount.place, None)
        task = self._tasks.pop(mount.place, None)
        if task is not None:
            task.cancel()
        self._queue.put_nowait(("", None))

    def view(self, mount: Mount) -> View | None:
        """Return what is known of a network, None before anything is."""
        return self._views.get(mount.place) if mount.place not in self._waiting else None

    def _start(self, place: str) -> None:
        self._tasks[place] = asyncio.create_task(self._follow(place))

    async def run(self, prefix: str) -> AsyncGenerator[Snapshot | tuple[Item, ...], None]:
        """Yield what concerns `prefix`, until the store is closed."""
        for place in self._waiting:
            self._start(place)
        try:
            while self._tasks or not self._queue.empty():
                place, seen = await self._queue.get()
                if isinstance(seen, BaseException):
                    raise seen
                news = self._without(place) if seen is None else self._take(place, seen)
                if isinstance(news, Snapshot):
                    yield Snapshot(news.revision, {key: item for key, item in news.items.items() if key.startswith(prefix)})
                elif kept := tuple(item for item in news if item.key.startswith(prefix)):
                    yield kept
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _follow(self, place: str) -> None:
        try:
            async with aclosing(self._news(place)) as news:
                async for seen in news:
                    self._queue.put_nowait((place, seen))
            self._queue.put_nowait((place, None))
        except Exception as error:
            self._queue.put_nowait((place, error))

    async def _news(self, place: str) -> AsyncGenerator[Snapshot | tuple[Item, ...], None]:
        """Yield what a place tells. A network of which it tells nothing, because it is refused, stays as it is known."""
        view = self._views.get(place)
        root, where = self._store.place_of(view.mount) if view is not None else self._store.own_place
        told = ""
        while True:
            try:
                async with aclosing(root.watch(where)) as news:  # type: ignore[type-var]
                    async for seen in news:
                        yield seen
                return
            except WeftedError as error:
                if view is None or not view.mount.has_own_clock:
                    raise
                if error.message != told:
                    _log.warning("a flannel network is not seen", extra={"network": view.mount.name, "error": error.message})
                told = error.message
            if place in self._waiting:
                yield Snapshot(EPOCH)
            await asyncio.sleep(REFUSED)

    def _without(self, place: str) -> Snapshot | tuple[Item, ...]:
        """Return everything that is left when a place has gone; nothing at the end of the store itself."""
        if self._tasks.pop(place, None) is not None or self._waiting:
            return ()
        return self._everything()

    def _take(self, place: str, seen: Snapshot | tuple[Item, ...]) -> Snapshot | tuple[Item, ...]:
        if place not in self._tasks:
            return ()
        told = seen.revision if isinstance(seen, Snapshot) else max(item.revision for item in seen)
        if told >= 0:  # else the clock is another one: that of the API v2
            self._told[place] = told
        if isinstance(seen, Snapshot):
            self._waiting.discard(place)
            self._begin(place, seen.items.values())
            return () if self._waiting else self._everything()
        changed = tuple(item for raw in seen for item in self._change(place, raw))
        return () if self._waiting else changed

    def _begin(self, place: str, items: Iterable[Item]) -> None:
        """Take what is at one place, whatever was known of it before."""
        if place != self._own_prefix:
            view = self._views[place]
            view.config, view.leases = None, {}
            for item in items:
                self._store.take(view, item)
            return
        self._own, self._owners = {}, {}
        for view in self._views.values():
            view.owners = {}
        for item in items:
            self._change(place, item)

    def _change(self, place: str, raw: Item) -> tuple[Item, ...]:
        if place != self._own_prefix:
            return self._store.take(self._views[place], raw)
        self._note_owner(raw)
        owned = tuple(item for view in self._views.values() for item in self._store.take(view, raw))
        passed = self._store.passed([raw])
        for key, item in passed.items():
            assert self._own is not None
            self._own[key] = item
            if item.value is None:
                del self._own[key]
        return (*owned, *passed.values())

    def _note_owner(self, raw: Item) -> None:
        if not raw.key.startswith(f"{self._own_prefix}{OWNERS}"):
            return
        self._owners[raw.key] = raw
        if raw.value is None:
            del self._owners[raw.key]

    def _everything(self) -> Snapshot:
        """Return what all places have told. It is as old as the place that told last of all: another may know of later writes.

        An older revision than before can also mean another history; whoever watches reads everything anew, and sees which.
        """
        views = (item for view in self._views.values() for item in view.items() if item.value is not None)
        return Snapshot(min(self._told.values(), default=0), {**(self._own or {}), **{item.key: item for item in views}})
