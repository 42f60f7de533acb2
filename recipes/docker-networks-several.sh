#!/bin/sh
# One container in two networks is the way between those who do not see each other.
set -eu
ip netns add front
ip netns add proxy
ip netns add back

wefted network create outer --subnet 172.29.1.0/24
wefted network create inner --subnet 172.29.2.0/24
wefted network connect outer netns:front
wefted network connect outer netns:proxy
wefted network connect inner netns:back
wefted network connect inner netns:proxy --ip 172.29.2.9

ip netns exec proxy ping -c 1 -W 2 172.29.1.2
ip netns exec proxy ping -c 1 -W 2 172.29.2.2
! ip netns exec front ping -c 1 -W 1 172.29.2.2

wefted network disconnect inner netns:proxy
! ip netns exec back ping -c 1 -W 1 172.29.2.9

wefted network disconnect outer netns:front netns:proxy
wefted network disconnect inner netns:back
wefted network prune
ip netns del front
ip netns del proxy
ip netns del back
