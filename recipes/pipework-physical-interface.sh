#!/bin/sh
# A container in the LAN of a network card. Needs: a card eth1, up, in 10.0.0.0/24 with a machine at 10.0.0.1.
set -eu
ip netns add hipache

# By a macvlan, which leaves the card to the host and to others:
pipework eth1 hipache 10.0.0.5/24
ip netns exec hipache ping -c 1 -W 2 10.0.0.1
pipework --detach eth1 hipache

# The card may be named by its MAC:
pipework "mac:$(cat /sys/class/net/eth1/address)" hipache 10.0.0.5/24
ip netns exec hipache ping -c 1 -W 2 10.0.0.1
pipework --detach eth1 hipache

# Or the whole card moves into the container, and comes back:
pipework --direct-phys eth1 hipache 10.0.0.5/24
! ip link show eth1
ip netns exec hipache ping -c 1 -W 2 10.0.0.1
pipework --detach eth1 hipache
ip link show eth1

ip netns del hipache
