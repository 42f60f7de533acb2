"""The codec: our frozen dataclasses to JSON values and back, for the stores, the socket and the API document.

Every field is always written, so a stored value shows its whole schema. Reading tolerates a missing field that has a default,
refuses keys that it does not know, and reports everything that is wrong at once, each problem with its path.

    dataclass                   object, one key for each field
    tuple[X, ...]               array
    tuple[tuple[str, X], ...]   object; the pairs are sorted by key, in both directions (their order has no meaning)
    Mapping[str, X]             object
    addresses, networks         string
    X | None                    X or null
    str int float bool          as in JSON; a bool is no int, and an int will do for a float

What a type needs is worked out once and kept, so encoding an endpoint costs some microseconds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)
from itertools import pairwise
from math import isfinite
from types import MappingProxyType, NoneType, UnionType
from typing import Any, NewType, TypeVar, Union, get_args, get_origin, get_type_hints

from wefted.errors import UsageError

from .nearest import guess

T = TypeVar("T")

_Path = tuple[Any, str | int] | None
"""Where in the value: (the path of what holds it, its key), innermost first. Only an error ever writes it out."""

_Schema = dict[str, Any]


def encode(value: Any) -> Any:
    """Return `value`, a dataclass of the model, as a JSON value."""
    return _codec(type(value)).encode(value)


def decode(type: type[T], data: Any, where: str = "") -> T:
    """Return the `type` that the JSON value `data` stands for. Raises one `UsageError` with every problem and its path."""
    problems: list[str] = []
    value = _codec(type).decode(data, (None, where) if where else None, problems)
    if problems:
        raise UsageError("\n".join(problems))
    return value  # type: ignore[no-any-return]


def dumps(value: Any) -> bytes:
    """Return `value` as compact JSON with sorted keys: equal values have equal bytes."""
    return json.dumps(encode(value), separators=(",", ":"), sort_keys=True).encode()


def loads(type: type[T], data: bytes, where: str = "") -> T:
    """Return the `type` that `dumps` wrote. Raises `UsageError`, also for what is not JSON at all."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where or type.__name__}: not JSON: {error}") from error
    return decode(type, value, where)


