"""The one nft table, whose text never changes: everything that depends on networks and containers is an element of a set.

So the path of a packet is the same length with one published port and with 5,000, and one more port is one element.

- `networks`: every subnet whose gateway is a host; `internal`, `open` (not isolated), `exposed`, `masquerade`: some of these.
- `overlay`: subnets that are masqueraded by flannel's rules (flannel's `iptables.masqRules`), in its order: what others have
  marked with 0x4000 is left alone, what stays inside too, what comes for this host's own blocks (`blocks`) too; the rest that
  leaves, or that enters from a stranger on its way to a container of another host, gets this host's address.
- `together`: pairs of subnets of one network; between them nothing is filtered.
- `tunnels`: tunnels of ours with a name of the user's choice; all others begin with `vx-`.
- `unrouted`: a bridge whose network has no subnets, twice: no route tells where its containers are.
- `asking`: containers whose engine passes on what it cannot answer; `resolvers`: the servers to which it does.
- `published_any`: protocol and port -> container and port, on every address of the host; `published_one`: on one address.
- `publish_from`: who may use them from outside; those in `limited_any`, `limited_one` are for whom `sources_any`, `sources_one`
  name beside them. What comes from others is not translated: so the port is what it would be without us, and no packet that
  somebody else has translated can be meant. The host itself, whoever comes by a link of ours, and our guests in a bridge of
  somebody else's are asked nothing.
- `gate`: where the others pass that may use a port so far. On a host with firewalld the kernel room writes before its rule what
  firewalld says of packets to the host, so that a port is open as it would be for a program of the host (adr 25).

A line with `{ip}` or `{v}` stands for two, one for each IP version. What is easily got wrong:

- Bridged frames pass the forward hook as well where br_netfilter is on, so traffic inside a network, multicast and broadcast
  are accepted before anything is dropped, and what connection tracking calls invalid is treated as everything else.
- A packet that comes in by a link of ours, or from an address of ours, must come in where answers to it go out: else a forged
  source would pass for a neighbour. Not so by a tunnel, which may bring strangers to an exposed network.
- `route_localnet` lets the host send from 127.0.0.1 to a container; `guard` lets no container send to 127.0.0.1 of the host.
  IPv6 has nothing of the kind: answers never find back to ::1, so it refuses at once, and clients go on to 127.0.0.1.
- The host is in a network by its first bridge. By the further ones (`bx-`) it would hear each broadcast a second time, so
  nothing comes in there. Where br_netfilter is on, their frames are neither tracked nor judged: what leaves such a bridge
  comes by the first one, which does both. Tracked in both, a connection would have no translation, for the first look decides.
"""

from __future__ import annotations

from wefted.model.firewall import NftTable
from wefted.model.link import LINK_GROUP

_FAMILIES = (
    {"ip": "ip", "v": "4", "addr": "ipv4_addr", "many": "{ 224.0.0.0/4, 255.255.255.255 }"},
    {"ip": "ip6", "v": "6", "addr": "ipv6_addr", "many": "{ ff00::/8 }"},
)

