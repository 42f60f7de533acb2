#!/bin/sh
# flannel, etcd and Docker as the texts of the Fedora and CentOS packages have it: the API v2 of etcd, udp, flannel0.
set -eu
lab=${LAB:-flannel-etcd-v2}
on() { host=$1; shift; wefted lab exec --name "$lab" "$host" -- "$@"; }
trap 'wefted lab down --name "$lab"' EXIT
wefted lab up --name "$lab" --hosts 2 --bare --docker
etcd=http://192.168.50.1:2379

# Host 1: etcd. Before 3.4 it served this API without being told, and etcdctl spoke it.
on h1 sh -c "etcd --enable-v2 --data-dir /var/lib/etcd --listen-client-urls $etcd,http://127.0.0.1:2379 \
  --advertise-client-urls $etcd --listen-peer-urls http://127.0.0.1:2380 >/var/log/etcd.log 2>&1 &"
export ETCDCTL_API=2
until on h1 etcdctl cluster-health; do sleep 0.2; done
on h1 etcdctl mk /atomic.io/network/config '{"Network":"10.1.0.0/16"}'
on h1 curl -sSf -L http://127.0.0.1:2379/v2/keys/atomic.io/network/config | grep '"action":"get"'

for host in h1 h2; do
  # flanneld and mk-docker-opts.sh are wefted under their old names; the rest is what the packages bring.
  on $host mkdir -p /run/classics /etc/sysconfig
  on $host wefted compat install /run/classics
  on $host sh -c "echo 'FLANNEL_ETCD=\"$etcd\"
FLANNEL_ETCD_KEY=\"/atomic.io/network\"
FLANNEL_OPTIONS=\"-iface=eth0\"' >/etc/sysconfig/flanneld"
  on $host sh -c '/run/classics/flanneld >/var/log/flanneld.log 2>&1 & echo $! >/run/flanneld.pid'
  on $host sh -c 'until [ -s /run/flannel/subnet.env ]; do sleep 0.1; done; cat /run/flannel/subnet.env'
  on $host /run/classics/mk-docker-opts.sh -k DOCKER_NETWORK_OPTIONS -d /run/flannel/docker

  # Docker starts again, with the host's subnet on docker0.
  on $host sh -c 'pid=$(cat /run/docker.pid); kill $pid; while kill -0 $pid 2>/dev/null; do sleep 0.1; done'
  on $host ip link del docker0
  on $host sh -c '. /run/flannel/docker; dockerd $DOCKER_NETWORK_OPTIONS >/var/log/dockerd.log 2>&1 &'
  on $host sh -c 'until docker info >/dev/null 2>&1; do sleep 0.1; done'
  on $host sh -c '. /run/flannel/subnet.env; ip addr show docker0 | grep "inet $FLANNEL_SUBNET"'
  on $host docker run -d --name web -v /usr:/usr:ro -v /etc/alternatives:/etc/alternatives:ro skel \
    python3 -m http.server --directory /usr/share 80
done

# What the texts show: the device with the address of the subnet, the way to all the others, and the records.
on h1 ip addr show flannel0 | grep 'inet 10.1.*.0/32'
on h1 ip route | grep '^10.1.0.0/16 dev flannel0'
[ "$(on h1 etcdctl ls /atomic.io/network/subnets | grep -c '^/atomic.io/network/subnets/10.1.*.0-24$')" = 2 ]
subnet=$(on h2 sh -c '. /run/flannel/subnet.env; echo ${FLANNEL_SUBNET%.1/24}.0-24')
[ "$(on h1 etcdctl get "/atomic.io/network/subnets/$subnet")" = '{"PublicIP":"192.168.50.2"}' ]
on h1 wefted flannel ls

# Containers of both hosts reach each other.
other=$(on h2 docker inspect -f '{{.NetworkSettings.IPAddress}}' web)
until on h1 docker exec web ping -c 1 -W 1 "$other"; do sleep 0.2; done
on h1 docker exec web curl -sSf --max-time 5 "http://$other/" | grep 'Directory listing'

# A record that is deleted is written again, and the containers go on.
on h1 etcdctl rm "/atomic.io/network/subnets/$subnet"
until on h1 etcdctl get "/atomic.io/network/subnets/$subnet"; do sleep 0.2; done
on h1 docker exec web ping -c 1 -W 2 "$other"
