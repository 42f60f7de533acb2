"""What a container says of itself by labels, annotations or its environment: to which networks it belongs, and how.

Several values stand in one text, with commas between. What is not a network's concerns the first one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

PREFIX = "wefted."
NETWORK, IP, ALIAS, PUBLISH = "wefted.network", "wefted.ip", "wefted.alias", "wefted.publish"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """One network that a container wants to be in; words as `network.connect` takes them."""

    network: str
    ip: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    publish: tuple[str, ...] = ()


def wishes(said: Mapping[str, str], default: str = "") -> list[Wish]:
    """Return the networks that a container wants; the `default` ones where it does not say, none where it says so: ""."""
    networks = list(dict.fromkeys(_split(said.get(NETWORK, default))))
    first = {"ip": _split(said.get(IP, "")), "aliases": _split(said.get(ALIAS, "")), "publish": _split(said.get(PUBLISH, ""))}
    return [Wish(network=network, **(first if not number else {})) for number, network in enumerate(networks)]


def _split(text: str) -> tuple[str, ...]:
    return tuple(word for part in text.split(",") if (word := part.strip()))
