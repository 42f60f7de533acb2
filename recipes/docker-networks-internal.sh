#!/bin/sh
# A network without a way out: its containers reach each other, and nobody else.
set -eu
ip netns add a
ip netns add b

wefted network create secret --internal --subnet 172.30.0.0/24
wefted network connect secret netns:a
wefted network connect secret netns:b
ip netns exec a ping -c 1 -W 2 172.30.0.3
[ -z "$(ip -n a route show default)" ]

# Ports of an internal network are not published.
! wefted publish netns:a 8080:80

wefted network disconnect secret netns:a netns:b
wefted network rm secret
ip netns del a
ip netns del b
