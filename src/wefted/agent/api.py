"""The agent's HTTP API on its unix socket: decode, call the engine, encode.

POST /v1/OPERATION takes and returns JSON; GET /v1/openapi.json describes all of it; GET /v1/status is for people with curl.
An error is `{"error": {"kind", "message", "hint", "exit_code"}}`: 400 a wrong request, 503 the store is away, 500 the rest.
"""

from __future__ import annotations

import contextlib
import logging
import os
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from aiohttp import web

from wefted.engine.operations import OPERATIONS
from wefted.errors import NotFound, Unreachable, UsageError, WeftedError
from wefted.interfaces import Engine

from .openapi import document

log = logging.getLogger("wefted.api")

LARGEST = 16 * 1024 * 1024
"""Bytes of a request's body."""


@contextlib.asynccontextmanager
async def serving(engine: Engine, path: Path) -> AsyncIterator[None]:
    """Answer on a unix socket that only root may use, as long as the context lasts."""
    runner = web.AppRunner(application(engine), access_log=None, handle_signals=False)
    await runner.setup()
    _remove(path)
    mask = os.umask(0o177)
    try:
        await web.UnixSite(runner, str(path)).start()
    finally:
        os.umask(mask)
    try:
        yield
    finally:
        await runner.cleanup()
        _remove(path)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def application(engine: Engine) -> web.Application:
    """Return the API as an aiohttp application."""
    app = web.Application(client_max_size=LARGEST, middlewares=[_errors])

    async def operate(request: web.Request) -> web.Response:
        parameters = await _parameters(request)
        return web.json_response(await engine.call(request.match_info["operation"], parameters))

    async def status(_: web.Request) -> web.Response:
        return web.json_response(await engine.call("status", {}))

    async def openapi(_: web.Request) -> web.Response:
        return web.json_response(document())

    app.router.add_get("/v1/openapi.json", openapi)
    app.router.add_get("/v1/status", status)
    app.router.add_post("/v1/{operation}", operate)
    return app


async def _parameters(request: web.Request) -> dict[str, Any]:
    if request.match_info["operation"] not in OPERATIONS:
        raise NotFound(f"there is no operation {request.match_info['operation']!r}", "see GET /v1/openapi.json")
    if not request.can_read_body:
        return {}
    try:
        value = await request.json()
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise UsageError("the body must be a JSON object")
    return value


@web.middleware
async def _errors(request: web.Request, handler: Any) -> web.StreamResponse:
    """Turn errors into answers; what nobody foresaw is logged with a number that the answer names."""
    try:
        response: web.StreamResponse = await handler(request)
    except WeftedError as error:
        return _answer(error, _status(error))
    except web.HTTPException as error:
        return _answer(UsageError(f"{request.method} {request.path}: {error.reason}", "see GET /v1/openapi.json"), error.status)
    except Exception:
        number = uuid.uuid4().hex[:8]
        log.exception("defect", extra={"request": f"{request.method} {request.path}", "number": number})
        return _answer(WeftedError(f"a defect in wefted, number {number}", "its log has the details"), 500)
    return response


def _status(error: WeftedError) -> int:
    if isinstance(error, NotFound):
        return 404
    if isinstance(error, UsageError):
        return 400
    return 503 if isinstance(error, Unreachable) else 500


def _answer(error: WeftedError, status: int) -> web.Response:
    body = {"kind": type(error).__name__, "message": error.message, "hint": error.hint, "exit_code": error.exit_code}
    return web.json_response({"error": body}, status=status)
