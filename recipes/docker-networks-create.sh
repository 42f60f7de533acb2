#!/bin/sh
# A network with subnet, range and gateway; containers with an address and an alias of their choice.
set -eu
ip netns add web
ip netns add db

wefted network create shop --subnet 172.28.0.0/16 --ip-range 172.28.5.0/24 --gateway 172.28.5.254
wefted network connect shop netns:web
wefted network connect shop netns:db --ip 172.28.5.10 --alias database
wefted network inspect shop

ip -n web addr show eth0 | grep 'inet 172.28.5.'
ip -n web route show default | grep 'via 172.28.5.254'
ip netns exec web ping -c 1 -W 2 172.28.5.10
wefted dns lookup database.shop

# A network that is in use stays.
! wefted network rm shop
wefted network disconnect shop netns:web netns:db
wefted network rm shop
ip netns del web
ip netns del db
