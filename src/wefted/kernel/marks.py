"""What is ours: told from the kernel alone, after `kill -9`, and by a wefted that has another store.

    object                  mark                                        set
    link                    IFLA_GROUP = LINK_GROUP                     in the create call; moves with the link
    link handed over        IFLA_GROUP = HANDED_GROUP                   in the create call; ours in the host's namespace alone
    link being deleted      IFLA_GROUP = DOOMED_GROUP                   so that many go in one group delete; still ours
    veth's far end          none                                        it is the same device and dies with the near end
    link lent to a sandbox  IFLA_GROUP and alias "wefted moved from X"  before it is moved, until all that it had is back
    port's VLAN             filters "wefted vlan N", or the VLAN itself on a port of ours; they go with the port
    UDP tunnel              filters "wefted udp ...", also on links of others; the XDP program's name `underlay_xdp`
    detour of UDP tunnels   as other links; its names SUMS_LINKS        nobody plans it: it goes with the last tunnel
    peer of a UDP tunnel    in the maps of those filters' programs
    WireGuard device        the link; where a process has it, a folder of the runtime directory says which
    peer of WireGuard       every one of a device of ours
    address                 IFA_PROTO = PROTOCOL                        in the create call (Linux >= 5.18)
    route                   rtm_protocol = PROTOCOL                     in the create call
    rule                    FRA_PROTOCOL = PROTOCOL                     in the create call
    neighbour               NDA_PROTOCOL = PROTOCOL                     in the create call
    forwarding entry        permanent, on a VXLAN device of ours        NDA_PROTOCOL is not stored for these
    shaper                  its handle = SHAPER_HANDLE                  in the create call
    udp port                the block at its ingress = BLOCK + ...  in the create call
    nft table               its name: `wefted`, or `wefted-...`         everything in it is ours
    nft table, intact       a chain `v_<text>_<listing>` in it          digests of our text and of what nft lists for it,
                            or `v_<text>_<listing>_<gate>`              and of what it follows of another firewall
    sysctl                  a file in the runtime directory             written before the setting; holds the old value
    command                 a file in the runtime directory             written when it has ended well

The alias of a link is for people: the kernel ignores it in the create call, so a crash could leave a link without it.

Before Linux 5.18 addresses have no IFA_PROTO; there, every permanent address on a link with our mark is ours.
"""

from __future__ import annotations

import os

from wefted.model.link import HANDED_GROUP, LINK_GROUP
from wefted.model.objects import HOST, Netns

DOOMED_GROUP = LINK_GROUP + 1
"""Links on their way out. A crash in between leaves some: they are still ours, and the next reading finds them."""

PROTOCOL = 119
"""The originator of addresses, routes, rules and neighbours: not in iproute2's rt_protos, nor used by a daemon we know."""

SHAPER_HANDLE = PROTOCOL << 16
"""Major number 0x77; tc and others count theirs from 1 or from 0x8000."""

BLOCK, BLOCK_MEMBER = PROTOCOL << 24, 0xFFFFFF
"""Numbers of the blocks of filters at the ports of UDP tunnels: BLOCK, and the lower bits of the TUN device's index."""

ALIAS_MOVED = "wefted moved from "
UDP_FILTER = "wefted udp "
VLAN_FILTER = "wefted vlan "
FILTERS = (UDP_FILTER, VLAN_FILTER)
SUMS_LINKS = ("wefted-sums", "wefted-sums-far")
"""The two ends of the veth on which packets of UDP tunnels are summed (see `udpsums`)."""
TABLE = "wefted"
MARKER_CHAIN = "v_"


def is_our_group(group: int, ns: Netns = HOST) -> bool:
    """Tell whether a link of this group in `ns` is ours; `ip link show group 2003134068` lists them."""
    return group in (LINK_GROUP, DOOMED_GROUP) or (group == HANDED_GROUP and ns == HOST)


def is_our_table(name: str) -> bool:
    return name == TABLE or name.startswith(f"{TABLE}-")


def addresses_have_protocol(release: str = os.uname().release) -> bool:
    """Tell whether this kernel stores IFA_PROTO (since 5.18)."""
    major, _, rest = release.partition(".")
    minor = "".join(c for c in rest.partition(".")[0] if c.isdigit())
    return (int(major), int(minor or 0)) >= (5, 18)
