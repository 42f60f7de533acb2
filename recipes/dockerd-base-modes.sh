#!/bin/sh
# Docker's three base modes, bridge, host and none; and what wefted adds to a container of each.
set -eu
docker run -d --name usual --net bridge skel
docker run -d --name shared --net host skel
docker run -d --name alone --net none skel

docker exec usual ip -4 addr show eth0 | grep 'inet 172.17.'
[ "$(docker exec shared ip -4 addr show eth0)" = "$(busybox ip -4 addr show eth0)" ]
[ "$(docker exec alone ip -o link | wc -l)" = 1 ]

wefted network create shop --subnet 172.29.0.0/16
wefted network connect shop docker:usual
wefted network connect shop docker:alone
docker exec usual ip -4 addr show weft0 | grep 'inet 172.29.'
docker exec usual ip route | grep 'default via 172.17.0.1 dev eth0'
docker exec alone ip route | grep 'default via 172.29.0.1 dev weft0'
docker exec alone ping -c 1 -W 2 172.29.0.1
# host: the container has no namespace of its own to put anything into
! wefted network connect shop docker:shared

docker rm -f usual shared alone
wefted network disconnect shop docker:usual docker:alone
wefted network rm shop
