"""Docker's plugin protocol: one POST to a path for each method, JSON both ways, and an error field that differs by driver.

Sources: docs/extend/plugin_api.md and plugins_network.md of docker/cli, docs/remote.md and docs/ipam.md of libnetwork, and what
dockerd 20.10 was seen to send. A body that is no JSON object, a missing field and a field of another type are errors in the
protocol's own form; unknown fields are passed over, for newer engines send more.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from wefted.engine.docker import DockerDesk
from wefted.errors import UsageError, WeftedError

from .docker_fields import Fields

log = logging.getLogger("wefted.docker")

ACTIVATE = "/Plugin.Activate"

Json = dict[str, Any]
Method = Callable[[DockerDesk, Fields], Awaitable[Json]]


class DockerProtocol:
    """Answers the methods of all drivers that one socket serves."""

    def __init__(self, desk: DockerDesk, drivers: Mapping[str, Mapping[str, Method]], errors: Mapping[str, str]) -> None:
        """Take the methods by driver and name, and each driver's error field."""
        self._desk = desk
        self._methods = {f"/{driver}.{name}": method for driver, methods in drivers.items() for name, method in methods.items()}
        self._errors = errors
        self._implements = list(drivers)

    async def answer(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        """Return status and body for a request; never raises."""
        start = time.perf_counter()
        answer = await self._answer(method, path, body)
        spent = round(1000 * (time.perf_counter() - start), 2)
        log.debug("answered", extra={"request": path[:100], "status": answer[0], "ms": spent})
        return answer

    async def _answer(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        if method != "POST":
            return self.refusal(path, 405, f"{path[:100]} is asked with POST, not {method}")
        if path == ACTIVATE:
            return _encoded(200, {"Implements": self._implements})
        found = self._methods.get(path)
        if found is None:
            return self.refusal(path, 404, f"wefted has no method {path[:100]!r}")
        try:
            return _encoded(200, await found(self._desk, Fields(decoded(body))))
        except WeftedError as error:
            return self.refusal(path, 400 if isinstance(error, UsageError) else 500, _told(error))
        except Exception:
            number = uuid.uuid4().hex[:8]
            log.exception("defect", extra={"request": path[:100], "number": number})
            return self.refusal(path, 500, f"a defect in wefted, number {number}; its log has the details")

    def refusal(self, path: str, status: int, message: str) -> tuple[int, bytes]:
        """Return an error in the form of the driver that was asked."""
        driver = path.removeprefix("/").partition(".")[0]
        return _encoded(status, {self._errors.get(driver, "Err"): message})


def decoded(body: bytes) -> Json:
    """Return the JSON object of a body; an empty one and `null` are an object without fields. Raises `UsageError`."""
    try:
        value = json.loads(body) if body.strip() else {}
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the body is not JSON: {error}") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UsageError("the body is not a JSON object")
    return value


def _told(error: WeftedError) -> str:
    return f"{error.message} ({error.hint})" if error.hint else error.message


def _encoded(status: int, value: Json) -> tuple[int, bytes]:
    return status, json.dumps(value).encode()
