"""What is to be seen of a lab at one moment, for `ls`, `graph` and everybody who draws it. Pure data; `look` fills it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .topology import Kind

Condition = Literal["up", "off", "dead"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plug:
    """A machine's interface: the segment that it is on, its addresses, and whether its cable is out."""

    segment: str
    ifname: str
    addresses: tuple[str, ...]
    cut: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerBox:
    """A container; for each network it is in, the network's name and its addresses there."""

    name: str
    endpoints: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineBox:
    name: str
    kind: Kind
    condition: Condition
    pid: int = 0
    plugs: tuple[Plug, ...] = ()
    containers: tuple[ContainerBox, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A lab at one moment. `segments` and `networks` map names to a word about them; `cuts` are pairs of machines."""

    lab: str
    segments: tuple[tuple[str, str], ...]
    machines: tuple[MachineBox, ...]
    networks: tuple[tuple[str, str], ...] = ()
    cuts: tuple[tuple[str, str], ...] = ()
