#!/bin/sh
# Hosts that run wefted join a network of flannel's: any container gets into it, and every host sees every other.
set -eu
lab=${LAB:-flannel-join}
on() { host=$1; shift; wefted lab exec --name "$lab" "$host" -- "$@"; }
trap 'wefted lab down --name "$lab"' EXIT
wefted lab up --name "$lab" --hosts 4
etcd=http://192.168.50.254:2379

on h1 etcdctl --endpoints $etcd put /coreos.com/network/config \
  '{"Network": "10.7.0.0/16", "Backend": {"Type": "vxlan", "DirectRouting": true}}'
for host in h1 h2 h3 h4; do
  on $host wefted flannel join --masquerade
  on $host sh -c 'until [ -s /run/flannel/subnet.env ]; do sleep 0.1; done; cat /run/flannel/subnet.env'
  on $host ip netns add c1
  on $host wefted network connect flannel netns:c1
done
on h1 wefted flannel ls
on h1 wefted ps

for host in h2 h3 h4; do
  other=$(on $host ip -n c1 -4 -o addr show eth0 | sed 's,.*inet \([0-9.]*\)/.*,\1,')
  until on h1 ip netns exec c1 ping -c 1 -W 1 "$other"; do sleep 0.2; done
done
on h1 ip route | grep '^10.7.*/24 via 192.168.50.* dev eth0'

on h4 wefted network disconnect flannel netns:c1
on h4 wefted flannel leave flannel
until [ "$(on h1 ip route | grep -c '^10.7.*/24 via')" = 2 ]; do sleep 0.2; done
