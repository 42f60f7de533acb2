#!/bin/sh
# A container that comes back has its interface again: address, MAC and routes.
set -eu
ip netns add web
pipework br1 web 192.168.1.1/24@192.168.1.254 26:2e:71:98:60:01

ip netns del web
ip netns add web
ip netns exec web pipework --wait --timeout 5
ip -n web addr show eth1 | grep 26:2e:71:98:60:01

pipework --detach br1 web
ip netns del web