def schema(type: Any) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12, the dialect of OpenAPI 3.1) of what `encode` writes for `type`."""
    return _codec(type).schema()


@dataclass(frozen=True, slots=True)
class _Codec:
    """What to do with one type. `decode` appends to its list of problems and then returns anything."""

    encode: Callable[[Any], Any]
    decode: Callable[[Any, _Path, list[str]], Any]
    schema: Callable[[], _Schema]


def _build(type: Any) -> _Codec:
    if isinstance(type, NewType):
        return _codec(type.__supertype__)
    if type in _SCALARS:
        return _SCALARS[type]
    origin, arguments = get_origin(type), get_args(type)
    if origin in (Union, UnionType):
        return _union(frozenset(arguments))
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return _pairs(arguments[0]) if _is_pair(arguments[0]) else _array(_codec(arguments[0]))
    if origin is Mapping and arguments[0] is str:
        return _mapping(_codec(arguments[1]), dict)
    if is_dataclass(type):
        return _record(type)
    raise TypeError(f"the codec has no JSON for {type!r}")


_codec: Callable[[Any], _Codec] = cache(_build)


def _is_pair(type: Any) -> bool:
    arguments = get_args(type)
    return get_origin(type) is tuple and len(arguments) == 2 and arguments[0] is str and arguments[1] is not Ellipsis


def _pairs(pair: Any) -> _Codec:
    return _mapping(_codec(get_args(pair)[1]), lambda found: tuple(sorted(found.items(), key=lambda item: item[0])))


def _union(members: frozenset[Any]) -> _Codec:
    some = members - {NoneType}
    inner = _FAMILIES.get(some) or (_codec(next(iter(some))) if len(some) == 1 else None)
    if inner is None:
        raise TypeError(f"the codec cannot tell the members of {members} apart")
    return inner if some == members else _optional(inner)


def _optional(inner: _Codec) -> _Codec:
    return _Codec(
        lambda value: None if value is None else inner.encode(value),
        lambda data, path, problems: None if data is None else inner.decode(data, path, problems),
        lambda: {"anyOf": [inner.schema(), {"type": "null"}]},
    )


def _array(inner: _Codec) -> _Codec:
    def decode(data: Any, path: _Path, problems: list[str]) -> Any:
        if not isinstance(data, list | tuple):
            return _wrong(data, "a list", path, problems)
        return tuple([inner.decode(item, (path, index), problems) for index, item in enumerate(data)])

    return _Codec(
        lambda value: [inner.encode(item) for item in value],
        decode,
        lambda: {"type": "array", "items": inner.schema()},
    )


def _mapping(inner: _Codec, build: Callable[[dict[str, Any]], Any]) -> _Codec:
    def encode(value: Any) -> Any:
        items = value.items() if isinstance(value, Mapping) else value
        return {key: inner.encode(item) for key, item in items}

    def decode(data: Any, path: _Path, problems: list[str]) -> Any:
        if not isinstance(data, Mapping):
            return _wrong(data, "an object", path, problems)
        for key in data:
            _string(key, (path, str(key)), problems)
        return build({str(key): inner.decode(item, (path, str(key)), problems) for key, item in data.items()})

    return _Codec(encode, decode, lambda: {"type": "object", "additionalProperties": inner.schema()})


def _record(type: Any) -> _Codec:
    hints = get_type_hints(type)
    parts = [(field.name, _codec(hints[field.name])) for field in fields(type)]
    encoders = [(name, codec.encode) for name, codec in parts]
    decoders = [(name, codec.decode) for name, codec in parts]
    defaults = _defaults(type)

    def decode(data: Any, path: _Path, problems: list[str]) -> Any:
        if not isinstance(data, Mapping):
            return _wrong(data, "an object", path, problems)
        before = len(problems)
        values = {name: decode(data[name], (path, name), problems) for name, decode in decoders if name in data}
        if len(values) < len(decoders):
            problems += [f"{_text((path, n))}: is missing" for n, _ in decoders if n not in data and n not in defaults]
        if len(values) < len(data):
            problems += [_unknown(key, path, hints) for key in data if key not in values]
        return type(**values) if len(problems) == before else None

    return _Codec(
        lambda value: {name: encode(getattr(value, name)) for name, encode in encoders},
        decode,
        lambda: _record_schema(type, parts, defaults),
    )


def _defaults(type: Any) -> Mapping[str, Any]:
    found = {field.name: field.default for field in fields(type) if field.default is not MISSING}
    made = {field.name: field.default_factory() for field in fields(type) if field.default_factory is not MISSING}
    return MappingProxyType(found | made)


def _record_schema(type: Any, parts: list[tuple[str, _Codec]], defaults: Mapping[str, Any]) -> _Schema:
    told = _told(type)
    properties: _Schema = {}
    for name, codec in parts:
        properties[name] = dict(codec.schema())
        if name in defaults:
            properties[name]["default"] = codec.encode(defaults[name])
        if name in told:
            properties[name]["description"] = told[name]
    return {
        "title": type.__name__,
        "description": (type.__doc__ or "").split("\n")[0],
        "type": "object",
        "properties": properties,
        "required": [name for name, _ in parts if name not in defaults],
        "additionalProperties": False,
    }


def _told(type: Any) -> dict[str, str]:
    """Return what the source says below each field, which Python does not keep."""
    import ast
    import inspect
    import textwrap

    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(type)))
    except OSError:
        return {}
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    told = {}
    for field, after in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(after, ast.Expr):
            text = ast.literal_eval(after.value)
            told[field.target.id] = " ".join(text.split())
    return told


def _unknown(key: object, path: _Path, known: Mapping[str, Any]) -> str:
    hint = guess(str(key), known) or f"; known are {', '.join(known)}"
    return f"{_text(path)}: unknown key {_quote(key)}{hint}" if path else f"unknown key {_quote(key)}{hint}"


def _wrong(data: Any, expected: str, path: _Path, problems: list[str]) -> None:
    text = f"{_quote(data)} is not {expected}"
    problems.append(f"{_text(path)}: {text}" if path else text)


def _text(path: _Path) -> str:
    if path is None:
        return ""
    outer, key = path
    before = _text(outer)
    if isinstance(key, int):
        return f"{before}[{key}]"
    return f"{before}.{key}" if before else key


def _quote(data: object) -> str:
    if isinstance(data, Mapping):
        return "an object"
    if isinstance(data, list | tuple):
        return "a list"
    if data is None or isinstance(data, bool):
        return json.dumps(data)
    text = ascii(data) if isinstance(data, str) and not _encodable(data) else repr(data)
    return text if len(text) <= 80 else f"{text[:76]}..."


def _encodable(text: str) -> bool:
    """Tell whether UTF-8 can hold it: JSON may escape half a surrogate pair, and then no file, socket or key can."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _string(data: Any, path: _Path, problems: list[str]) -> Any:
    if isinstance(data, str) and (data.isascii() or _encodable(data)):
        return data
    return _wrong(data, "a string", path, problems)


