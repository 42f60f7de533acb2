#!/bin/sh
# Flannel, etcd and Docker on two hosts, as the classic walk-throughs have it: docker0 gets the subnet of each host.
set -eu
lab=${LAB:-flannel-vxlan}
on() { host=$1; shift; wefted lab exec --name "$lab" "$host" -- "$@"; }
trap 'wefted lab down --name "$lab"' EXIT
wefted lab up --name "$lab" --hosts 2 --bare --docker
etcd=http://192.168.50.1:2379

# Host 1: etcd, with the configuration of the network in it.
on h1 sh -c "etcd --data-dir /var/lib/etcd --listen-client-urls $etcd --advertise-client-urls $etcd \
  --listen-peer-urls http://127.0.0.1:2380 >/var/log/etcd.log 2>&1 &"
until on h1 etcdctl --endpoints $etcd endpoint health; do sleep 0.2; done
on h1 etcdctl --endpoints $etcd put /atomic.io/network/config \
  '{"Network": "10.5.0.0/16", "SubnetLen": 24, "Backend": {"Type": "vxlan"}}'

for host in h1 h2; do
  # flanneld and mk-docker-opts.sh are wefted under their old names.
  on $host mkdir -p /run/classics
  on $host wefted compat install /run/classics
  on $host sh -c "/run/classics/flanneld -etcd-endpoints=$etcd -etcd-prefix=/atomic.io/network -iface=eth0 \
    >/var/log/flanneld.log 2>&1 & echo \$! >/run/flanneld.pid"
  on $host sh -c 'until [ -s /run/flannel/subnet.env ]; do sleep 0.1; done; cat /run/flannel/subnet.env'
  on $host /run/classics/mk-docker-opts.sh -k DOCKER_NETWORK_OPTIONS -d /run/flannel/docker

  # Docker starts again, with the host's subnet on docker0.
  on $host sh -c 'pid=$(cat /run/docker.pid); kill $pid; while kill -0 $pid 2>/dev/null; do sleep 0.1; done'
  on $host ip link del docker0
  on $host sh -c '. /run/flannel/docker; dockerd $DOCKER_NETWORK_OPTIONS >/var/log/dockerd.log 2>&1 &'
  on $host sh -c 'until docker info >/dev/null 2>&1; do sleep 0.1; done'
  on $host sh -c '. /run/flannel/subnet.env; ip addr show docker0 | grep "inet $FLANNEL_SUBNET"'

  # "Ping does not go through": Docker's policy for FORWARD is DROP. DOCKER-USER is where others may say otherwise.
  on $host iptables -S FORWARD | grep -e '-P FORWARD DROP'
  on $host sh -c 'until iptables -S DOCKER-USER | grep "s 10.5.0.0/16 -d 10.5.0.0/16 .* wefted -j ACCEPT"; do sleep 0.2; done'

  on $host docker run -d --name web -v /usr:/usr:ro -v /etc/alternatives:/etc/alternatives:ro skel \
    python3 -m http.server --directory /usr/share 80
done

# What flannel shows: one device, and for each other host a route, a permanent neighbour and a forwarding entry.
on h1 ip -d link show flannel.1 | grep 'vxlan id 1 local 192.168.50.1 dev eth0 .* dstport 8472 nolearning'
on h1 ip route | grep '^10.5.*/24 via 10.5.* dev flannel.1 .*onlink'
on h1 ip neigh show dev flannel.1 | grep PERMANENT
on h1 bridge fdb show dev flannel.1 | grep 'dst 192.168.50.2'
on h1 etcdctl --endpoints $etcd get --prefix /atomic.io/network/subnets | grep VtepMAC

# Containers of both hosts reach each other: two routers on the way, and no address is hidden.
other=$(on h2 docker inspect -f '{{.NetworkSettings.IPAddress}}' web)
until on h1 docker exec web ping -c 1 -W 1 "$other"; do sleep 0.2; done
on h1 docker exec web ping -c 1 -W 2 "$other" | grep 'ttl=62'
on h1 docker exec web ping -c 1 -W 2 -M do -s 1422 "$other"
on h1 docker exec web curl -sSf --max-time 5 "http://$other/" | grep 'Directory listing'

# A host that is started again has its subnet again.
before=$(on h2 cat /run/flannel/subnet.env)
on h2 sh -c 'pid=$(cat /run/flanneld.pid); kill $pid; while kill -0 $pid 2>/dev/null; do sleep 0.1; done'
on h1 docker exec web ping -c 1 -W 2 "$other"
on h2 sh -c "/run/classics/flanneld -etcd-endpoints=$etcd -etcd-prefix=/atomic.io/network -iface=eth0 \
  >>/var/log/flanneld.log 2>&1 &"
on h2 sh -c 'until [ -S /run/wefted/wefted.sock ]; do sleep 0.1; done'
[ "$(on h2 cat /run/flannel/subnet.env)" = "$before" ]
