"""Subnets of flannel's networks in a real etcd. What flannel 0.20 does instead stands in each docstring."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from ipaddress import IPv4Address, ip_interface, ip_network
from pathlib import Path
from random import Random

import pytest

from wefted.engine.flannel import Keeper
from wefted.errors import Exhausted, NotFound
from wefted.model.node import Node
from wefted.store.flannel import FlannelStore, Mount
from wefted.store.open import open_flannel
from wefted.store.url import EtcdSpec
from wefted.testing.etcd import EtcdCluster

pytestmark = pytest.mark.lab

PREFIX = "/coreos.com/network/"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    with EtcdCluster(tmp_path_factory.mktemp("etcd")) as running:
        yield running


def etcdctl(cluster: EtcdCluster, *words: str) -> str:
    """Run etcd's own client, as the users of flannel do."""
    argv = ["etcdctl", f"--endpoints={cluster.endpoints[0]}", *words]
    return subprocess.run(
        argv, check=True, capture_output=True, text=True, env={"ETCDCTL_API": "3", "PATH": "/usr/bin:/bin"}
    ).stdout


@pytest.fixture
async def store(cluster: EtcdCluster, request: pytest.FixtureRequest) -> AsyncIterator[FlannelStore]:
    etcdctl(cluster, "del", "--prefix", "/")
    opened = open_flannel(EtcdSpec(endpoints=tuple(cluster.endpoints)), [Mount("old", PREFIX)])
    yield opened
    await opened.close()


def configured(cluster: EtcdCluster, network: str = "10.9.0.0/20", **rest: object) -> None:
    """Write the configuration as the classic walk-throughs do."""
    etcdctl(cluster, "put", f"{PREFIX}config", json.dumps({"Network": network, "Backend": {"Type": "vxlan"}, **rest}))


def keeper(store: FlannelStore, number: int, public: str = "", **rest: object) -> Keeper:
    """Return the keeper of a host."""
    address = public or f"192.0.2.{number}"
    node = Node(id=f"node-{number}", name=f"h{number}", underlay=(ip_interface(f"{address}/24"),), device="eth0")
    return Keeper(store, "old", node, IPv4Address(address), random=Random(number), **rest)  # type: ignore[arg-type]


def subnets(cluster: EtcdCluster) -> dict[str, str]:
    """Return key and value of every lease, as etcd has them."""
    lines = etcdctl(cluster, "get", "--prefix", f"{PREFIX}subnets/").splitlines()
    return {key.rpartition("/")[2]: value for key, value in zip(lines[::2], lines[1::2], strict=True)}


def live_leases(cluster: EtcdCluster) -> int:
    """Return how many leases etcd holds that have a key."""
    listed = etcdctl(cluster, "lease", "list").split()[3:]
    return sum("attached keys([/coreos" in etcdctl(cluster, "lease", "timetolive", lease, "--keys") for lease in listed)


async def test_a_lease_stands_in_etcd_as_flannel_writes_it(cluster: EtcdCluster, store: FlannelStore) -> None:
    configured(cluster)
    lease = await keeper(store, 1).acquire()
    (value,) = subnets(cluster).values()
    assert json.loads(value) == {
        "PublicIP": "192.0.2.1", "PublicIPv6": None, "BackendType": "vxlan",
        "BackendData": {"VNI": 1, "VtepMAC": lease.data["VtepMAC"]},
    }  # fmt: skip
    assert list(json.loads(value)) == ["PublicIP", "PublicIPv6", "BackendType", "BackendData"]
    assert " " not in value


async def test_fifty_hosts_that_start_at_once_all_get_a_subnet(cluster: EtcdCluster, store: FlannelStore) -> None:
    """flannel: of 12 hosts 10 or 11 live, the others exit with `subnet already exists`."""
    configured(cluster, "10.9.0.0/18")
    leases = await asyncio.gather(*(keeper(store, n).acquire() for n in range(1, 51)))
    assert len({lease.subnet for lease in leases}) == 50
    assert len(subnets(cluster)) == 50


async def test_a_full_network_says_so(cluster: EtcdCluster, store: FlannelStore) -> None:
    configured(cluster, "10.9.0.0/22")
    for number in (1, 2, 3):
        await keeper(store, number).acquire()
    with pytest.raises(Exhausted, match="no free subnet: 3 hosts"):
        await keeper(store, 4).acquire()


