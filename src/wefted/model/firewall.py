"""The firewall and the sysctls.

There is one nft table of ours, and its text never changes while the program runs: everything that depends on networks and
endpoints is an element of one of its sets and maps. So one more published port is one element, whatever was there before,
and no name of a user ever becomes an nft identifier.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2s
from typing import ClassVar

from .objects import KernelObject, Key

_FINGERPRINT = "# text "


@dataclass(frozen=True, slots=True, kw_only=True)
class NftTable(KernelObject):
    """A table of ours, whole: `body` is what stands between its braces, in nft's own language.

    Whoever goes into its chain `gate` asks to be let in, which is to go on to the chain `admitted`. The kernel puts before the
    rules of `gate` what the host's own firewall says of packets to the host, and keeps this up to date; "" where nobody asks.
    """

    rank: ClassVar[int] = 70

    family: str = "inet"
    name: str = "wefted"
    body: str
    gate: str = field(default="", compare=False)
    admitted: str = field(default="", compare=False)

    @property
    def key(self) -> Key:
        return ("nft table", self.ns, self.family, self.name)

    @property
    def fingerprint(self) -> str:
        """Return a short name of the text. A table read back from the kernel has it as its body: nft prints other text."""
        if self.body.startswith(_FINGERPRINT):
            return self.body
        return _FINGERPRINT + blake2s(self.body.encode(), digest_size=6).hexdigest()

    def satisfied_by(self, actual: KernelObject) -> bool:
        return isinstance(actual, NftTable) and self.key == actual.key and self.fingerprint == actual.fingerprint

    def __str__(self) -> str:
        return f"nft table {self.family} {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NftElement(KernelObject):
    """An element of a named set or map. `match` and `value` hold one string per part of a concatenation, as nft prints them."""

    rank: ClassVar[int] = 71

    family: str = "inet"
    table: str = "wefted"
    container: str
    """The name of the set or map."""
    match: tuple[str, ...]
    value: tuple[str, ...] = ()
    """Empty in a set."""

    @property
    def key(self) -> Key:
        return ("nft element", self.ns, self.family, self.table, self.container, self.match)

    def __str__(self) -> str:
        value = f" : {' . '.join(self.value)}" if self.value else ""
        return f"nft element {self.container} {{ {' . '.join(self.match)}{value} }}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sysctl(KernelObject):
    """A kernel setting below /proc/sys, `name` written with slashes. The value found before is kept, and put back on delete."""

    rank: ClassVar[int] = 35

    name: str
    value: str

    @property
    def key(self) -> Key:
        return ("sysctl", self.ns, self.name)

    def __str__(self) -> str:
        return f"sysctl {self.name} = {self.value}"
