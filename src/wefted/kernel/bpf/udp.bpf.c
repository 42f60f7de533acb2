// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// IP packets in UDP, as flannel's backend `udp` sends them: the datagram's payload is one bare IP packet, and nothing else.
//
//   tunnel_out   egress of the TUN device    what the host's stack routes to a peer is wrapped and leaves by the underlay
//   port_out     ingress of a bridge's port  the same for what a container sends, before the bridge has any work with it
//   bridge_out   ingress of the bridge       the same where a port has no such program, before the stack has any work with it
//   underlay_xdp XDP of the underlay         takes the outer headers off before the card's packets are merged (GRO)
//   underlay_in  ingress of the underlay     delivers what XDP has unwrapped, and unwraps itself where there is no XDP
//   sums_in      ingress of a veth           sends on what the kernel has cut and summed there, where the underlay would not
//
// They share their maps. Whatever a program cannot do (too long a packet, a TTL at its end, no neighbour yet, a service of
// the host) it leaves to the kernel's stack, which answers as it always does. See docs/design/udp.md.
//
// Helpers are declared here by their numbers (linux/bpf.h, ___BPF_FUNC_MAPPER), so that nothing but the kernel's own headers is
// needed. No function is called and no global is used: the loader (elf.py) knows maps and straight programs. The kernel lends
// bpf_fib_lookup and bpf_check_mtu to programs under the GPL alone, hence the terms of this file.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>

#define SEC(name) __attribute__((section(name), used))
#define WORDS __attribute__((aligned(8))) // where a MAC is compared: the verifier wants words of the stack in their places
#define INLINE static inline __attribute__((always_inline))
#define htons(x) ((__u16)__builtin_bswap16(x))
#define htonl(x) ((__u32)__builtin_bswap32(x))
#define ntohs(x) htons(x)
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#undef htons
#undef htonl
#define htons(x) ((__u16)(x))
#define htonl(x) ((__u32)(x))
#endif
#define memcpy __builtin_memcpy

static void *(*const map_lookup)(void *map, const void *key) = (void *)1;
static long (*const map_update)(void *map, const void *key, const void *value, __u64 flags) = (void *)2;
static long (*const store_bytes)(struct __sk_buff *skb, __u32 offset, const void *from, __u32 length, __u64 flags) = (void *)9;
static long (*const redirect)(__u32 ifindex, __u64 flags) = (void *)23;
static long (*const load_bytes)(const struct __sk_buff *skb, __u32 offset, void *to, __u32 length) = (void *)26;
static __s64 (*const csum_diff)(void *from, __u32 from_size, void *to, __u32 to_size, __u32 seed) = (void *)28;
static long (*const change_tail)(struct __sk_buff *skb, __u32 length, __u64 flags) = (void *)38;
static long (*const change_head)(struct __sk_buff *skb, __u32 length, __u64 flags) = (void *)43;
static long (*const xdp_adjust_head)(struct xdp_md *xdp, int delta) = (void *)44;
static long (*const adjust_room)(struct __sk_buff *skb, __s32 by, __u32 mode, __u64 flags) = (void *)50;
static long (*const xdp_adjust_meta)(struct xdp_md *xdp, int delta) = (void *)54;
static long (*const fib_lookup)(void *context, struct bpf_fib_lookup *fib, int length, __u32 flags) = (void *)69;
static long (*const redirect_neigh)(__u32 ifindex, void *neighbour, int length, __u64 flags) = (void *)152;
static long (*const redirect_peer)(__u32 ifindex, __u64 flags) = (void *)155;
static long (*const check_mtu)(void *context, __u32 ifindex, __u32 *length, __s32 more, __u64 flags) = (void *)163;

// Newer than the headers of some systems that build this.
#define DECAP_L3_IPV4 (1ULL << 7)
#define DECAP_L3_IPV6 (1ULL << 8)

// Our own form of a map's definition, which the loader reads from the section: type, key, value, entries, flags.
struct definition {
	__u32 type, key_size, value_size, max_entries, flags;
};

