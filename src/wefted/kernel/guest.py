"""Being a guest in somebody else's bridge, which keeps its MAC and its MTU whatever ports come and go.

A bridge that nobody gave a MAC takes the lowest one of its ports, and one that nobody gave an MTU the smallest
(br_stp_recalculate_bridge_id and br_mtu_auto_adjust in net/bridge). So our port has the bridge's own. When the last port goes,
the kernel leaves the bridge with 1500 bytes and a MAC of zeros, with which it reaches nobody: it gets back what it had.
"""

from __future__ import annotations

from dataclasses import replace

from wefted.model.link import Veth

from .ifinfo import IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, RTM_GETLINK, RTM_NEWLINK, RawLink, decode, header
from .netlink import Message, attribute, mac_bytes, text, u32
from .transaction import Transaction

_NONE = "00:00:00:00:00:00"


def fitted(wanted: Veth, tx: Transaction) -> tuple[Veth, bytes]:
    """Return the veth with the bridge's MTU, and the attribute with its MAC. Raises `Refused` where there is no bridge."""
    bridge = _bridge(wanted, tx)
    return replace(wanted, mtu=wanted.mtu or bridge.mtu), attribute(IFLA_ADDRESS, mac_bytes(bridge.mac))


def restore_after(leaving: Veth, tx: Transaction) -> None:
    """Give the bridge its MAC and MTU back if it has none once the port has gone."""
    before = _bridge(leaving, tx)

    def mend() -> None:
        if before.mac != _NONE and _bridge(leaving, tx).mac == _NONE:
            settings = attribute(IFLA_ADDRESS, mac_bytes(before.mac)) + u32(IFLA_MTU, before.mtu)
            tx.ask(leaving.ns, Message(RTM_NEWLINK, 0, header() + text(IFLA_IFNAME, leaving.master) + settings))

    tx.then(mend)


def _bridge(port: Veth, tx: Transaction) -> RawLink:
    index = tx.index(port.ns, port.master)
    return decode(tx.ask(port.ns, Message(RTM_GETLINK, 0, header(index)))[0])
