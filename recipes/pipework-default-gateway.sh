#!/bin/sh
# A default gateway behind the address, also one that lies outside of the prefix. The route of before comes back.
set -eu
ip netns add web
ip netns add router

pipework br1 -i eth0 web 10.8.0.2/24@10.8.0.1
ip -n web route show default

pipework br2 router 192.168.4.1/20
pipework br2 web 192.168.4.25/20@192.168.4.1
ip -n web route get 192.0.2.1 | grep 'via 192.168.4.1 dev eth1'

# A gateway that no prefix holds is reached on the link.
pipework br2 -i eth2 router 10.99.0.1/32
pipework br2 -i eth2 web 192.168.5.25/20@10.99.0.1
ip -n web route get 192.0.2.1 | grep 'via 10.99.0.1 dev eth2'

pipework --detach br2 -i eth2 web
pipework --detach br2 -i eth1 web
ip -n web route get 192.0.2.1 | grep 'via 10.8.0.1 dev eth0'

pipework --detach br1 -i eth0 web
pipework --detach br2 -i eth1 router
pipework --detach br2 -i eth2 router
ip netns del web
ip netns del router