struct address { // IPv4 as ::ffff:a.b.c.d
	__u32 word[4];
};
struct prefix {
	__u32 length;
	struct address address;
};
struct owner { // whose an inner address is: ours (`mine`), or that of the peer at `remote`
	__u32 tun;
	__u32 mine;
	struct address remote;
	__u16 port;	// network byte order
	__u16 programs; // learned: its host has programs too, so nobody there misses a checksum
};
struct peer {
	struct address remote;
	__u16 port, padding;
};
struct tunnel {
	__u32 underlay, bridge; // bridge 0: every packet passes the stack
	__u16 port, version;	// version of the underlay's IP: 4 or 6
	struct address local;
	__u32 source;		// IPv4 address of the TUN device, for ICMP; 0 for none
	__u32 native;		// for the loader alone: 1 with underlay_xdp, 2 where the card refused it
	__u32 sums;		// what is wrapped goes by this link, which cuts and sums it; 0: straight to the underlay
	__u8 mac[ETH_ALEN], room[2]; // of the bridge
};
struct port { // where a container's packets came from last: the host's end of its veth, and its own MAC
	__u32 index;
	__u8 mac[ETH_ALEN], room[2];
};

SEC("maps") struct definition owners = {BPF_MAP_TYPE_LPM_TRIE, sizeof(struct prefix), sizeof(struct owner), 65536, BPF_F_NO_PREALLOC};
SEC("maps") struct definition peers = {BPF_MAP_TYPE_HASH, sizeof(struct peer), sizeof(__u32), 65536, BPF_F_NO_PREALLOC};
SEC("maps") struct definition tunnels = {BPF_MAP_TYPE_HASH, sizeof(__u32), sizeof(struct tunnel), 1024, BPF_F_NO_PREALLOC};
// Remote addresses that have spoken to the host itself: what answers them may be translated (a published port), by the stack.
SEC("maps") struct definition spoken = {BPF_MAP_TYPE_LRU_HASH, sizeof(struct address), sizeof(__u32), 16384, 0};
SEC("maps") struct definition ports = {BPF_MAP_TYPE_LRU_HASH, sizeof(struct address), sizeof(struct port), 16384, 0};

#define MARK 0x77656674 // "weft": what XDP has unwrapped carries it in its metadata

struct mark {
	__u32 magic, tun, programs;
};
struct outer4 { // the fields of all of these leave no gaps
	struct iphdr ip;
	struct udphdr udp;
};
struct outer6 {
	struct ipv6hdr ip;
	struct udphdr udp;
};

struct inner {
	struct address source, target;
	__u32 version, ttl, length; // length of the whole packet as its header says it; for IPv4 without options too
};

INLINE struct address mapped(__u32 ip)
{
	struct address a = {{0, 0, 0, ip}};
	a.word[2] = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? 0xffff0000 : 0x0000ffff;
	return a;
}

INLINE struct owner *owner_of(const struct address *address)
{
	struct prefix key = {128, *address};
	return map_lookup(&owners, &key);
}

INLINE int multicast(const struct inner *in) // 224.0.0.0/3; nothing answers what goes to many
{
	return (in->target.word[in->version == 4 ? 3 : 0] & htonl(0xe0000000)) == htonl(0xe0000000);
}

// Read the IP header at `offset`. Returns 0 where there is none that we know.
INLINE int parse(struct __sk_buff *skb, __u32 offset, struct inner *in)
{
	if (skb->protocol == htons(ETH_P_IP)) {
		struct iphdr ip;
		if (load_bytes(skb, offset, &ip, sizeof(ip)) || ip.version != 4)
			return 0;
		*in = (struct inner){mapped(ip.saddr), mapped(ip.daddr), 4, ip.ttl, ntohs(ip.tot_len)};
		return 1;
	}
	if (skb->protocol == htons(ETH_P_IPV6)) {
		struct ipv6hdr ip;
		if (load_bytes(skb, offset, &ip, sizeof(ip)) || ip.version != 6)
			return 0;
		in->version = 6;
		in->ttl = ip.hop_limit;
		in->length = ntohs(ip.payload_len) + sizeof(ip);
		memcpy(&in->source, &ip.saddr, 16);
		memcpy(&in->target, &ip.daddr, 16);
		return 1;
	}
	return 0;
}

// Take `by` from the TTL at `offset`, and correct the checksum of IPv4 (RFC 1624).
INLINE int age(struct __sk_buff *skb, __u32 offset, const struct inner *in, __u32 by)
{
	__u8 ttl = in->ttl - by;
	if (in->version == 6)
		return store_bytes(skb, offset + 7, &ttl, 1, BPF_F_RECOMPUTE_CSUM);
	__u16 check;
	if (load_bytes(skb, offset + 10, &check, 2))
		return -1;
	__u32 sum = check + (__u32)htons(by << 8);
	check = (sum & 0xffff) + (sum >> 16);
	if (store_bytes(skb, offset + 8, &ttl, 1, BPF_F_RECOMPUTE_CSUM))
		return -1;
	return store_bytes(skb, offset + 10, &check, 2, BPF_F_RECOMPUTE_CSUM);
}