_TEXT = """
set networks{v} {{ type {addr}; flags interval; }}
set internal{v} {{ type {addr}; flags interval; }}
set open{v} {{ type {addr}; flags interval; }}
set exposed{v} {{ type {addr}; flags interval; }}
set masquerade{v} {{ type {addr}; flags interval; }}
set together{v} {{ type {addr} . {addr}; flags interval; }}
set asking{v} {{ type {addr}; }}
set resolvers{v} {{ type {addr}; }}
set overlay{v} {{ type {addr}; flags interval; }}
set blocks{v} {{ type {addr}; flags interval; }}
set tunnels {{ type ifname; }}
set unrouted {{ type ifname . ifname; }}
map published_one{v} {{ type {addr} . inet_proto . inet_service : {addr} . inet_service; }}
map published_any{v} {{ type inet_proto . inet_service : {addr} . inet_service; }}
set publish_from{v} {{ type {addr}; flags interval; }}
set limited_one{v} {{ type {addr} . inet_proto . inet_service; }}
set limited_any{v} {{ type inet_proto . inet_service; }}
set sources_one{v} {{ type {addr} . inet_proto . inet_service . {addr}; flags interval; }}
set sources_any{v} {{ type inet_proto . inet_service . {addr}; flags interval; }}

chain guard {{
    type filter hook prerouting priority raw; policy accept;
    iifgroup {group} ip daddr 127.0.0.0/8 drop
    iifgroup {group} iifname "bx-*" notrack
}}

chain input {{
    type filter hook input priority filter; policy accept;
    iifgroup {group} iifname "bx-*" drop
}}

chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    {ip} saddr @asking{v} {ip} daddr @resolvers{v} meta l4proto {{ tcp, udp }} th dport 53 redirect
    fib daddr type != local return
    iifgroup {group} goto published
    {ip} saddr @masquerade{v} fib saddr . iif oif exists goto published
    {ip} daddr . meta l4proto . th dport . {ip} saddr @sources_one{v} goto gate
    meta l4proto . th dport . {ip} saddr @sources_any{v} goto gate
    {ip} daddr . meta l4proto . th dport @limited_one{v} return
    meta l4proto . th dport @limited_any{v} return
    {ip} saddr @publish_from{v} goto gate
}}

chain output {{
    type nat hook output priority -100; policy accept;
    ip6 daddr ::1 return
    fib daddr type local goto published
}}

chain gate {{
    goto published
}}

chain published {{
    dnat {ip} to {ip} daddr . meta l4proto . th dport map @published_one{v}
    dnat {ip} to meta l4proto . th dport map @published_any{v}
}}

chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ct status dnat {ip} saddr . {ip} daddr @together{v} masquerade
    meta mark & 0x00004000 == 0x00004000 {ip} saddr @overlay{v} return
    meta mark & 0x00004000 == 0x00004000 {ip} daddr @overlay{v} return
    {ip} saddr . {ip} daddr @together{v} return
    ip saddr 127.0.0.0/8 ip daddr @networks4 masquerade
    {ip} saddr @overlay{v} {ip} daddr != @networks{v} {ip} daddr != {many} masquerade fully-random
    {ip} daddr @overlay{v} {ip} daddr != @blocks{v} masquerade fully-random
    {ip} saddr @masquerade{v} {ip} daddr != @networks{v} {ip} daddr != {many} masquerade
}}

chain forward {{
    type filter hook forward priority filter; policy accept;
    iifgroup {group} iifname "bx-*" oifname "bx-*" accept
    ct state established,related accept
    {ip} daddr {many} accept
    ip6 saddr fe80::/10 accept
    ip6 daddr fe80::/10 accept
    iifname . oifname @unrouted accept
    iifgroup {group} iifname != "vx-*" iifname != @tunnels fib saddr . iif oif missing drop
    {ip} saddr @networks{v} {ip} daddr @networks{v} fib saddr . iif oif missing drop
    {ip} saddr . {ip} daddr @together{v} accept
    {ip} saddr @internal{v} drop
    {ip} daddr @internal{v} drop
    ct status dnat accept
    {ip} saddr @open{v} {ip} daddr @open{v} accept
    {ip} saddr @networks{v} {ip} daddr @networks{v} drop
    {ip} daddr @networks{v} {ip} daddr != @exposed{v} drop
}}
"""


def _both(text: str) -> str:
    """Write each line that names a family once for each of the two."""
    lines: list[str] = []
    for line in text.strip().splitlines():
        families = _FAMILIES if "{ip}" in line or "{v}" in line else _FAMILIES[:1]
        lines += [line.format(group=LINK_GROUP, **family) for family in families]
    return "\n".join(lines)


TABLE = NftTable(body=_both(_TEXT), gate="gate", admitted="published")
