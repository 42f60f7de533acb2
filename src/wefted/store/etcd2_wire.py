"""What goes over the wire to etcd's API v2, and how its answers read. Pure.

The requests are those of https://etcd.io/docs/v2.3/api/: keys are paths, values are text, and each change of the key space has
an index. What an answer is wrong with stands in `errorCode`: https://etcd.io/docs/v2.3/errorcode/.

Indices and the revisions of the API v3 in one etcd are two clocks, so the items of the API v2 have revisions from `EPOCH` on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import Any
from urllib.parse import quote

from wefted.errors import UsageError, WeftedError
from wefted.model.records import EPOCH, Delete, Item, Put

from .etcd_errors import Compacted, MemberFailed

Json = Mapping[str, Any]

INDEX = "X-Etcd-Index"
"""The header with the index of the whole key space at the time of the answer, or of the beginning of a watch."""

MISSING, DIFFERENT, THERE = 100, 101, 105
"""There is no such key; it has another index than was expected; it exists already."""
_CLEARED = 401
_UNAUTHORIZED = 110
_TRANSIENT = frozenset({300, 301, 400})
"""The members have no leader, or ended a watch."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request: `form` is what a PUT writes, `query` everything else."""

    method: str
    key: str
    query: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """Return path and query, encoded."""
        words = "&".join(f"{name}={quote(value, safe='')}" for name, value in self.query.items())
        return f"/v2/keys/{quote(self.key.strip('/'))}{'?' if words else ''}{words}"


class KeysError(Exception):
    """etcd understood, and said no; `index` is that of the key space."""

    def __init__(self, code: int, message: str, index: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.index = index


class NotServed(Exception):
    """This etcd has no key space of the API v2: 3.4 and 3.5 only serve it when told so, later ones not at all."""


def read(prefix: str) -> Request:
    """Return the request for everything under a prefix, as a quorum of members knows it."""
    return Request("GET", prefix, {"recursive": "true", "quorum": "true"})


def look(key: str) -> Request:
    """Return the request for one key that only a member with a quorum can answer."""
    return Request("GET", key, {"quorum": "true"})


def wait(prefix: str, index: int) -> Request:
    """Return the request that is answered with the first change under a prefix at `index` or later."""
    return Request("GET", prefix, {"wait": "true", "recursive": "true", "waitIndex": str(index)})


def change(op: Put | Delete) -> Request:
    """Return the request for one change, done only if the key is as expected."""
    if isinstance(op, Delete):
        return Request("DELETE", op.key, _expected(op))
    form = {"value": op.value.decode()}
    return Request("PUT", op.key, _expected(op), form if op.ttl is None else {**form, "ttl": str(ceil(op.ttl))})


def _expected(op: Put | Delete) -> dict[str, str]:
    match op.expect:
        case None:
            return {}
        case 0:
            return {"prevExist": "false"}
        case revision:
            return {"prevIndex": str(revision - EPOCH)}


def revision(index: int) -> int:
    """Return the revision that stands for an index."""
    return EPOCH + index


def items(node: Json) -> Iterator[Item]:
    """Yield the keys of an answer, those of every directory in it as well."""
    if not node.get("dir"):
        yield item(node)
    for inner in node.get("nodes") or ():
        yield from items(inner)


def item(node: Json, deleted: bool = False) -> Item:
    """Return one key. It expires if it has a time to live."""
    value = None if deleted else str(node.get("value", "")).encode()
    changed = revision(int(node["modifiedIndex"]))
    return Item(str(node["key"]), value, changed, "ttl" in node, int(node["createdIndex"]))


def event(body: Json) -> Item:
    """Return the change that a watch tells. Raises `Compacted` for that of a directory: what was in it is not told."""
    node = body["node"]
    if node.get("dir"):
        raise Compacted(f"{body['action']} of the directory {node['key']}")
    return item(node, body["action"] in ("delete", "expire", "compareAndDelete"))


def decode(status: int, data: bytes) -> Json:
    """Return the body of an answer. Raises `KeysError`, `NotServed`, `Compacted`, `MemberFailed`."""
    try:
        body = json.loads(data)
    except ValueError:
        body = None
    if not isinstance(body, Mapping):
        raise NotServed if status == 404 else MemberFailed(f"HTTP {status}, which is not etcd's API v2")
    if status in (200, 201) and "node" in body:
        return body
    code, message = int(body.get("errorCode", 0)), str(body.get("message") or f"HTTP {status}")
    if code == _CLEARED:
        raise Compacted(message)
    if status == 401:
        raise KeysError(_UNAUTHORIZED, message)
    if not code or code in _TRANSIENT:
        raise MemberFailed(message)
    cause = str(body.get("cause", ""))
    raise KeysError(code, f"{message} ({cause})" if cause else message, int(body.get("index", 0)))


def explain(refused: KeysError | NotServed, url: str) -> WeftedError:
    """Return what the user must know when etcd refuses a request for good."""
    if isinstance(refused, NotServed):
        return UsageError(f"etcd at {url} does not serve the API v2", "start etcd with --enable-v2 (up to etcd 3.5)")
    if refused.code == _UNAUTHORIZED:
        hint = "users of the API v2 are others than those of v3: ETCDCTL_API=2 etcdctl user list"
        return UsageError(f"etcd at {url}, API v2: {refused.message}", hint)
    return WeftedError(f"etcd at {url}, API v2, refuses: {refused.message}")
