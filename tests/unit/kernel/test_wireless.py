"""Radios are moved by messages of nl80211: no radio is here, so their bytes are proven."""

from __future__ import annotations

import errno
import struct
from typing import cast

import pytest

from wefted.kernel import wireless
from wefted.kernel.netlink import Message, Refused, attributes, u16, u32
from wefted.kernel.netns import Namespaces

FAMILY = 0x1C


class Radios:
    """A kernel with the radio 3 and its link 9, in place of namespaces and their sockets."""

    def __init__(self, known: bool = True) -> None:
        self.asked: list[Message] = []
        self._known = known

    def socket(self, fd: int, protocol: int) -> Radios:
        assert protocol == 16
        return self

    def close(self) -> None:
        """There is nothing to close."""

    def ask(self, message: Message) -> list[bytes]:
        self.asked.append(message)
        if message.type == 0x10:
            if not self._known:
                raise Refused(errno.ENOENT)
            return [bytes(4) + u16(1, FAMILY)]
        if message.body[0] == 5:
            if attributes(message.body, 4) != {3: struct.pack("=I", 9)}:
                raise Refused(errno.ENODEV)
            return [bytes(4) + u32(1, 3)]
        return []


def spaces(radios: Radios) -> Namespaces:
    return cast(Namespaces, radios)


def test_the_radio_of_a_link_is_asked_for() -> None:
    radios = Radios()
    assert wireless.radio_of(spaces(radios), 0, 9) == 3
    family, interface = radios.asked
    assert (family.type, family.body) == (0x10, b"\x03\x01\0\0" + b"\x0c\0\x02\0nl80211\0")
    assert (interface.type, interface.body[:4]) == (FAMILY, b"\x05\0\0\0")


@pytest.mark.parametrize(("known", "index"), [(True, 4), (False, 9)], ids=["another kind of link", "a kernel without wireless"])
def test_other_links_have_no_radio(known: bool, index: int) -> None:
    assert wireless.radio_of(spaces(Radios(known)), 0, index) is None


def test_a_radio_is_moved_by_descriptor() -> None:
    radios = Radios()
    wireless.move_radio(spaces(radios), 0, 3, 77)
    message = radios.asked[-1]
    assert (message.type, message.body[0]) == (FAMILY, 49)
    assert attributes(message.body, 4) == {1: struct.pack("=I", 3), 219: struct.pack("=I", 77)}