def _integer(data: Any, path: _Path, problems: list[str]) -> Any:
    if isinstance(data, int) and not isinstance(data, bool):
        return data
    return _wrong(data, "an integer", path, problems)


def _float(data: Any, path: _Path, problems: list[str]) -> Any:
    if isinstance(data, int | float) and not isinstance(data, bool) and abs(data) < 1e300 and isfinite(data):
        return float(data)
    return _wrong(data, "a number", path, problems)


def _boolean(data: Any, path: _Path, problems: list[str]) -> Any:
    return data if isinstance(data, bool) else _wrong(data, "true or false", path, problems)


def _plain(decode: Callable[[Any, _Path, list[str]], Any], name: str) -> _Codec:
    return _Codec(lambda value: value, decode, lambda: {"type": name})


def _address(parse: Callable[[str], Any], what: str, example: str) -> _Codec:
    def decode(data: Any, path: _Path, problems: list[str]) -> Any:
        if isinstance(data, str) and "%" not in data:
            try:
                return parse(data)
            except ValueError:
                pass
        return _wrong(data, what + _meant(data, parse), path, problems)

    return _Codec(str, decode, lambda: {"type": "string", "description": what, "examples": [example]})


def _meant(data: Any, parse: Callable[[str], Any]) -> str:
    """Return, where only host bits make `data` no network, the network that was meant."""
    if parse not in _NETWORKS or not isinstance(data, str):
        return ""
    try:
        return f": it has host bits set, the network is {ip_interface(data).network}"
    except ValueError:
        return ""


_NETWORKS = (ip_network, IPv4Network, IPv6Network)

_SCALARS: dict[Any, _Codec] = {
    str: _plain(_string, "string"),
    int: _plain(_integer, "integer"),
    float: _plain(_float, "number"),
    bool: _plain(_boolean, "boolean"),
    IPv4Address: _address(IPv4Address, "an IPv4 address", "10.9.0.5"),
    IPv6Address: _address(IPv6Address, "an IPv6 address", "fd77::5"),
    IPv4Interface: _address(IPv4Interface, "an IPv4 address with prefix length", "10.9.0.5/24"),
    IPv6Interface: _address(IPv6Interface, "an IPv6 address with prefix length", "fd77::5/64"),
    IPv4Network: _address(IPv4Network, "an IPv4 network", "10.9.0.0/16"),
    IPv6Network: _address(IPv6Network, "an IPv6 network", "fd77::/64"),
}

_FAMILIES: dict[frozenset[Any], _Codec] = {
    frozenset({IPv4Address, IPv6Address}): _address(ip_address, "an IP address", "10.9.0.5"),
    frozenset({IPv4Interface, IPv6Interface}): _address(ip_interface, "an IP address with prefix length", "10.9.0.5/24"),
    frozenset({IPv4Network, IPv6Network}): _address(ip_network, "an IP network", "10.9.0.0/16"),
}
