"""Objects that clang makes for eBPF (ELF, 64 bit, EM_BPF): their programs, maps and licence.

Only what our own sources use is understood: straight programs in sections `classifier` and `xdp`, references to maps
(R_BPF_64_64), and a section `maps` with definitions of five numbers each: type, key size, value size, entries, flags. Anything
else is refused, never guessed. (RFC 9669 for the instructions; kernel: Documentation/bpf/llvm_reloc.rst for the relocations.)
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from struct import Struct, error, pack_into

from ..netlink import Refused
from .load import CLASSIFIER, XDP
from .maps import MapSpec

_ORDER = "<" if sys.byteorder == "little" else ">"
_FILE = Struct(_ORDER + "16sHHIQQQIHHHHHH")
_SECTION = Struct(_ORDER + "IIQQQQIIQQ")
_SYMBOL = Struct(_ORDER + "IBBHQQ")
_RELOCATION = Struct(_ORDER + "QQ")
_DEFINITION = Struct("=IIIII")
_MACHINE_BPF = 247
_PROGBITS, _SYMTAB, _REL = 1, 2, 9
_EXECUTABLE = 4
_FUNCTION = 2
_MAP_REFERENCE = 1
_LOAD_64, _PSEUDO_MAP_FD = 0x18, 1
_KINDS = {"classifier": CLASSIFIER, "xdp": XDP}


@dataclass(frozen=True, slots=True)
class Program:
    """One program: its instructions, and the offsets at which descriptors of maps belong."""

    kind: int
    instructions: bytes
    references: tuple[tuple[int, str], ...]

    def linked(self, maps: Mapping[str, int]) -> bytes:
        """Return the instructions with the descriptors of these maps in them."""
        code = bytearray(self.instructions)
        for offset, name in self.references:
            code[offset + 1] = code[offset + 1] & 0x0F | _PSEUDO_MAP_FD << 4
            pack_into("=i", code, offset + 4, maps[name])
        return bytes(code)


@dataclass(frozen=True, slots=True)
class Object:
    """Everything in an object file."""

    programs: Mapping[str, Program]
    maps: Mapping[str, MapSpec]
    licence: str


@dataclass(frozen=True, slots=True)
class _Part:
    name: str
    kind: int
    flags: int
    data: bytes
    link: int
    info: int


@dataclass(frozen=True, slots=True)
class _Named:
    name: str
    is_function: bool
    part: int
    at: int
    size: int


def parse(data: bytes) -> Object:
    """Return what an object file holds. Raises `Refused` (ENOEXEC) for a damaged or a foreign one."""
    try:
        return _parse(data)
    except (error, IndexError, ValueError, KeyError, OverflowError) as problem:
        raise Refused(errno.ENOEXEC, f"the eBPF object is damaged: {problem}") from None


def _parse(data: bytes) -> Object:
    parts = _parts(data)
    table = next(part for part in (*parts, None) if part is None or part.kind == _SYMTAB)
    if table is None:
        raise ValueError("it has no symbols")
    symbols = [_symbol(fields, parts[table.link].data) for fields in _SYMBOL.iter_unpack(table.data)]
    sections = {part.name: number for number, part in enumerate(parts)}
    maps = {
        symbol.name: MapSpec(*_DEFINITION.unpack_from(parts[symbol.part].data, symbol.at))
        for symbol in symbols
        if symbol.name and symbol.part == sections.get("maps") and symbol.size == _DEFINITION.size
    }
    programs = {name: program for number in range(len(parts)) for name, program in _programs(parts, number, symbols, maps)}
    if not programs:
        raise ValueError("it has no programs")
    return Object(programs, maps, _string(parts[sections["license"]].data, 0))


def _parts(data: bytes) -> list[_Part]:
    ident, _, machine, _, _, _, at, _, _, _, _, size, count, names = _FILE.unpack_from(data)
    if ident[:4] != b"\x7fELF" or ident[4] != 2 or machine != _MACHINE_BPF or size != _SECTION.size:
        raise ValueError("it is none for this machine")
    raw = [_SECTION.unpack_from(data, at + number * size) for number in range(count)]
    texts = data[raw[names][4] : raw[names][4] + raw[names][5]]
    for _, kind, _, _, offset, length, *_ in raw:
        if kind not in (0, 8) and offset + length > len(data):
            raise ValueError("it is cut off")
    return [
        _Part(_string(texts, name), kind, flags, data[offset : offset + length] if kind else b"", link, info)
        for name, kind, flags, _, offset, length, link, info, _, _ in raw
    ]


def _symbol(fields: tuple[int, ...], texts: bytes) -> _Named:
    name, info, _, part, at, size = fields
    return _Named(_string(texts, name), info & 15 == _FUNCTION, part, at, size)


def _programs(
    parts: list[_Part], number: int, symbols: list[_Named], maps: Mapping[str, MapSpec]
) -> Iterator[tuple[str, Program]]:
    part = parts[number]
    if part.kind != _PROGBITS or not part.flags & _EXECUTABLE or not part.data:
        return
    if part.name not in _KINDS:
        raise ValueError(f"the section {part.name} is of no kind that is known")
    references = [
        reference for rel in parts if rel.kind == _REL and rel.info == number for reference in _references(rel, symbols)
    ]
    for symbol in symbols:
        if symbol.part != number or not symbol.is_function:
            continue
        code = part.data[symbol.at : symbol.at + symbol.size]
        if not code or len(code) != symbol.size or len(code) % 8:
            raise ValueError(f"the program {symbol.name} is not whole")
        inside = [(at - symbol.at, name) for at, name in references if symbol.at <= at < symbol.at + symbol.size]
        for at, name in inside:
            if name not in maps or code[at] != _LOAD_64:
                raise ValueError(f"the program {symbol.name} refers to {name}, which is no map")
        yield symbol.name, Program(_KINDS[part.name], code, tuple(inside))


def _references(rel: _Part, symbols: list[_Named]) -> Iterator[tuple[int, str]]:
    for at, info in _RELOCATION.iter_unpack(rel.data):
        if info & 0xFFFFFFFF != _MAP_REFERENCE:
            raise ValueError(f"it has a relocation of type {info & 0xFFFFFFFF}")
        yield at, symbols[info >> 32].name


def _string(texts: bytes, at: int) -> str:
    return texts[at : texts.index(b"\0", at)].decode()