INLINE __u16 ip_checksum(struct iphdr *ip)
{
	__u32 sum = csum_diff(0, 0, (void *)ip, sizeof(*ip), 0);
	sum = (sum & 0xffff) + (sum >> 16);
	return ~((sum & 0xffff) + (sum >> 16));
}

// Send wrapped packets on: to the next hop, or first through the veth whose end `sums_in` needs to know the underlay.
INLINE int leave(struct __sk_buff *skb, const struct tunnel *tunnel, const struct owner *to)
{
	if (!tunnel->sums || to->programs)
		return redirect_neigh(tunnel->underlay, 0, 0, 0);
	struct ethhdr eth = {.h_proto = tunnel->version == 4 ? htons(ETH_P_IP) : htons(ETH_P_IPV6)};
	memcpy(eth.h_source, &tunnel->underlay, sizeof(tunnel->underlay));
	if (store_bytes(skb, 0, &eth, sizeof(eth), 0))
		return TC_ACT_SHOT;
	return redirect(tunnel->sums, 0);
}

SEC("classifier") int sums_in(struct __sk_buff *skb)
{
	__u32 underlay;
	if (load_bytes(skb, ETH_ALEN, &underlay, sizeof(underlay)))
		return TC_ACT_SHOT;
	return redirect_neigh(underlay, 0, 0, 0);
}

// Put the outer headers before the inner packet, which begins behind an Ethernet header, and send it to the owner's host.
INLINE int wrap(struct __sk_buff *skb, const struct tunnel *tunnel, const struct owner *to)
{
	__u32 length = skb->len - ETH_HLEN;
	__u64 flags = BPF_F_ADJ_ROOM_ENCAP_L4_UDP | BPF_F_ADJ_ROOM_FIXED_GSO;
	if (tunnel->version == 4) {
		if (adjust_room(skb, sizeof(struct outer4), BPF_ADJ_ROOM_MAC, flags | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4))
			return TC_ACT_SHOT;
		struct outer4 outer = {
			.ip = {.version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_UDP, .frag_off = htons(0x4000),
			       .tot_len = htons(length + sizeof(outer)), .saddr = tunnel->local.word[3], .daddr = to->remote.word[3]},
			.udp = {.source = tunnel->port, .dest = to->port, .len = htons(length + sizeof(struct udphdr))},
		};
		outer.ip.check = ip_checksum(&outer.ip);
		if (store_bytes(skb, ETH_HLEN, &outer, sizeof(outer), 0))
			return TC_ACT_SHOT;
	} else {
		if (adjust_room(skb, sizeof(struct outer6), BPF_ADJ_ROOM_MAC, flags | BPF_F_ADJ_ROOM_ENCAP_L3_IPV6))
			return TC_ACT_SHOT;
		struct outer6 outer = {
			.ip = {.version = 6, .hop_limit = 64, .nexthdr = IPPROTO_UDP, .payload_len = htons(length + sizeof(struct udphdr))},
			.udp = {.source = tunnel->port, .dest = to->port, .len = htons(length + sizeof(struct udphdr))},
		};
		memcpy(&outer.ip.saddr, &tunnel->local, 16);
		memcpy(&outer.ip.daddr, &to->remote, 16);
		if (store_bytes(skb, ETH_HLEN, &outer, sizeof(outer), 0))
			return TC_ACT_SHOT;
	}
	return leave(skb, tunnel, to);
}

// ICMP (RFC 792), net unreachable, from the TUN device's address and into that device, as flannel's proxy answers.
struct unreachable {
	struct iphdr ip;
	__u8 type, code;
	__u16 check;
	__u32 unused;
};

