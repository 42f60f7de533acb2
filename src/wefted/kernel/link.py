"""Create, change and delete links of ours (`LinkHandler`), and set links that are not ours.

Everything that must be true from the first instant stands in the create call: the mark, the master, up, the far end inside its
namespace. Only what the kernel ignores there follows, in the same send.
"""

from __future__ import annotations

import errno
from contextlib import suppress

from wefted.model.link import HANDED_GROUP, LINK_GROUP, Bridge, Link, LinkState, Veth
from wefted.model.objects import HOST, KernelObject, Netns

from . import guest
from .ifinfo import (
    IFLA_ADDRESS,
    IFLA_GROUP,
    IFLA_IFALIAS,
    IFLA_IFNAME,
    IFLA_LINK,
    IFLA_MASTER,
    IFLA_MTU,
    IFLA_NET_NS_FD,
    IFLA_NUM_RX_QUEUES,
    IFLA_NUM_TX_QUEUES,
    RTM_GETLINK,
    RTM_NEWLINK,
    bridge_port,
    decode,
    delete_named,
    header,
    link_info,
    no_link_local,
    up_header,
    without_link_local,
)  # fmt: skip
from .linkkind import KINDS, Kind
from .marks import is_our_group
from .netlink import CREATE, ECHO, EXCL, Message, Refused, attribute, mac_bytes, text, u32
from .transaction import GONE, Place, Transaction

_VETH_INFO_PEER = 1
_ONE_QUEUE = u32(IFLA_NUM_TX_QUEUES, 1) + u32(IFLA_NUM_RX_QUEUES, 1)
"""By default a veth gets a queue for each CPU, each an object in sysfs: a quarter of the create call with two CPUs. One is all
it needs: it has no lock to spread, and receives on the CPU that sends (drivers/net/veth.c)."""
_NO_IPV6 = frozenset({errno.EAFNOSUPPORT, errno.EOPNOTSUPP, errno.EINVAL})


class LinkHandler:
    """Bridges, veths, macvlans, dummies, ipvlans, VLANs and VXLAN devices."""

    def create(self, wanted: Link, tx: Transaction) -> None:
        """Make a link, up and marked. Raises `Refused`."""
        try:
            self._create(wanted, tx)
        except Refused as refused:
            if refused.errno != errno.EEXIST or not _is_ours(wanted, tx):
                tx.spoil(_places(wanted))
            raise

    def _create(self, wanted: Link, tx: Transaction) -> None:
        kind = _kind(wanted)
        if tx.exists(wanted.ns, wanted.name):
            _make_way(wanted, tx)
        at = _birthplace(wanted, kind)
        bridge_mac = b""
        if isinstance(wanted, Veth) and wanted.guest:
            wanted, bridge_mac = guest.fitted(wanted, tx)
        body = b"".join((
            up_header(up=wanted.up), text(IFLA_IFNAME, wanted.name),
            u32(IFLA_GROUP, HANDED_GROUP if wanted.handed else LINK_GROUP), _settings(wanted, None, tx),
            _below(wanted, kind, tx), u32(IFLA_NET_NS_FD, tx.fd(wanted.ns)) if at != wanted.ns else b"",
            bridge_mac + _ONE_QUEUE + _peer(wanted, tx) if isinstance(wanted, Veth) else b"",
        ))  # fmt: skip
        tx.queue(at, Message(RTM_NEWLINK, CREATE | EXCL | ECHO, body), makes=_places(wanted))
        if isinstance(wanted, Veth):
            far = LinkState(ns=wanted.peer_ns, name=wanted.peer_name, up=False, mtu=wanted.mtu, mac=wanted.peer_mac)
            tx.born[far.ns, far.name] = far
        for message in _afterthoughts(wanted):
            if at == wanted.ns:
                tx.queue(at, message, forgive=_NO_IPV6)
            else:
                tx.later(wanted.ns, message)

    def update(self, old: KernelObject, new: Link, tx: Transaction) -> None:
        """Change a link in place where the kernel can, else make it anew. Raises `Refused`."""
        if not isinstance(old, Link) or _must_be_remade(old, new):
            _remove(new.ns, new.name, tx)
            self.create(new, tx)
            return
        body = up_header(up=new.up) + text(IFLA_IFNAME, new.name) + _settings(new, old, tx)
        if new.alias != old.alias:
            body += text(IFLA_IFALIAS, new.alias)
        tx.queue(new.ns, Message(RTM_NEWLINK, 0, body))
        if isinstance(new, Veth) and isinstance(old, Veth) and new.master and _needs_modes(old, new):
            modes = bridge_port(new.hairpin, new.isolated)
            tx.queue(new.ns, Message(RTM_NEWLINK, 0, header() + text(IFLA_IFNAME, new.name) + modes))

    def delete(self, old: Link, tx: Transaction) -> None:
        """Delete a link, with others in one go. Raises `Refused`."""
        if isinstance(old, Veth) and old.guest:
            with suppress(Refused):  # the bridge may have gone before
                guest.restore_after(old, tx)
        tx.doom(old.ns, old.name)


class LinkStateHandler:
    """Settings of links that are not ours: they are corrected, and never deleted."""

    def create(self, wanted: LinkState, tx: Transaction) -> None:
        self.update(None, wanted, tx)

    def update(self, old: KernelObject | None, new: LinkState, tx: Transaction) -> None:
        """Set what differs. Raises `Refused`."""
        tx.require(new.ns, new.name)
        before = old if isinstance(old, LinkState) else tx.born.get((new.ns, new.name), LinkState(ns=new.ns, name=new.name))
        index = tx.known_index(new.ns, new.name)
        if new.up and not new.link_local and (old is None or not before.up):
            tx.queue(new.ns, no_link_local(index, new.name), forgive=_NO_IPV6)
        body = up_header(index, new.up) if index else up_header(0, new.up) + text(IFLA_IFNAME, new.name)
        if new.mac not in ("", before.mac):
            body += attribute(IFLA_ADDRESS, mac_bytes(new.mac))
        if new.mtu not in (0, before.mtu):
            body += u32(IFLA_MTU, new.mtu)
        if new.master not in ("", before.master):
            body += u32(IFLA_MASTER, tx.index(new.ns, new.master))
        tx.queue(new.ns, Message(RTM_NEWLINK, 0, body))

    def delete(self, old: LinkState, tx: Transaction) -> None:
        """Do nothing: the link is somebody else's."""


