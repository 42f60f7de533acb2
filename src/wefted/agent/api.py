"""The agent's HTTP API on its unix socket: decode, call the engine, encode.

POST /v1/OPERATION takes and returns JSON; GET /v1/openapi.json describes all of it; GET /v1/status is for people with curl.
POST /v1/DOOR is for programs that hand on what they were given (`wefted.plugins`, and what the caller adds to them).
An error is `{"error": {"kind", "message", "hint", "exit_code"}}`: 400 a wrong request, 503 the store is away, 500 the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import uuid
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from wefted.engine.operations import OPERATIONS
from wefted.errors import NotFound, Unreachable, UsageError, WeftedError
from wefted.interfaces import Engine
from wefted.model import codec
from wefted.plugins import DOORS, Call, Door

from .http import Connection, Request, Response
from .openapi import document

log = logging.getLogger("wefted.api")

PREFIX = "/v1/"
DESCRIPTION = "/v1/openapi.json"
PATIENCE = 5.0
"""Seconds that requests which have begun may take to end when the agent stops."""


class Api:
    """Answers requests with an engine."""

    def __init__(self, engine: Engine, doors: Mapping[str, Door] = DOORS) -> None:
        self._engine = engine
        self._doors = doors
        self.running: set[asyncio.Task[None]] = set()

    def connection(self) -> Connection:
        """Return a protocol for a new client."""
        return Connection(self.answer, _malformed, self.running)

    async def answer(self, request: Request) -> Response:
        """Turn a request into an answer, and errors too; what nobody foresaw is logged with a number that the answer names."""
        try:
            return _json(200, await self._perform(request))
        except WeftedError as error:
            return _error(error, _status(error))
        except Exception:
            number = uuid.uuid4().hex[:8]
            log.exception("defect", extra={"request": f"{request.method} {request.path}", "number": number})
            return _error(WeftedError(f"a defect in wefted, number {number}", "its log has the details"), 500)

    async def _perform(self, request: Request) -> Any:
        operation = request.path.removeprefix(PREFIX)
        if request.method == "GET" and request.path == DESCRIPTION:
            return document(self._doors)
        if not request.path.startswith(PREFIX) or (operation not in OPERATIONS and operation not in self._doors):
            raise NotFound(f"there is nothing at {request.path[:200]!r}", f"see GET {DESCRIPTION}")
        if request.method == "GET" and operation == "status":
            return await self._engine.call(operation, {})
        if request.method != "POST":
            raise UsageError(f"{operation} is asked for with POST, not {request.method}", f"see GET {DESCRIPTION}")
        if operation in self._doors:
            call = codec.decode(Call, _parameters(request.body))
            return (await self._doors[operation](self._engine, call)).to_json()
        return await self._engine.call(operation, _parameters(request.body))


@contextlib.asynccontextmanager
async def serving(engine: Engine, path: Path, doors: Mapping[str, Door] = DOORS) -> AsyncIterator[None]:
    """Answer on a unix socket that only root may use, as long as the context lasts."""
    api = Api(engine, doors)
    _remove(path)
    mask = os.umask(0o177)
    try:
        server = await asyncio.get_running_loop().create_unix_server(api.connection, str(path), backlog=1024)
    finally:
        os.umask(mask)
    try:
        yield
    finally:
        server.close()
        _remove(path)
        if api.running:
            await asyncio.wait(api.running, timeout=PATIENCE)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _parameters(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body or b"{}")
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise UsageError("the body must be a JSON object")
    return value


def _status(error: WeftedError) -> int:
    if isinstance(error, NotFound):
        return 404
    if isinstance(error, UsageError):
        return 400
    return 503 if isinstance(error, Unreachable) else 500


def _malformed(status: int, reason: str) -> Response:
    return _error(UsageError(reason, f"see GET {DESCRIPTION}"), status)


def _error(error: WeftedError, status: int) -> Response:
    body = {"kind": type(error).__name__, "message": error.message, "hint": error.hint, "exit_code": error.exit_code}
    return _json(status, {"error": body})


def _json(status: int, value: Any) -> Response:
    return Response(status, json.dumps(value).encode())