async def test_without_a_configuration_there_is_nothing_to_take(store: FlannelStore) -> None:
    with pytest.raises(NotFound, match="has no configuration"):
        await keeper(store, 1).acquire()


async def test_a_restart_keeps_the_subnet_and_ends_the_old_etcd_lease(cluster: EtcdCluster, store: FlannelStore) -> None:
    """flannel: every start grants a further etcd lease; 28 were seen for two hosts."""
    configured(cluster)
    first = await keeper(store, 1).acquire()
    for _ in range(5):
        assert (await keeper(store, 1).acquire()).subnet == first.subnet
    assert len(subnets(cluster)) == 1
    assert live_leases(cluster) == 1


async def test_a_reservation_stays_one(cluster: EtcdCluster, store: FlannelStore) -> None:
    """flannel: the key of a reservation gets a lease of a day at once, and expires with the host."""
    configured(cluster)
    etcdctl(cluster, "put", f"{PREFIX}subnets/10.9.7.0-24", '{"PublicIP":"192.0.2.1"}')
    for _ in range(2):
        assert (await keeper(store, 1).acquire()).subnet == ip_network("10.9.7.0/24")
    assert live_leases(cluster) == 0
    assert (await keeper(store, 2).acquire()).subnet != ip_network("10.9.7.0/24")


async def test_a_subnet_that_was_revoked_is_taken_again(cluster: EtcdCluster, store: FlannelStore) -> None:
    """flannel: "Lease has been revoked. Shutting down daemon.", then a panic."""
    configured(cluster)
    mine = keeper(store, 1)
    first = await mine.acquire()
    etcdctl(cluster, "del", "--prefix", f"{PREFIX}subnets/")
    assert (await mine.acquire()).subnet == first.subnet
    etcdctl(cluster, "del", "--prefix", f"{PREFIX}subnets/")
    etcdctl(cluster, "put", f"{PREFIX}subnets/{str(first.subnet).replace('/', '-')}", '{"PublicIP":"192.0.2.77"}')
    assert (await mine.acquire()).subnet != first.subnet


async def test_hosts_behind_one_public_address_are_told_apart(cluster: EtcdCluster, store: FlannelStore) -> None:
    """flannel: both take the same subnet, for its identity is the public address (10.0.2.15 in every VirtualBox)."""
    configured(cluster)
    one = await keeper(store, 1, "10.0.2.15").acquire()
    two = await keeper(store, 2, "10.0.2.15").acquire()
    assert one.subnet != two.subnet
    assert (await keeper(store, 1, "10.0.2.15").acquire()).subnet == one.subnet


async def test_the_record_of_a_flanneld_that_ran_here_before_is_taken_over(cluster: EtcdCluster, store: FlannelStore) -> None:
    configured(cluster)
    etcdctl(cluster, "put", f"{PREFIX}subnets/10.9.5.0-24", '{"PublicIP":"192.0.2.1","BackendType":"vxlan"}')
    assert (await keeper(store, 1).acquire()).subnet == ip_network("10.9.5.0/24")
    assert len(subnets(cluster)) == 1


async def test_the_subnet_of_an_earlier_life_comes_first(cluster: EtcdCluster, store: FlannelStore) -> None:
    configured(cluster)
    before = (ip_network("10.9.11.0/24"),)
    assert (await keeper(store, 1, before=before).acquire()).subnets == before
    assert (await keeper(store, 2, before=before).acquire()).subnets != before


async def test_another_configuration_means_another_subnet(cluster: EtcdCluster, store: FlannelStore) -> None:
    configured(cluster)
    mine = keeper(store, 1)
    await mine.acquire()
    configured(cluster, "10.10.0.0/20", SubnetLen=26)
    lease = await mine.acquire()
    assert lease.subnet is not None
    assert (lease.subnet.prefixlen, lease.subnet.subnet_of(ip_network("10.10.0.0/20"))) == (26, True)  # type: ignore[arg-type]
    assert len(subnets(cluster)) == 1


async def test_who_leaves_gives_its_subnet_back(cluster: EtcdCluster, store: FlannelStore, tmp_path: Path) -> None:
    configured(cluster)
    mine = keeper(store, 1)
    await mine.acquire()
    await mine.release()
    assert subnets(cluster) == {}
    assert etcdctl(cluster, "get", "--prefix", "--keys-only", "/wefted/flannel").strip() == ""
