"""The key space of etcd's API v2 over HTTP, in this process: a fake that passes `keys_contract` as the real one does.

It knows what flannel needs: keys in directories, times to live, comparing writes, waiting for changes, a limited history.
"""

from __future__ import annotations

import asyncio
import json
import time
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self

from aiohttp import web

from wefted.store.etcd2_wire import DIFFERENT, INDEX, MISSING, THERE

HISTORY = 1000
_NOT_A_FILE, _NOT_A_DIRECTORY, _CLEARED = 102, 104, 401
_STATUS = {MISSING: 404, DIFFERENT: 412, THERE: 412, _NOT_A_FILE: 403}
_WORDS = {
    MISSING: "Key not found", DIFFERENT: "Compare failed", THERE: "Key already exists", _NOT_A_FILE: "Not a file",
    _NOT_A_DIRECTORY: "Not a directory", _CLEARED: "The event in requested index is outdated and cleared",
}  # fmt: skip


@dataclass
class Key:
    """A key that has a value."""

    value: str
    created: int
    modified: int
    end: float | None = None


class _Failed(Exception):
    def __init__(self, code: int, cause: str) -> None:
        super().__init__(cause)
        self.code = code
        self.cause = cause


class FakeKeys:
    """Serves on a free port of the loopback address, inside `async with`; `clock` returns seconds.

    `user` and `password` are demanded where given; `enabled` off makes it an etcd without this API.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, user: str = "", password: str = "") -> None:
        self.url = ""
        self.enabled = True
        self.index = 3
        """A real one counts its own members' records first."""
        self._clock = clock
        self._login = b64encode(f"{user}:{password}".encode()).decode() if user else ""
        self._keys: dict[str, Key] = {}
        self._history: deque[dict[str, Any]] = deque(maxlen=HISTORY)
        self._news = asyncio.Event()
        self._waiting: set[asyncio.Transport] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/v2/keys{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = "http://127.0.0.1:{1}".format(*self._runner.addresses[0])
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await self._runner.cleanup()

    def wipe(self) -> None:
        """Lose all data, as an etcd that is started again on an empty directory: whoever waits is cut off."""
        for waiting in self._waiting:
            waiting.close()
        self._keys.clear()
        self._history.clear()
        self.index = 3

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if not self.enabled:
            return web.Response(status=404, text="404 page not found\n")
        if self._login and request.headers.get("Authorization") != f"Basic {self._login}":
            return web.json_response({"message": "Insufficient credentials"}, status=401)
        self._expire()
        key = "/" + request.match_info["path"].strip("/")
        try:
            if request.method == "GET" and request.query.get("wait") == "true":
                return await self._wait(request, key)
            body = self._get(key) if request.method == "GET" else self._change(request, key, dict(await request.post()))
        except _Failed as failed:
            answer = {"errorCode": failed.code, "message": _WORDS[failed.code], "cause": failed.cause, "index": self.index}
            return web.json_response(answer, status=_STATUS.get(failed.code, 400), headers=self._headers())
        return web.json_response(body, status=201 if body["action"] in ("create", "set") else 200, headers=self._headers())

    def _headers(self) -> dict[str, str]:
        return {INDEX: str(self.index)}

    # -- reading -----------------------------------------------------------------------------------------------------

    def _get(self, key: str) -> dict[str, Any]:
        if key in self._keys:
            return {"action": "get", "node": self._node(key)}
        below = list(self._below(key))
        if not below and key != "/":
            raise _Failed(MISSING, key)
        return {"action": "get", "node": {"key": key, "dir": True, "nodes": [self._node(name) for name in below]}}

    def _below(self, key: str) -> Iterator[str]:
        return (name for name in sorted(self._keys) if name.startswith(key.rstrip("/") + "/"))

    def _node(self, key: str) -> dict[str, Any]:
        found = self._keys[key]
        node: dict[str, Any] = {
            "key": key, "value": found.value, "modifiedIndex": found.modified, "createdIndex": found.created
        }  # fmt: skip
        if found.end is not None:
            node["ttl"] = int(found.end - self._clock()) + 1
        return node

    async def _wait(self, request: web.Request, key: str) -> web.StreamResponse:
        start = int(request.query.get("waitIndex") or self.index + 1)
        if start <= self.index - len(self._history) and self._history.maxlen == len(self._history):
            raise _Failed(_CLEARED, f"the requested history has been cleared [{self.index}/{start}]")
        response = web.StreamResponse(headers={"Content-Type": "application/json", **self._headers()})
        await response.prepare(request)
        assert request.transport is not None
        self._waiting.add(request.transport)
        while (event := self._first(key, start)) is None:
            self._news.clear()
            await self._news.wait()
        self._waiting.discard(request.transport)
        await response.write(json.dumps(event).encode())
        return response

    def _first(self, key: str, start: int) -> dict[str, Any] | None:
        for event in self._history:
            changed = event["node"]["key"]
            inside = changed == key or changed.startswith(key.rstrip("/") + "/")
            above = event["node"].get("dir") and key.startswith(changed + "/")
            if event["node"]["modifiedIndex"] >= start and (inside or above):
                return event
        return None

    # -- changing ----------------------------------------------------------------------------------------------------

    def _change(self, request: web.Request, key: str, form: dict[str, Any]) -> dict[str, Any]:
        known = self._keys.get(key)
        index = request.query.get("prevIndex", "")
        if index and known is None:
            raise _Failed(MISSING, key)
        if index and known is not None and int(index) != known.modified:
            raise _Failed(DIFFERENT, f"[{index} != {known.modified}]")
        if request.method == "DELETE":
            return self._delete(key, "compareAndDelete" if index else "delete", request.query.get("recursive") == "true")
        if request.query.get("prevExist") == "false" and known is not None:
            raise _Failed(THERE, key)
        if next(self._below(key), ""):
            raise _Failed(_NOT_A_FILE, key)
        parents = ["/".join(key.split("/")[:depth]) for depth in range(2, key.count("/") + 1)]
        if above := next((name for name in parents if name in self._keys), ""):
            raise _Failed(_NOT_A_DIRECTORY, above)
        return self._put(key, form, "compareAndSwap" if index else "create" if "prevExist" in request.query else "set")

    def _put(self, key: str, form: dict[str, Any], action: str) -> dict[str, Any]:
        self.index += 1
        created = self._keys[key].created if action == "compareAndSwap" else self.index
        end = self._clock() + float(form["ttl"]) if form.get("ttl") else None
        self._keys[key] = Key(str(form.get("value", "")), created, self.index, end)
        self._arm()
        return self._tell({"action": action, "node": self._node(key)})

    def _delete(self, key: str, action: str, recursive: bool = False) -> dict[str, Any]:
        below = list(self._below(key))
        if key not in self._keys and not below:
            raise _Failed(MISSING, key)
        if below and not recursive:
            raise _Failed(_NOT_A_FILE, key)
        self.index += 1
        node: dict[str, Any] = {"key": key, "modifiedIndex": self.index, "createdIndex": 0, **({"dir": True} if below else {})}
        for name in (key, *below):
            gone = self._keys.pop(name, None)
            node["createdIndex"] = gone.created if gone is not None and name == key else node["createdIndex"]
        return self._tell({"action": action, "node": node})

    def _tell(self, event: dict[str, Any]) -> dict[str, Any]:
        self._history.append(event)
        self._news.set()
        return event

    def _expire(self) -> None:
        now = self._clock()
        for name in [name for name, key in self._keys.items() if key.end is not None and key.end <= now]:
            self._delete(name, "expire")
        self._arm()

    def _arm(self) -> None:
        """Look again when the next key ends."""
        if self._timer is not None:
            self._timer.cancel()
        ends = [key.end for key in self._keys.values() if key.end is not None]
        self._timer = asyncio.get_running_loop().call_later(max(0.0, min(ends) - self._clock()), self._expire) if ends else None
