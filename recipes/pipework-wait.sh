#!/bin/sh
# A service that starts before its network waits for it, inside the container.
set -eu
ip netns add web

ip netns exec web pipework --wait &
waiting=$!
pipework br1 web 0/0
wait "$waiting"
# 0/0 gave no address: the container chooses one itself.
ip -n web addr add 192.168.1.1/24 dev eth1

# Waiting may have an end.
! ip netns exec web pipework --wait -i eth9 --timeout 0.2

pipework --detach br1 web
ip netns del web
