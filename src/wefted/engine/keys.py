"""Where each record lives.

Cluster store: networks/NAME, number (the last one given to a network), nodes/ID, leases/NETWORK/..., endpoints/NODE/ID.
Local state:   endpoint/ID, addresses/NETWORK/ADDRESS, node, settings, revision (of the cluster, as last seen),
               flannel/NAME (a network of flannel's that this host has joined), flannelwatch/PREFIX (where it joins all),
               served/ADDRESS/... (what flannel servers told last),
               docker/pool/PREFIX, docker/network/ID and docker/gone/NAME (what Docker asked for through the plugin), and
               cluster/KEY: the cluster as it was last seen, or on a single host the cluster itself.
"""

from __future__ import annotations

NETWORKS = "networks/"
NUMBER = "number"
NODES = "nodes/"
LEASES = "leases/"
ENDPOINTS = "endpoints/"

LOCAL_ENDPOINTS = "endpoint/"
LOCAL_NODE = "node"
LOCAL_SETTINGS = "settings"
LOCAL_CLUSTER = "cluster/"
LOCAL_REVISION = "revision"
LOCAL_FLANNEL = "flannel/"
LOCAL_FLANNEL_WATCH = "flannelwatch/"
LOCAL_DOCKER = "docker/"


def network(name: str) -> str:
    return NETWORKS + name


def node(identifier: str) -> str:
    return NODES + identifier


def leases_of(network_name: str) -> str:
    return f"{LEASES}{network_name}/"


def published(node_id: str, endpoint_id: str) -> str:
    return f"{ENDPOINTS}{node_id}/{endpoint_id}"


def local_endpoint(endpoint_id: str) -> str:
    return LOCAL_ENDPOINTS + endpoint_id