INLINE int refuse(struct __sk_buff *skb, const struct tunnel *tunnel, const struct inner *in)
{
	__u8 protocol = 0, head[28];
	if (in->version != 4 || !tunnel->source || multicast(in) || load_bytes(skb, 9, &protocol, 1) || protocol == IPPROTO_ICMP)
		return TC_ACT_SHOT;
	if (load_bytes(skb, 0, head, sizeof(head)))
		return TC_ACT_SHOT;
	if (change_tail(skb, sizeof(head), 0) || adjust_room(skb, sizeof(struct unreachable), BPF_ADJ_ROOM_MAC, 0))
		return TC_ACT_SHOT;
	struct unreachable answer = {
		.ip = {.version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_ICMP, .tot_len = htons(sizeof(answer) + sizeof(head)),
		       .saddr = tunnel->source, .daddr = in->source.word[3]},
		.type = 3,
		.code = 0,
	};
	answer.ip.check = ip_checksum(&answer.ip);
	__u32 sum = csum_diff(0, 0, (void *)&answer.type, 8, 0);
	sum = csum_diff(0, 0, (void *)head, sizeof(head), sum);
	sum = (sum & 0xffff) + (sum >> 16);
	answer.check = ~((sum & 0xffff) + (sum >> 16));
	if (store_bytes(skb, 0, &answer, sizeof(answer), 0))
		return TC_ACT_SHOT;
	return redirect(skb->ifindex, BPF_F_INGRESS);
}

// What the stack has routed into the TUN device. There is no Ethernet header here.
SEC("classifier") int tunnel_out(struct __sk_buff *skb)
{
	struct inner in = {};
	__u32 tun = skb->ifindex;
	struct tunnel *tunnel = map_lookup(&tunnels, &tun);
	if (!tunnel || !parse(skb, 0, &in))
		return TC_ACT_SHOT;
	struct owner *to = owner_of(&in.target);
	if (!to || to->mine || to->tun != tun)
		return refuse(skb, tunnel, &in);
	if (in.ttl <= 1) // the proxy too drops it in silence
		return TC_ACT_SHOT;
	if (age(skb, 0, &in, 1) || change_head(skb, ETH_HLEN, 0))
		return TC_ACT_SHOT;
	return wrap(skb, tunnel, to);
}

// Wrap what a container sends to a peer's container, unless the host's stack has a say in it.
INLINE int pass_by(struct __sk_buff *skb, const struct inner *in, const struct tunnel *tunnel, const struct owner *to)
{
	if (map_lookup(&spoken, &in->target))
		return TC_ACT_UNSPEC;
	// The kernel takes a length or looks at the pieces, never both; and the length that it knows has our Ethernet header.
	__u32 length = skb->gso_size ? 0 : skb->len - ETH_HLEN;
	if (check_mtu(skb, to->tun, &length, 0, skb->gso_size ? BPF_MTU_CHK_SEGS : 0))
		return TC_ACT_UNSPEC;
	if (age(skb, ETH_HLEN, in, 2)) // once for the router that was skipped, once for the tunnel
		return TC_ACT_SHOT;
	return wrap(skb, tunnel, to);
}

// What the bridge hands to the host, which is to be routed.
SEC("classifier") int bridge_out(struct __sk_buff *skb)
{
	struct inner in = {};
	if (skb->pkt_type != 0 || !parse(skb, ETH_HLEN, &in) || in.ttl <= 2)
		return TC_ACT_UNSPEC;
	struct owner *to = owner_of(&in.target);
	if (!to || to->mine)
		return TC_ACT_UNSPEC;
	struct owner *from = owner_of(&in.source); // a forged source is for the firewall to judge
	if (!from || !from->mine || from->tun != to->tun)
		return TC_ACT_UNSPEC;
	__u32 tun = to->tun;
	struct tunnel *tunnel = map_lookup(&tunnels, &tun);
	if (!tunnel || tunnel->bridge != skb->ifindex)
		return TC_ACT_UNSPEC;
	return pass_by(skb, &in, tunnel, to);
}

INLINE int same_mac(const __u8 *a, const __u8 *b)
{
	return *(__u32 *)a == *(__u32 *)b && *(__u16 *)(a + 4) == *(__u16 *)(b + 4);
}

// What a container sends to the bridge's own MAC. The filter's class is that of the tunnel whose bridge has this port (its lower
// half: the kernel keeps no more), so nobody sends by the tunnel of another network.
SEC("classifier") int port_out(struct __sk_buff *skb)
{
	struct inner in = {};
	struct port now = {.index = skb->ifindex};
	__u8 target[8] WORDS = {};
	if (skb->vlan_present || load_bytes(skb, 0, target, ETH_ALEN) || !parse(skb, ETH_HLEN, &in) || in.ttl <= 2)
		return TC_ACT_UNSPEC;
	struct owner *from = owner_of(&in.source);
	if (!from || !from->mine || (__u16)from->tun != (__u16)skb->tc_classid)
		return TC_ACT_UNSPEC;
	__u32 tun = from->tun;
	struct tunnel *tunnel = map_lookup(&tunnels, &tun);
	if (!tunnel || !tunnel->bridge || !same_mac(tunnel->mac, target) || load_bytes(skb, ETH_ALEN, now.mac, ETH_ALEN))
		return TC_ACT_UNSPEC;
	struct port *known = map_lookup(&ports, &in.source);
	if (!known || known->index != now.index || !same_mac(known->mac, now.mac))
		map_update(&ports, &in.source, &now, BPF_ANY);
	struct owner *to = owner_of(&in.target);
	if (!to || to->mine || to->tun != tun)
		return TC_ACT_UNSPEC;
	return pass_by(skb, &in, tunnel, to);
}

