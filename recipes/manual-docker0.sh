#!/bin/sh
# By hand, it takes ten commands: a container without a network gets a cable to docker0, a free address, the name eth0, a
# default route, its way out and a port of the host. Here it takes two, and the bridge stays as it is.
set -eu
made=
[ -e /sys/class/net/docker0 ] || {
  made=yes
  ip link add docker0 type bridge
  ip addr add 172.17.0.1/16 dev docker0
  ip link set docker0 up
}
ip netns add web2

# Docker hands out addresses from the low end, so ours come from the upper half.
wefted network create old -o bridge=docker0 --subnet 172.17.0.0/16 --gateway 172.17.0.1 --ip-range 172.17.128.0/17
wefted network connect old netns:web2 --ifname eth0 --publish 32001:80
wefted ps
wefted ps --ports

ip netns exec web2 ping -c 1 -W 2 172.17.0.1
ip -n web2 route show default | grep 'via 172.17.0.1 dev eth0'

wefted network disconnect old netns:web2
wefted network rm old
ip netns del web2
[ -z "$made" ] || ip link del docker0
