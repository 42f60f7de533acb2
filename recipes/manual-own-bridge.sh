#!/bin/sh
# A bridge of your own, with your name and your subnet, instead of docker0.
set -eu
ip netns add web1
ip netns add web2

wefted network create mine -o name=mybridge1 --subnet 192.168.100.0/24 --gateway 192.168.100.1
wefted network connect mine netns:web1
wefted network connect mine netns:web2
ip addr show mybridge1 | grep 192.168.100.1/24
ip netns exec web1 ping -c 1 -W 2 192.168.100.3

# A bridge that somebody else made will do as well; it gets ports, and is not changed.
ip link add mybridge2 type bridge
ip addr add 192.168.101.1/24 dev mybridge2
ip link set mybridge2 up
wefted network create theirs -o bridge=mybridge2 --subnet 192.168.101.0/24 --gateway 192.168.101.1
wefted network connect theirs netns:web1
ip netns exec web1 ping -c 1 -W 2 192.168.101.1

wefted network disconnect theirs netns:web1
wefted network disconnect mine netns:web1 netns:web2
wefted network rm theirs mine
ip link del mybridge2
ip netns del web1
ip netns del web2
