"""Links as messages: kinds that this machine's kernel may lack are proven by their bytes."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest

from wefted.kernel import ifinfo, netlink
from wefted.kernel.ifinfo import RawLink
from wefted.kernel.linkkind import KINDS, READERS
from wefted.kernel.loan import Loan
from wefted.kernel.marks import addresses_have_protocol, is_our_group, is_our_table
from wefted.kernel.netlink import Refused
from wefted.model.link import LINK_GROUP, Bridge, Dummy, Ipip, Ipoib, Ipvlan, Link, Macvlan, Vlan, Vxlan
from wefted.model.objects import HOST, Netns


class FewNames:
    """Implements `Names` for links on `eth0`, which has index 4."""

    ns: Netns = HOST

    def name(self, index: int) -> str:
        return {4: "eth0", 9: "br0"}.get(index, "")

    def parent(self, link: RawLink) -> str:
        return self.name(link.parent)

    def far_end(self, link: RawLink) -> tuple[Netns, str]:
        return HOST, self.name(link.parent)


def message(kind: str, data: bytes, parent: int = 0, master: int = 0) -> bytes:
    """Write the message that the kernel would send of a link."""
    parts = [
        netlink.text(ifinfo.IFLA_IFNAME, "link0"),
        netlink.u32(ifinfo.IFLA_MTU, 1400),
        netlink.u32(ifinfo.IFLA_GROUP, LINK_GROUP),
        netlink.attribute(ifinfo.IFLA_ADDRESS, bytes([2, 0, 0, 0, 0, 1])),
        netlink.u32(ifinfo.IFLA_LINK, parent) if parent else b"",
        netlink.u32(ifinfo.IFLA_MASTER, master) if master else b"",
        ifinfo.link_info(kind, data),
    ]
    return ifinfo.header(7, ifinfo.IFF_UP) + b"".join(parts)


@pytest.mark.parametrize(
    ("link", "parent"),
    [
        (Macvlan(name="link0", parent="eth0", mode="vepa", mac="02:00:00:00:00:01", mtu=1400), 4),
        (Ipvlan(name="link0", parent="eth0", mode="l3s", mtu=1400), 4),
        (Ipoib(name="link0", parent="eth0", pkey=0x8001, mode="connected", mtu=1400), 4),
        (Vlan(name="link0", parent="eth0", tag=4000, mac="02:00:00:00:00:01", mtu=1400), 4),
        (
            Vxlan(
                name="link0", vni=1 << 23, local=ip_address("192.0.2.1"), device="eth0", port=4790, learning=True, gbp=True,
                mac="02:00:00:00:00:01", mtu=1400, master="br0",
            ),
            0,
        ),
        (Vxlan(name="link0", vni=5, local=ip_address("2001:db8::1"), mac="02:00:00:00:00:01", mtu=1400, master="br0"), 0),
        (Ipip(name="link0", local=ip_address("192.0.2.1"), mtu=1400), 0),
        (Dummy(name="link0", mac="02:00:00:00:00:01", mtu=1400), 0),
        (Bridge(name="link0", mac="02:00:00:00:00:01", mtu=1400), 0),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Link) else "",
)  # fmt: skip
def test_what_is_written_is_read_back(link: Link, parent: int) -> None:
    kind = KINDS[type(link)]
    below = 4 if getattr(link, "device", "") else parent
    raw = ifinfo.decode(message(kind.word, kind.data(link, below), parent, 9 if getattr(link, "master", "") else 0))
    assert READERS[raw.kind](raw, FewNames()) == link


def test_the_attributes_are_those_of_the_kernels_headers() -> None:
    assert netlink.attributes(KINDS[Ipvlan].data(Ipvlan(name="a", parent="b", mode="l3"), 0)) == {1: struct.pack("=H", 1)}
    assert netlink.attributes(KINDS[Vlan].data(Vlan(name="a", parent="b", tag=7), 0)) == {1: struct.pack("=H", 7)}
    ipoib = KINDS[Ipoib].data(Ipoib(name="a", parent="b", pkey=0x8001), 0)
    assert netlink.attributes(ipoib) == {1: struct.pack("=H", 0x8001), 2: struct.pack("=H", 0)}
    assert netlink.attributes(KINDS[Bridge].data(Bridge(name="a"), 0)) == {1: bytes(4), 5: bytes(4)}


@pytest.mark.parametrize("link", [Macvlan(name="a", parent="b", mode="none"), Ipvlan(name="a", parent="b", mode="none")])
def test_an_unknown_mode_is_refused(link: Link) -> None:
    with pytest.raises(Refused, match="'none' is none of"):
        KINDS[type(link)].data(link, 0)


def test_a_link_that_is_down_is_read_as_down() -> None:
    body = ifinfo.header(7, 0) + message("bridge", b"")[16:]
    assert not ifinfo.decode(body).up
    assert not READERS["bridge"](ifinfo.decode(body), FewNames()).up


@pytest.mark.parametrize("loan", [Loan("eth1"), Loan("eth1", True, 1500), Loan("wlp0s20f3", False, 9000)])
def test_an_alias_remembers_a_loan(loan: Loan) -> None:
    assert Loan.parse(str(loan)) == loan


@pytest.mark.parametrize("alias", ["", "net netns:c1", "wefted moved from ", "wefted net"])
def test_other_aliases_are_no_loans(alias: str) -> None:
    assert Loan.parse(alias) is None


def test_a_short_alias_is_read_as_far_as_it_goes() -> None:
    assert Loan.parse("wefted moved from eth1") == Loan("eth1")


def test_marks() -> None:
    assert is_our_group(LINK_GROUP)
    assert is_our_group(LINK_GROUP + 1)
    assert not is_our_group(0)
    assert [is_our_table(name) for name in ("wefted", "wefted-lab", "weftedx", "docker")] == [True, True, False, False]


@pytest.mark.parametrize(
    ("release", "has"),
    [
        ("5.17.99", False),
        ("5.18.0-rc1", True),
        ("6.1.0-18-amd64", True),
        ("4.19", False),
        ("10.0", True),
        ("5.18-custom", True),
    ],
)
def test_kernels_that_store_the_protocol_of_addresses(release: str, has: bool) -> None:
    assert addresses_have_protocol(release) == has
