"""Access ports: what the programs do with each frame, and what a bridge that filters is told."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

import pytest

from wefted.kernel.bpf.accessport import entering, leaving
from wefted.kernel.ifinfo import IFLA_AF_SPEC, RTM_DELLINK, RTM_SETLINK, header
from wefted.kernel.netlink import attribute, attributes, nested
from wefted.kernel.portvlan import attaching, filtered, port_vlans

GO_ON, DROP = -1, 2
DOT1Q, DOT1AD = socket.htons(0x8100), socket.htons(0x88A8)


@dataclass
class Frame:
    """What the programs see of a frame: a tag beside it or none."""

    protocol: int = 0
    tci: int = 0

    def load(self, offset: int) -> int:
        return {20: int(self.protocol != 0), 24: self.tci, 28: self.protocol}[offset]


def run(program: bytes, frame: Frame, refuse: bool = False) -> int:
    """Interpret a program as the kernel would; helpers fail where `refuse` says so. Forgets R1 to R5 in calls."""
    registers: list[object] = [None, frame, *[None] * 9]
    position = 0
    while True:
        code, both, offset, value = struct.unpack_from("=BBhi", program, position * 8)
        target, source = both & 15, both >> 4
        position += 1
        match code:
            case 0x61:
                base = registers[source]
                assert isinstance(base, Frame)
                registers[target] = base.load(offset)
            case 0xB7:
                registers[target] = value
            case 0xBF:
                registers[target] = registers[source]
            case 0x57:
                found = registers[target]
                assert isinstance(found, int)
                registers[target] = found & value
            case 0x15 | 0x55:
                position += offset if (registers[target] == value) == (code == 0x15) else 0
            case 0x85:
                called = registers[1]
                assert isinstance(called, Frame)
                if not refuse and value == 18:
                    assert isinstance(registers[2], int)
                    assert isinstance(registers[3], int)
                    called.protocol, called.tci = registers[2], registers[3]
                elif not refuse:
                    assert value == 19
                    called.protocol = called.tci = 0
                registers[:6] = [-22 if refuse else 0, *[None] * 5]
            case 0x95:
                result = registers[0]
                assert isinstance(result, int)
                return result
            case _:
                raise AssertionError(f"no such instruction: {code:#x}")


def test_a_frame_of_the_container_gets_the_tag() -> None:
    frame = Frame()
    assert run(entering(10), frame) == GO_ON
    assert frame == Frame(DOT1Q, 10)


@pytest.mark.parametrize("frame", [Frame(DOT1Q, 10), Frame(DOT1Q, 0), Frame(DOT1AD, 10)])
def test_a_container_sends_no_tags_of_its_own(frame: Frame) -> None:
    assert run(entering(10), frame) == DROP


@pytest.mark.parametrize("priority", [0, 7 << 13, 1 << 12])
def test_a_frame_with_the_tag_goes_on_without_it(priority: int) -> None:
    frame = Frame(DOT1Q, priority | 4094)
    assert run(leaving(4094), frame) == GO_ON
    assert frame == Frame()


@pytest.mark.parametrize("frame", [Frame(), Frame(DOT1Q, 11), Frame(DOT1Q, 0), Frame(DOT1AD, 10), Frame(DOT1Q, 10 << 12)])
def test_other_frames_do_not_reach_the_container(frame: Frame) -> None:
    assert run(leaving(10), frame) == DROP


def test_a_frame_that_the_kernel_cannot_change_is_dropped() -> None:
    assert run(entering(10), Frame(), refuse=True) == DROP
    assert run(leaving(10), Frame(DOT1Q, 10), refuse=True) == DROP


def test_both_hooks_of_the_port_get_their_program() -> None:
    discipline, enter, leave = attaching(7, 10, (33, 34))
    assert (discipline.type, struct.unpack_from("=iIII", discipline.body, 4)) == (36, (7, 0xFFFF0000, 0xFFFFFFF1, 0))
    for message, hook, program in ((enter, 0xFFFFFFF2, 33), (leave, 0xFFFFFFF3, 34)):
        index, _, parent, info = struct.unpack_from("=iIII", message.body, 4)
        assert (message.type, index, parent, info) == (44, 7, hook, 1 << 16 | socket.htons(3))
        options = attributes(attributes(message.body, 20)[2])
        assert options == {6: struct.pack("=I", program), 7: b"wefted vlan 10\0", 8: struct.pack("=I", 1)}


@pytest.mark.parametrize(("default", "removed"), [(1, [1]), (10, []), (0, [])])
def test_a_bridge_that_filters_gives_the_port_its_vlan_and_no_other(default: int, removed: list[int]) -> None:
    added, *rest = filtered(7, 10, default)
    assert (added.type, added.body[0], struct.unpack_from("=i", added.body, 4)[0]) == (RTM_SETLINK, 7, 7)
    pvid_untagged = struct.pack("=HH", 6, 10)
    assert attributes(attributes(added.body, 16)[IFLA_AF_SPEC]) == {2: pvid_untagged}
    assert [message.type for message in rest] == [RTM_DELLINK] * len(removed)
    assert [struct.unpack_from("=HH", message.body, 24)[1] for message in rest] == removed


def test_the_vlans_of_a_port_are_all_read() -> None:
    vlans = [attribute(2, struct.pack("=HH", flags, tag)) for flags, tag in ((0, 5), (6, 10), (4, 20))]
    body = header(7, family=7) + nested(IFLA_AF_SPEC, attribute(0, bytes(2)), *vlans)
    assert port_vlans(body) == [(5, 0), (10, 6), (20, 4)]
    assert port_vlans(header(7, family=7)) == []