// An inner packet behind an Ethernet header: to the container where nothing else has a say, else to the stack by the TUN device.
// Programs leave the outer UDP checksum out (`programs`), sockets never do: so hosts tell each other without a word.
INLINE int deliver(struct __sk_buff *skb, __u32 tun, __u32 programs)
{
	struct inner in = {};
	if (!parse(skb, ETH_HLEN, &in) || in.ttl <= 1)
		return TC_ACT_SHOT;
	struct owner *from = owner_of(&in.source);
	if (from && from->mine) // nobody else has our containers' addresses
		return TC_ACT_SHOT;
	if (from) {
		tun = from->tun;
		if (from->programs != programs)
			from->programs = programs;
	}
	struct tunnel *tunnel = map_lookup(&tunnels, &tun);
	if (!tunnel)
		return TC_ACT_SHOT;
	struct owner *to = owner_of(&in.target);
	if (tunnel->bridge && from && to && to->mine && to->tun == tun && in.ttl > 2) {
		struct bpf_fib_lookup fib = {.family = in.version == 4 ? 2 : 10, .ifindex = tun};
		if (in.version == 4) {
			fib.ipv4_src = in.source.word[3];
			fib.ipv4_dst = in.target.word[3];
		} else {
			memcpy(fib.ipv6_src, &in.source, 16);
			memcpy(fib.ipv6_dst, &in.target, 16);
		}
		long found = fib_lookup(skb, &fib, sizeof(fib), 0);
		__u32 length = skb->len - ETH_HLEN;
		if (found == BPF_FIB_LKUP_RET_SUCCESS && fib.ifindex == tunnel->bridge &&
		    !check_mtu(skb, tunnel->bridge, &length, 0, 0)) {
			struct ethhdr eth = {.h_proto = skb->protocol};
			__u8 target[8] WORDS = {};
			memcpy(target, fib.dmac, 6);
			memcpy(eth.h_dest, fib.dmac, 6);
			memcpy(eth.h_source, fib.smac, 6);
			if (age(skb, ETH_HLEN, &in, 2) || store_bytes(skb, 0, &eth, sizeof(eth), 0))
				return TC_ACT_SHOT;
			struct port *port = map_lookup(&ports, &in.target);
			length = skb->len - ETH_HLEN;
			// A link that is gone fails the check, as does a container whose MAC is another one now: then the bridge knows.
			if (port && same_mac(port->mac, target) && !check_mtu(skb, port->index, &length, 0, 0))
				return redirect_peer(port->index, 0);
			return redirect(tunnel->bridge, 0);
		}
		if (found == BPF_FIB_LKUP_RET_NOT_FWDED) {
			__u32 yes = 1;
			map_update(&spoken, &in.source, &yes, BPF_ANY);
		}
	}
	if (age(skb, ETH_HLEN, &in, 1))
		return TC_ACT_SHOT;
	return redirect(tun, BPF_F_INGRESS);
}

// Whose peer has sent these outer headers; 0 for nobody's.
INLINE __u32 tunnel_of(const struct address *remote, __u16 port)
{
	struct peer key = {*remote, port, 0};
	__u32 *tun = map_lookup(&peers, &key);
	return tun ? *tun : 0;
}

// What a stranger sends from an address of a peer's block, past the tunnel, to a port of the host: the answer needs the stack.
INLINE int overheard(struct __sk_buff *skb)
{
	struct inner in = {};
	__u32 yes = 1;
	if (parse(skb, ETH_HLEN, &in)) {
		struct owner *from = owner_of(&in.source);
		if (from && !from->mine)
			map_update(&spoken, &in.source, &yes, BPF_ANY);
	}
	return TC_ACT_UNSPEC;
}

