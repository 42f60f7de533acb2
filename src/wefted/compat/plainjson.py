"""JSON for requests that are made of plain text, numbers and lists: importing `json` takes longer than a whole attach.

Whatever is not plain (a quote, a backslash, a sign beyond ASCII) is left to `json`.
"""

from __future__ import annotations

TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any


def encode(value: Any) -> str:
    """Return a JSON value as text, as `json.dumps` with the narrowest separators does."""
    if isinstance(value, str):
        return f'"{value}"' if _is_plain(value) else _by_json(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{" + ",".join(f"{encode(key)}:{encode(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(encode, value)) + "]"
    return str(value) if isinstance(value, int) else _by_json(value)


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and '"' not in text and "\\" not in text


def _by_json(value: Any) -> str:
    from json import dumps

    return dumps(value)
