"""Tunnels of IP packets in UDP (flannel's backend `udp`): the device, what wraps and unwraps, peers, containers' ports."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from .link import Link
from .objects import HOST, IPAddress, IPNetwork, KernelObject, Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Tun(Link):
    """A TUN device that stays when nobody has it open (kernel: Documentation/networking/tuntap.rst)."""

    rank: ClassVar[int] = 15

    def __str__(self) -> str:
        return self._line("type tun")


@dataclass(frozen=True, slots=True, kw_only=True)
class UdpTunnel(KernelObject):
    """What turns packets of the TUN device `link` into datagrams between `local` and its peers, and back.

    Programs in the kernel (eBPF) do it, or a process where the kernel has none: the bytes are the same.
    """

    rank: ClassVar[int] = 25

    link: str
    device: str
    """The underlay link."""
    local: IPAddress
    port: int
    bridge: str = ""
    """Between this bridge of ours and the peers, packets that no rule can concern pass the host's stack by; "" for none."""
    blocks: tuple[IPNetwork, ...] = ()
    """This node's own blocks, sorted; what is sent to them by mistake is not sent on."""
    intact: bool = True
    """False only in what was read from the kernel: a part of it is missing, or another version of wefted made it."""
    way: str = field(default="", compare=False)
    """Only in what was read: `ebpf, xdp`, `ebpf, tc` or `relay`."""

    @property
    def key(self) -> Key:
        return ("udp tunnel", self.ns, self.link)

    def __str__(self) -> str:
        bridge = f" bridge {self.bridge}" if self.bridge else ""
        blocks = " ".join(str(block) for block in self.blocks)
        return f"{_at(self)}udp tunnel {self.link} dev {self.device} local {self.local} port {self.port}{bridge} own {blocks}"


@dataclass(frozen=True, slots=True, kw_only=True)
class UdpPeer(KernelObject):
    """A peer's block of addresses: what goes to it by the tunnel `link` is sent to `remote`, port `port`."""

    rank: ClassVar[int] = 27

    link: str
    block: IPNetwork
    remote: IPAddress
    port: int

    @property
    def key(self) -> Key:
        return ("udp peer", self.ns, self.link, self.block)

    def __str__(self) -> str:
        remote = f"[{self.remote}]" if self.remote.version == 6 else str(self.remote)
        return f"{_at(self)}udp peer {self.block} at {remote}:{self.port} dev {self.link}"


@dataclass(frozen=True, slots=True, kw_only=True)
class UdpPort(KernelObject):
    """What a container sends by its bridge port `link` to peers of the tunnel `tunnel` passes the bridge by, and their answers.

    Only a shorter way for the same packets, of the programs in the kernel; a process does without.
    """

    rank: ClassVar[int] = 65

    link: str
    tunnel: str

    @property
    def key(self) -> Key:
        return ("udp port", self.ns, self.link)

    def __str__(self) -> str:
        return f"{_at(self)}udp port {self.link} of {self.tunnel}"


def _at(item: KernelObject) -> str:
    return f"netns {item.ns} " if item.ns != HOST else ""
