#!/bin/sh
# Three hosts with host-gw, and docker0 left alone: a network of Docker's own on the subnet that flannel gave.
set -eu
lab=${LAB:-flannel-network}
on() { host=$1; shift; wefted lab exec --name "$lab" "$host" -- "$@"; }
trap 'wefted lab down --name "$lab"' EXIT
wefted lab up --name "$lab" --hosts 3 --bare --docker
etcd=http://192.168.50.1:2379

on h1 sh -c "etcd --data-dir /var/lib/etcd --listen-client-urls $etcd --advertise-client-urls $etcd \
  --listen-peer-urls http://127.0.0.1:2380 >/var/log/etcd.log 2>&1 &"
until on h1 etcdctl --endpoints $etcd endpoint health; do sleep 0.2; done
on h1 etcdctl --endpoints $etcd put /coreos.com/network/config \
  '{"Network": "10.6.0.0/16", "SubnetMin": "10.6.10.0", "SubnetMax": "10.6.99.0", "Backend": {"Type": "host-gw"}}'

for host in h1 h2 h3; do
  on $host mkdir -p /run/classics
  on $host wefted compat install /run/classics
  # The options may stand where the packages of Fedora have them.
  on $host sh -c "mkdir -p /etc/sysconfig; echo 'FLANNEL_ETCD_ENDPOINTS=\"$etcd\"
FLANNEL_ETCD_PREFIX=\"/coreos.com/network\"
FLANNEL_OPTIONS=\"-ip-masq -iface=eth0\"' >/etc/sysconfig/flanneld"
  on $host sh -c '/run/classics/flanneld >/var/log/flanneld.log 2>&1 &'
  on $host sh -c 'until [ -s /run/flannel/subnet.env ]; do sleep 0.1; done; grep FLANNEL_MTU=1500 /run/flannel/subnet.env'
  on $host sh -c '. /run/flannel/subnet.env; docker network create --subnet $FLANNEL_SUBNET --gateway ${FLANNEL_SUBNET%/*} \
    -o com.docker.network.driver.mtu=$FLANNEL_MTU -o com.docker.network.bridge.enable_ip_masquerade=false flannel'
  on $host docker run -d --name web --network flannel skel
done

# Plain routes, one for each other host, and nothing is wrapped.
until [ "$(on h1 ip route | grep -c '^10.6.*/24 via 192.168.50.* dev eth0')" = 2 ]; do sleep 0.2; done
on h1 ip route
for host in h2 h3; do
  other=$(on $host docker inspect -f '{{.NetworkSettings.Networks.flannel.IPAddress}}' web)
  until on h1 docker exec web ping -c 1 -W 1 "$other"; do sleep 0.2; done
  on h1 docker exec web ping -c 1 -w 2 "$other" | grep 'ttl=62'
done
