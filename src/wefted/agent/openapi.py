"""The API's own description (OpenAPI 3.1), made from the table of operations."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from wefted import __version__
from wefted.engine.operations import OPERATIONS, Operation
from wefted.model import codec
from wefted.plugins import DOORS, Call

_ERROR = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "kind": {"type": "string"},
                "message": {"type": "string"},
                "hint": {"type": "string"},
                "exit_code": {"type": "integer"},
            },
            "required": ["kind", "message", "hint", "exit_code"],
        }
    },
    "required": ["error"],
}


def document(doors: Iterable[str] = DOORS) -> dict[str, Any]:
    """Return the whole document, for an agent that has these doors."""
    told = {name: Operation(Call, f"What the small program for {name} was given, and what it prints.") for name in doors}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "wefted",
            "version": __version__,
            "description": "The agent's API on its unix socket. Results are described in docs/reference/json.md.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "http://localhost", "description": "unix:/run/wefted/wefted.sock"}],
        "paths": {f"/v1/{name}": {"post": _operation(name, operation)} for name, operation in {**OPERATIONS, **told}.items()},
        "components": {"schemas": {"Error": _ERROR}},
    }


def _operation(name: str, operation: Operation) -> dict[str, Any]:
    refused = {"content": _json({"$ref": "#/components/schemas/Error"})}
    return {
        "operationId": name.replace(".", "_"),
        "summary": operation.summary,
        "requestBody": {"content": _json(codec.schema(operation.parameters))},
        "responses": {
            "200": {"description": "Done.", "content": _json({})},
            "400": {"description": "The request is wrong; nothing was changed."} | refused,
            "404": {"description": "Something that it names does not exist; nothing was changed."} | refused,
            "500": {"description": "It failed; what had been changed was undone."} | refused,
            "503": {"description": "The cluster store does not answer."} | refused,
        },
    }


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
