#!/bin/sh
# Docker's own commands on our driver: subnet and gateway, --net, --ip, a running container that is connected, rm.
set -eu
docker network create -d wefted --ipam-driver wefted --subnet 172.28.0.0/16 --gateway 172.28.0.254 shop
docker network ls --filter driver=wefted --format '{{.Name}}' | grep -x shop

docker run -d --name web --net shop skel
docker run -d --name db --net shop --ip 172.28.5.10 --network-alias database skel
docker exec web ip -4 addr show eth0 | grep 'inet 172.28.'
docker exec web ip route | grep 'default via 172.28.0.254'
docker exec db ip -4 addr show eth0 | grep 'inet 172.28.5.10/16'
docker exec web ping -c 1 -W 2 172.28.5.10
until docker exec web ping -c 1 -W 2 database; do sleep 0.2; done

# One that runs on Docker's own bridge gets a second interface, and loses it again.
docker run -d --name late skel
docker network connect --ip 172.28.5.11 shop late
docker exec late ip -4 addr show eth1 | grep 'inet 172.28.5.11/16'
docker exec web ping -c 1 -W 2 172.28.5.11
docker network disconnect shop late
! docker exec late ip link show eth1

# A network that is in use stays.
! docker network rm shop
docker rm -f web db late
docker network rm shop
until wefted network ls --json | grep -F '[]'; do sleep 0.2; done
