"""The host's own links as sysfs shows them (Documentation/ABI/testing/sysfs-class-net), with the standard library alone.

`pipework` is one short process, and what it must know of one link stands in a few files; asking the agent would cost more.
"""

from __future__ import annotations

import os

from .record import record

SYSFS = "/sys/class/net"
OUR_GROUP = "2003134068"
"""`wefted.model.link.LINK_GROUP` as sysfs writes it: the mark of a link of ours."""
INFINIBAND = "32"
"""ARPHRD_INFINIBAND of linux/if_arp.h."""


@record
class HostLink:
    """One link; `kind` is bridge, infiniband, wireless or ethernet, which here means everything else."""

    name: str
    kind: str
    ours: bool = False
    mtu: int = 0
    vlan: int = 0
    """The VLAN of an 802.1Q sub-interface, 0 for every other link."""


def find(name: str, root: str = SYSFS) -> HostLink | None:
    """Return the link of this name, or None."""
    place = f"{root}/{name}"
    if not name or "/" in name or name in (".", "..") or not os.path.isdir(place):
        return None
    return HostLink(
        name=name,
        kind=_kind(place),
        ours=_read(f"{place}/netdev_group") == OUR_GROUP,
        mtu=int(_read(f"{place}/mtu") or 0),
        vlan=_vlan(name),
    )


def with_mac(mac: str, root: str = SYSFS) -> str:
    """Return the name of the first link that has this MAC, or nothing."""
    wanted = mac.lower()
    return next((name for name in sorted(os.listdir(root)) if _read(f"{root}/{name}/address") == wanted), "")


def is_ready(name: str, root: str = SYSFS) -> bool:
    """Tell whether a link is up and has carrier; one that is down refuses to say (EINVAL)."""
    return _read(f"{root}/{name}/carrier") == "1"


def exists(name: str, root: str = SYSFS) -> bool:
    """Tell whether there is a link of this name."""
    return find(name, root) is not None


def _kind(place: str) -> str:
    if os.path.isdir(f"{place}/bridge"):
        return "bridge"
    if _read(f"{place}/type") == INFINIBAND:
        return "infiniband"
    wireless = os.path.isdir(f"{place}/wireless") or os.path.exists(f"{place}/phy80211")
    return "wireless" if wireless else "ethernet"


def _vlan(name: str) -> int:
    """Return what /proc/net/vlan says (net/8021q/vlanproc.c): "eth0.5  VID: 5  REORDER_HDR: 1 ..."."""
    words = _read(f"/proc/net/vlan/{name}").split()
    return int(words[2]) if words[1:2] == ["VID:"] else 0


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""
