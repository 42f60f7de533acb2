"""Which networks `ls` and `prune` are about: the filters of `docker network`, and those of our own. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from wefted.errors import UsageError
from wefted.model.nearest import guess
from wefted.model.network import Network

Test = Callable[[Network, bool], bool]
"""Tells of a network, and of whether it has endpoints, whether it is meant."""


def chosen(networks: Iterable[Network], filters: Iterable[str], used: Callable[[str], bool]) -> list[Network]:
    """Return the networks that match all filters. Raises `UsageError`."""
    tests = [_read(text) for text in filters]
    return [network for network in networks if all(test(network, used(network.name)) for test in tests)]


def _read(text: str) -> Test:
    key, equals, value = text.partition("=")
    if not equals or not value:
        raise UsageError(f"filter {text!r}: this is not KEY=VALUE", "for example: --filter label=team=web")
    if key not in _KEYS:
        raise UsageError(f"filter {text!r}: unknown key {key!r}{guess(key, _KEYS)}", f"known are: {', '.join(_KEYS)}")
    return _KEYS[key](value)


def _label(value: str) -> Test:
    name, equals, wanted = value.partition("=")
    return lambda network, used: (name, wanted) in network.labels if equals else name in dict(network.labels)


def _no_label(value: str) -> Test:
    has = _label(value)
    return lambda network, used: not has(network, used)


def _dangling(value: str) -> Test:
    if value not in ("true", "false"):
        raise UsageError(f"filter dangling={value}: it is true or false", "dangling=true: networks without endpoints")
    return lambda network, used: used == (value == "false")


_KEYS: Mapping[str, Callable[[str], Test]] = {
    "name": lambda value: lambda network, used: value in network.name,
    "driver": lambda value: lambda network, used: network.driver == value,
    "backend": lambda value: lambda network, used: network.backend == value,
    "label": _label,
    "label!": _no_label,
    "dangling": _dangling,
}
