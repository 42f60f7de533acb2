"""Bridge ports as access ports of a VLAN.

Where the bridge filters by VLAN, the port gets it as its only one (`bridge vlan add vid N dev X pvid untagged`). Where it does
not (the usual case: a kernel may not even know VLANs), two eBPF programs on the port do the same, and the bridge hands tagged
frames on like others; its trunk ports need no setting. Only the port is touched, which is ours; never the bridge.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from struct import Struct

from wefted.model.link import PortVlan
from wefted.model.objects import HOST, KernelObject

from .bpf.accessport import entering, leaving
from .bpf.load import load_classifier
from .classifier import EGRESS, EXISTS, INGRESS, RTM_NEWQDISC, attach, attached, hooks, links_with_hooks, no_hooks
from .ifinfo import IFLA_AF_SPEC, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK, RawLink, decode, header, link_index
from .marks import VLAN_FILTER
from .netlink import Message, NetlinkSocket, Refused, as_int, attribute, attributes, nested, repeated, u32
from .reading import Reading
from .transaction import GONE, Transaction

_AF_BRIDGE = 7
_VLAN_INFO = 2
_PVID, _UNTAGGED = 2, 4
_VLAN = Struct("=HH")
"""struct bridge_vlan_info: flags, VLAN."""
_BR_VLAN_FILTERING, _BR_DEFAULT_PVID = 7, 39
_EXT_MASK, _WITH_VLANS = 29, 2


class PortVlanHandler:
    """Makes ports of ours access ports, and plain ports again."""

    def create(self, wanted: PortVlan, tx: Transaction) -> None:
        """Give a port its VLAN. Raises `Refused`."""
        index = tx.index(wanted.ns, wanted.link)
        bridge = _bridge_of(wanted, index, tx)
        if _filters(bridge):
            for message in filtered(index, wanted.tag, _default_of(bridge)):
                tx.queue(wanted.ns, message, forgive=GONE)
            return
        with _programs(wanted.tag) as programs:
            for message in attaching(index, wanted.tag, programs):
                tx.queue(wanted.ns, message, forgive=EXISTS if message.type == RTM_NEWQDISC else frozenset())
            tx.flush(wanted.ns)

    def update(self, old: KernelObject, new: PortVlan, tx: Transaction) -> None:
        """Take the VLAN from the port and give it the other."""
        if isinstance(old, PortVlan):
            self.delete(old, tx)
        self.create(new, tx)

    def delete(self, old: PortVlan, tx: Transaction) -> None:
        """Make it a plain port again."""
        index = tx.index(old.ns, old.link)
        bridge = _bridge_of(old, index, tx)
        if _filters(bridge):
            default = _default_of(bridge)
            if default:
                tx.queue(old.ns, _vlan_message(RTM_SETLINK, index, default, _PVID | _UNTAGGED))
            tx.queue(old.ns, _vlan_message(RTM_DELLINK, index, old.tag), forgive=GONE)
            return
        gone = GONE | {errno.EINVAL}
        tx.queue(old.ns, no_hooks(index), forgive=gone)


def missing(sock: NetlinkSocket, index: int) -> str:
    """Return why no port can be given a VLAN by programs, as tried on a link, or ""."""
    try:
        with _programs(1) as programs:
            for message in attaching(index, 1, programs):
                sock.ask(message)
    except Refused as refused:
        return f"this kernel refuses programs for port-vlan: {refused.explain('clsact and cls_bpf')}"
    return ""


def read_port_vlans(reading: Reading) -> Iterator[PortVlan]:
    """Yield the VLANs of the ports that are ours; 0 stands for one that is no longer whole."""
    ports = {link.index: link for link in reading.links.values() if link.master and reading.is_ours(link.index)}
    if reading.ns != HOST or not ports:
        return
    hooked = links_with_hooks(reading.socket)
    for index in sorted(index for index in hooked.keys() & ports.keys() if not hooked[index]):
        tags = {_tag(reading.socket, index, hook) for hook in (INGRESS, EGRESS)}
        if tags != {None}:
            yield PortVlan(link=ports[index].name, tag=tags.pop() or 0 if len(tags) == 1 else 0)
    filtering = {index: bridge for index, bridge in reading.links.items() if _filters(bridge)}
    if filtering:
        yield from _filtered(reading, ports, filtering)


def filtered(index: int, tag: int, default: int) -> list[Message]:
    """Return what makes a port of a bridge that filters a member of one VLAN alone; it began as one of the default VLAN."""
    messages = [_vlan_message(RTM_SETLINK, index, tag, _PVID | _UNTAGGED)]
    return messages if default in (0, tag) else [*messages, _vlan_message(RTM_DELLINK, index, default)]


def attaching(index: int, tag: int, programs: tuple[int, int]) -> list[Message]:
    """Return what attaches the programs for frames from and to the container to a port."""
    sides = zip((INGRESS, EGRESS), programs, strict=True)
    return [hooks(index), *(attach(index, hook, program, f"{VLAN_FILTER}{tag}") for hook, program in sides)]


@contextmanager
def _programs(tag: int) -> Iterator[tuple[int, int]]:
    """Lend the two programs of a VLAN; the kernel keeps them for as long as they are attached."""
    enter = load_classifier("wefted_enter", entering(tag))
    try:
        leave = load_classifier("wefted_leave", leaving(tag))
        try:
            yield enter, leave
        finally:
            os.close(leave)
    finally:
        os.close(enter)


def port_vlans(body: bytes) -> list[tuple[int, int]]:
    """Return (VLAN, flags) of a port, from a message of a bridge that filters."""
    spec = attributes(body, len(header())).get(IFLA_AF_SPEC, b"")
    found = (_VLAN.unpack(data) for kind, data in repeated(spec) if kind == _VLAN_INFO)
    return [(tag, flags) for flags, tag in found]


def _vlan_message(kind: int, index: int, tag: int, flags: int = 0) -> Message:
    vlan = nested(IFLA_AF_SPEC, attribute(_VLAN_INFO, _VLAN.pack(flags, tag)))
    return Message(kind, 0, header(index, family=_AF_BRIDGE) + vlan)


def _bridge_of(port: PortVlan, index: int, tx: Transaction) -> RawLink:
    link = decode(tx.ask(port.ns, Message(RTM_GETLINK, 0, header(index)))[0])
    if not link.master:
        raise Refused(errno.ENODEV, f"{port.link} is no port of a bridge")
    return decode(tx.ask(port.ns, Message(RTM_GETLINK, 0, header(link.master)))[0])


def _filters(bridge: RawLink) -> bool:
    return bridge.kind == "bridge" and bool(as_int(attributes(bridge.info).get(_BR_VLAN_FILTERING)))


def _default_of(bridge: RawLink) -> int:
    return as_int(attributes(bridge.info).get(_BR_DEFAULT_PVID))


def _tag(sock: NetlinkSocket, index: int, hook: int) -> int | None:
    """Return the VLAN whose program is attached to a hook, None where none of ours is."""
    for found in attached(sock, index, hook):
        tag = found.name.removeprefix(VLAN_FILTER)
        if tag != found.name and tag.isdigit():
            return int(tag)
    return None


def _filtered(reading: Reading, ports: dict[int, RawLink], filtering: dict[int, RawLink]) -> Iterator[PortVlan]:
    """Yield ports whose bridge filters and that are in another VLAN than every new port."""
    for body in reading.socket.dump(RTM_GETLINK, header(family=_AF_BRIDGE) + u32(_EXT_MASK, _WITH_VLANS)):
        port = ports.get(link_index(body))
        if port is None or port.master not in filtering:
            continue
        vlans = port_vlans(body)
        native = next((tag for tag, flags in vlans if flags & _PVID), 0)
        if native not in (0, _default_of(filtering[port.master])):
            yield PortVlan(link=port.name, tag=native if len(vlans) == 1 else 0)