def _kind(link: Link) -> Kind:
    kind = KINDS.get(type(link))
    if kind is None:
        raise Refused(errno.EOPNOTSUPP, f"wefted makes no links of the kind {type(link).__name__}")
    return kind


def _make_way(wanted: Link, tx: Transaction) -> None:
    """Remove a veth of ours whose far end is not where it should be: it is in a namespace that is just dying."""
    exists = Refused(errno.EEXIST, f"there is a link {wanted.name} already")
    if not isinstance(wanted, Veth) or tx.exists(wanted.peer_ns, wanted.peer_name):
        raise exists
    if not _is_ours(wanted, tx):
        raise exists
    _remove(wanted.ns, wanted.name, tx)


def _is_ours(wanted: Link, tx: Transaction) -> bool:
    """Tell whether the link that has this name carries our mark."""
    try:
        found = tx.ask(wanted.ns, Message(RTM_GETLINK, 0, header() + text(IFLA_IFNAME, wanted.name)))
    except Refused:
        return False
    return is_our_group(decode(found[0]).group, wanted.ns)


def _birthplace(link: Link, kind: Kind) -> Netns:
    """Return where the request is sent: a link on a parent of the host is made from there, right into its namespace."""
    return HOST if kind.below == "parent" else link.ns


def _below(link: Link, kind: Kind, tx: Transaction) -> bytes:
    """Return the attributes that are the kind's own, and the link below it."""
    below = getattr(link, kind.below) if kind.below else ""
    index = tx.index(_birthplace(link, kind), below) if below else 0
    parent = u32(IFLA_LINK, index) if kind.below == "parent" else b""
    return parent if isinstance(link, Veth) else parent + link_info(kind.word, kind.data(link, index))


def _peer(link: Veth, tx: Transaction) -> bytes:
    """Describe the far end. It stays down: the kernel refuses to raise it before the near end exists (ENOTCONN)."""
    netns = u32(IFLA_NET_NS_FD, tx.fd(link.peer_ns)) if link.peer_ns != link.ns else b""
    mac = attribute(IFLA_ADDRESS, mac_bytes(link.peer_mac)) if link.peer_mac else b""
    mtu = u32(IFLA_MTU, link.mtu) if link.mtu else b""
    peer = attribute(_VETH_INFO_PEER | 0x8000, header() + text(IFLA_IFNAME, link.peer_name) + netns + mac + mtu + _ONE_QUEUE)
    return link_info("veth", peer)


def _settings(new: Link, old: Link | None, tx: Transaction) -> bytes:
    """Return MTU, MAC and master: all that are given for a new link, else those that differ."""
    parts = []
    late = old is None and isinstance(new, Bridge)
    if new.mtu and not late and (old is None or new.mtu != old.mtu):
        parts.append(u32(IFLA_MTU, new.mtu))
    mac = getattr(new, "mac", "")
    if mac and mac != getattr(old, "mac", ""):
        parts.append(attribute(IFLA_ADDRESS, mac_bytes(mac)))
    master = getattr(new, "master", "")
    if master != getattr(old, "master", ""):
        parts.append(u32(IFLA_MASTER, tx.index(new.ns, master) if master else 0))
    return b"".join(parts)


def _places(link: Link) -> tuple[Place, ...]:
    here = (link.ns, link.name)
    return (here, (link.peer_ns, link.peer_name)) if isinstance(link, Veth) else (here,)


def _afterthoughts(link: Link) -> list[Message]:
    """Return what the create call ignores.

    A bridge that got its MTU there would still follow its smallest port; set afterwards, it is kept (br_change_mtu). A port of
    a bridge speaks to nobody itself, and what IPv6 says at its start would be flooded to all other ports.
    """
    body = b"".join((
        text(IFLA_IFALIAS, link.alias) if link.alias else b"",
        u32(IFLA_MTU, link.mtu) if isinstance(link, Bridge) and link.mtu else b"",
        bridge_port(link.hairpin, link.isolated) if isinstance(link, Veth) and (link.hairpin or link.isolated) else b"",
        without_link_local() if isinstance(link, Veth) and link.master else b"",
    ))  # fmt: skip
    return [Message(RTM_NEWLINK, 0, header() + text(IFLA_IFNAME, link.name) + body)] if body else []


def _port_modes(link: Veth) -> tuple[bool, bool]:
    return link.hairpin, link.isolated


def _needs_modes(old: Veth, new: Veth) -> bool:
    """Tell whether a port must be told its modes: they changed, or it becomes the port of another bridge and loses them."""
    return _port_modes(new) != _port_modes(old) or (new.master != old.master and any(_port_modes(new)))


def _must_be_remade(old: Link, new: Link) -> bool:
    if type(old) is not type(new):
        return True
    return any(getattr(new, field) and getattr(new, field) != getattr(old, field) for field in _kind(new).fixed) or (
        any(getattr(new, flag, False) != getattr(old, flag, False) for flag in ("learning", "gbp"))
    )


def _remove(ns: Netns, name: str, tx: Transaction) -> None:
    tx.queue(ns, delete_named(name), removes=[(ns, name)], forgive=GONE)