SEC("classifier") int underlay_in(struct __sk_buff *skb)
{
	struct mark *mark = (void *)(long)skb->data_meta;
	if ((void *)(mark + 1) <= (void *)(long)skb->data && mark->magic == MARK)
		return deliver(skb, mark->tun, mark->programs);
	__u32 tun, programs;
	__u64 flags = BPF_F_ADJ_ROOM_FIXED_GSO;
	__u8 first;
	if (skb->protocol == htons(ETH_P_IP)) {
		struct outer4 outer;
		if (load_bytes(skb, ETH_HLEN, &outer, sizeof(outer)) || outer.ip.ihl != 5 || outer.ip.protocol != IPPROTO_UDP ||
		    outer.ip.frag_off & htons(0x3fff)) // the stack puts fragments together, and a relay may take them
			return overheard(skb);
		struct address remote = mapped(outer.ip.saddr);
		tun = tunnel_of(&remote, outer.udp.dest);
		if (!tun)
			return overheard(skb);
		if (load_bytes(skb, ETH_HLEN + sizeof(outer), &first, 1))
			return TC_ACT_SHOT;
		if (first >> 4 == 6)
			flags |= DECAP_L3_IPV6;
		programs = !outer.udp.check;
		if (adjust_room(skb, -(int)sizeof(outer), BPF_ADJ_ROOM_MAC, flags))
			return TC_ACT_SHOT;
	} else if (skb->protocol == htons(ETH_P_IPV6)) {
		struct outer6 outer;
		if (load_bytes(skb, ETH_HLEN, &outer, sizeof(outer)) || outer.ip.nexthdr != IPPROTO_UDP)
			return overheard(skb);
		struct address remote;
		memcpy(&remote, &outer.ip.saddr, 16);
		tun = tunnel_of(&remote, outer.udp.dest);
		if (!tun)
			return overheard(skb);
		if (load_bytes(skb, ETH_HLEN + sizeof(outer), &first, 1))
			return TC_ACT_SHOT;
		if (first >> 4 == 4)
			flags |= DECAP_L3_IPV4;
		programs = !outer.udp.check;
		if (adjust_room(skb, -(int)sizeof(outer), BPF_ADJ_ROOM_MAC, flags))
			return TC_ACT_SHOT;
	} else {
		return TC_ACT_UNSPEC;
	}
	return deliver(skb, tun, programs);
}

SEC("xdp") int underlay_xdp(struct xdp_md *xdp)
{
	void *data = (void *)(long)xdp->data, *end = (void *)(long)xdp->data_end;
	struct ethhdr *eth = data;
	__u32 tun, outer, programs;
	__u8 *first;
	if ((void *)(eth + 1) > end)
		return XDP_PASS;
	if (eth->h_proto == htons(ETH_P_IP)) {
		struct outer4 *o = data + ETH_HLEN;
		first = (void *)(o + 1);
		if ((void *)(first + 1) > end || o->ip.ihl != 5 || o->ip.protocol != IPPROTO_UDP || o->ip.frag_off & htons(0x3fff))
			return XDP_PASS;
		struct address remote = mapped(o->ip.saddr);
		tun = tunnel_of(&remote, o->udp.dest);
		outer = sizeof(*o);
		programs = !o->udp.check;
	} else if (eth->h_proto == htons(ETH_P_IPV6)) {
		struct outer6 *o = data + ETH_HLEN;
		first = (void *)(o + 1);
		if ((void *)(first + 1) > end || o->ip.nexthdr != IPPROTO_UDP)
			return XDP_PASS;
		struct address remote;
		memcpy(&remote, &o->ip.saddr, 16);
		tun = tunnel_of(&remote, o->udp.dest);
		outer = sizeof(*o);
		programs = !o->udp.check;
	} else {
		return XDP_PASS;
	}
	if (!tun)
		return XDP_PASS;
	__u8 version = *first >> 4;
	struct ethhdr inner = *eth;
	inner.h_proto = version == 4 ? htons(ETH_P_IP) : htons(ETH_P_IPV6);
	if ((version != 4 && version != 6) || xdp_adjust_meta(xdp, -(int)sizeof(struct mark)))
		return XDP_PASS; // underlay_in sees it once more
	if (xdp_adjust_head(xdp, outer))
		return XDP_DROP;
	data = (void *)(long)xdp->data;
	end = (void *)(long)xdp->data_end;
	struct mark *mark = (void *)(long)xdp->data_meta;
	if (data + sizeof(inner) > end || (void *)(mark + 1) > data)
		return XDP_DROP;
	*(struct ethhdr *)data = inner;
	*mark = (struct mark){MARK, tun, programs};
	return XDP_PASS;
}

SEC("license") const char terms[] = "Dual BSD/GPL";
