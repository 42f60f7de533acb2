"""Objects with eBPF programs: read as they are, and refused whole when anything in them is damaged or unknown."""

from __future__ import annotations

import contextlib
import errno
import random
import struct

import pytest

from wefted.kernel.bpf import elf, udp
from wefted.kernel.netlink import Refused

SECTION_TABLE = 40
"""Where the file header says where the sections are."""


@pytest.fixture(scope="module")
def data() -> bytes:
    if not udp.FILE.exists():
        pytest.skip("built without clang")
    return udp.FILE.read_bytes()


def refused(data: bytes) -> str:
    with pytest.raises(Refused) as caught:
        elf.parse(data)
    assert caught.value.errno == errno.ENOEXEC
    return caught.value.text


def test_programs_get_their_maps(data: bytes) -> None:
    found = elf.parse(data)
    program = found.programs["tunnel_out"]
    assert {name for _, name in program.references} == {"owners", "tunnels"}
    linked = program.linked({"owners": 77, "tunnels": 78})
    for at, name in program.references:
        opcode, registers, _, value = struct.unpack_from("<BBhi", linked, at)
        assert (opcode, registers >> 4, value) == (0x18, 1, {"owners": 77, "tunnels": 78}[name])
    assert len(linked) == len(program.instructions)
    assert found.licence == "Dual BSD/GPL"


@pytest.mark.parametrize("length", [0, 3, 16, 63, 64, 200])
def test_a_stump_is_refused(data: bytes, length: int) -> None:
    refused(data[:length])


@pytest.mark.parametrize("length", [0.3, 0.7, 0.95, 0.999])
def test_what_is_cut_off_is_refused(data: bytes, length: float) -> None:
    refused(data[: int(len(data) * length)])


@pytest.mark.parametrize(("at", "value"), [(0, 0), (4, 1), (18, 62), (58, 1)], ids=["magic", "32 bit", "x86", "sections"])
def test_another_kind_of_file_is_refused(data: bytes, at: int, value: int) -> None:
    refused(data[:at] + bytes([value]) + data[at + 1 :])


def test_a_relocation_of_another_type_is_refused(data: bytes) -> None:
    (table,) = struct.unpack_from("<Q", data, SECTION_TABLE)
    size, count = struct.unpack_from("<HH", data, 58)
    for number in range(count):
        _, kind, _, _, offset, length, *_ = struct.unpack_from("<IIQQQQIIQQ", data, table + number * size)
        if kind == 9 and length:
            broken = bytearray(data)
            broken[offset + 8] = 10  # R_BPF_64_32: a call of another function
            assert "relocation of type 10" in refused(bytes(broken))


def test_noise_is_refused_or_read_and_never_more(data: bytes) -> None:
    chance = random.Random(8285)
    for _ in range(300):
        broken = bytearray(data)
        for _ in range(chance.randint(1, 20)):
            broken[chance.randrange(len(broken))] = chance.randrange(256)
        with contextlib.suppress(Refused):
            assert elf.parse(bytes(broken)).programs
