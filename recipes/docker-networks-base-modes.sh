#!/bin/sh
# The three base modes: bridge, host and none.
set -eu
ip netns add a
ip netns add b

wefted network create usual --driver bridge
wefted network create shared --driver host
wefted network create alone --driver none

wefted network connect usual netns:a
ip -n a link show eth0
# none: loopback, and nothing else
wefted network connect alone netns:b
ip -n b link show lo | grep UP
! ip -n b link show eth0
# host: the container has no namespace of its own to put anything into
wefted network inspect shared

wefted network disconnect usual netns:a
wefted network disconnect alone netns:b
wefted network rm usual shared alone
ip netns del a
ip netns del b
