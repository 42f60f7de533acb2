#!/bin/sh
# Two containers on a private network of their own, which the host can look into.
set -eu
ip netns add apache
ip netns add mysql

# The first call makes the bridge br1 ...
pipework br1 apache 192.168.1.1/24
# ... the second one finds it.
pipework br1 mysql 192.168.1.2/24
ip netns exec apache ping -c 1 -W 2 192.168.1.2

# What was attached, and the network that it belongs to:
wefted ps
wefted network ls

# The host joins in by an address on the bridge.
ip addr add 192.168.1.254/24 dev br1
ping -c 1 -W 2 192.168.1.1
ip addr del 192.168.1.254/24 dev br1

# Back to where we were. The bridge goes with its last container.
pipework --detach br1 apache
pipework --detach br1 mysql
ip netns del apache
ip netns del mysql
