#!/bin/sh
# A container that was started without a network joins Docker's own bridge, which stays as it is.
set -eu
# Where Docker runs, docker0 is there already.
made=
[ -e /sys/class/net/docker0 ] || {
  made=yes
  ip link add docker0 type bridge
  ip addr add 172.17.0.1/16 dev docker0
  ip link set docker0 up
}
ip netns add web2

pipework docker0 -i eth0 web2 172.17.0.100/16@172.17.0.1
ip -n web2 route show default | grep 'via 172.17.0.1 dev eth0'
ip netns exec web2 ping -c 1 -W 2 172.17.0.1

pipework --detach docker0 -i eth0 web2
ip netns del web2
[ -z "$made" ] || ip link del docker0
