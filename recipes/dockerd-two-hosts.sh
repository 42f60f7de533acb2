#!/bin/sh
# Two daemons share one subnet by --bridge and --fixed-cidr, and the bridges are joined by us: no physical port is needed.
# On each of two hosts, N being 1 and 2:  sh dockerd-two-hosts.sh up N;  then check N;  then down N
set -eu
step=$1
number=$2
other=$((3 - number))

address_of() { wefted ps | grep "$1 " | grep -o '10\.96\.[0-9.]*' | head -n 1; }

case $step in
up)
  # Addresses in the lower half are ours, each daemon has a /24 of the upper one. Docker begins at the first address of its
  # range, which is an address like any other here: the prefix is that of the whole subnet.
  [ "$number" = 2 ] || wefted network create shared -o name=newbridge --backend vxlan -o layer=2 --subnet 10.96.0.0/16 --ip-range 10.96.0.0/17
  until wefted network inspect shared >/dev/null; do sleep 0.2; done
  # The bridge is there with the first container; this one also shows that both kinds reach each other.
  ip netns add "own$number"
  wefted network connect shared "netns:own$number"
  dockerd --bridge=newbridge --fixed-cidr="10.96.20$number.0/24" --mtu="$(cat /sys/class/net/newbridge/mtu)" </dev/null >>/var/log/dockerd.log 2>&1 &
  until docker info >/dev/null 2>&1; do sleep 0.2; done
  docker run -d --name "c$number" skel
  docker exec "c$number" ip -4 addr show eth0 | grep "inet 10.96.20$number."
  ;;
check)
  until docker exec "c$number" ping -c 1 -W 1 "10.96.20$other.0"; do sleep 0.2; done
  until docker exec "c$number" ping -c 1 -W 1 "$(address_of "netns:own$other")"; do sleep 0.2; done
  until ip netns exec "own$number" ping -c 1 -W 1 "10.96.20$other.0"; do sleep 0.2; done
  ;;
down)
  docker rm -f "c$number"
  kill "$(cat /run/docker.pid)"
  while [ -e /run/docker.pid ]; do sleep 0.2; done
  wefted network disconnect shared "netns:own$number"
  ip netns del "own$number"
  [ "$number" = 1 ] || wefted network rm shared
  ;;
esac
