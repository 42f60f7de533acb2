// A peer for flannel's backend `udp`, written from the wire format alone: what programs in the kernel are measured against, and
// what the tests speak with. One thread, no batches: each packet is one read and one write, as the format's own proxy does it.
//
//   udp_proxy TUN LOCAL PORT SOURCE NETWORK/LENGTH=REMOTE...
//
// Reads bare IPv4 packets from the TUN device, takes one from the TTL, sends them from LOCAL:PORT to REMOTE:PORT; and back.
// Packets to nowhere are answered by ICMP net unreachable from SOURCE, unless they are ICMP. Prints "ready".
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

struct route {
	uint32_t network, mask;
	struct sockaddr_in remote;
};

static struct route routes[4096];
static int count;
static uint32_t source;
static unsigned char packet[65536];

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static uint16_t checksum(const void *data, size_t length)
{
	const uint16_t *words = data;
	uint32_t sum = 0;
	for (size_t i = 0; i < length / 2; i++)
		sum += words[i];
	sum = (sum & 0xffff) + (sum >> 16);
	return ~((sum & 0xffff) + (sum >> 16));
}

static int age(struct iphdr *ip)
{
	if (ip->ttl <= 1)
		return 0;
	ip->ttl--;
	uint32_t sum = ip->check + htons(0x0100);
	ip->check = sum + (sum >= 0xffff);
	return 1;
}

static void refuse(int tun, const struct iphdr *about)
{
	struct {
		struct iphdr ip;
		uint8_t type, code;
		uint16_t check;
		uint32_t unused;
		unsigned char head[28];
	} answer = {.ip = {.version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_ICMP, .tot_len = htons(sizeof(answer))}, .type = 3};
	if (about->protocol == IPPROTO_ICMP)
		return;
	answer.ip.saddr = source;
	answer.ip.daddr = about->saddr;
	answer.ip.check = checksum(&answer.ip, sizeof(answer.ip));
	memcpy(answer.head, about, sizeof(answer.head));
	answer.check = checksum(&answer.type, 8 + sizeof(answer.head));
	if (write(tun, &answer, sizeof(answer)) < 0)
		perror("write");
}

static int outward(int tun, int sock)
{
	ssize_t length = read(tun, packet, sizeof(packet));
	struct iphdr *ip = (struct iphdr *)packet;
	if (length < 0)
		return 0;
	if (length < (ssize_t)sizeof(*ip) || ip->version != 4)
		return 1;
	for (int i = 0; i < count; i++) {
		if ((ip->daddr & routes[i].mask) != routes[i].network)
			continue;
		if (age(ip))
			while (sendto(sock, packet, length, 0, (struct sockaddr *)&routes[i].remote, sizeof(routes[i].remote)) < 0 &&
			       errno == EAGAIN)
				;
		return 1;
	}
	refuse(tun, ip);
	return 1;
}

static int inward(int tun, int sock)
{
	ssize_t length = recv(sock, packet, sizeof(packet), 0);
	if (length < 0)
		return errno != EAGAIN;
	if (length >= (ssize_t)sizeof(struct iphdr) && age((struct iphdr *)packet) && write(tun, packet, length) < 0 && errno != EINVAL)
		perror("write");
	return 1;
}

static int open_tun(const char *name)
{
	struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	strncpy(request.ifr_name, name, IFNAMSIZ - 1);
	if (fd < 0 || ioctl(fd, TUNSETIFF, &request) < 0)
		fail(name);
	return fd;
}

static void add(char *word, uint16_t port)
{
	char *remote = strchr(word, '='), *length = strchr(word, '/');
	if (!remote || !length || count == sizeof(routes) / sizeof(routes[0]))
		exit(2);
	*remote++ = *length++ = 0;
	struct route *route = &routes[count++];
	int bits = atoi(length);
	route->mask = bits ? htonl(~0u << (32 - bits)) : 0;
	route->network = inet_addr(word) & route->mask;
	route->remote = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = port, .sin_addr.s_addr = inet_addr(remote)};
}

int main(int words, char **word)
{
	if (words < 5)
		return 2;
	struct sockaddr_in local = {.sin_family = AF_INET, .sin_port = htons(atoi(word[3])), .sin_addr.s_addr = inet_addr(word[2])};
	source = inet_addr(word[4]);
	for (int i = 5; i < words; i++)
		add(word[i], local.sin_port);
	int tun = open_tun(word[1]), sock = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (sock < 0 || bind(sock, (struct sockaddr *)&local, sizeof(local)) < 0)
		fail("socket");
	puts("ready");
	fflush(stdout);
	struct pollfd both[] = {{.fd = tun, .events = POLLIN}, {.fd = sock, .events = POLLIN}};
	for (;;) {
		if (poll(both, 2, -1) < 0 && errno != EINTR)
			fail("poll");
		while (outward(tun, sock) + inward(tun, sock)) // an EAGAIN now and then is cheaper than another poll
			;
	}
}
