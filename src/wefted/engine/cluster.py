"""The cluster as this node last saw it: what the planner works from, also while the store is down."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from wefted.model import codec
from wefted.model.flannel_network import STRANGER, is_flannel
from wefted.model.lease import Lease
from wefted.model.network import Endpoint, Network
from wefted.model.node import Node
from wefted.model.records import Item, Snapshot

from . import keys

_TYPES: tuple[tuple[str, Any], ...] = (
    (keys.NETWORKS, Network),
    (keys.NODES, Node),
    (keys.LEASES, Lease),
    (keys.ENDPOINTS, Endpoint),
)


class ClusterView:
    """Decoded records by key. A record that this version cannot read is kept out and named in `unreadable`."""

    def __init__(self) -> None:
        self.revision = 0
        self.networks: dict[str, Network] = {}
        self.nodes: dict[str, Node] = {}
        self.leases: dict[str, Lease] = {}
        self.endpoints: dict[str, Endpoint] = {}
        self.revisions: dict[str, int] = {}
        self.unreadable: dict[str, str] = {}

    def replace(self, snapshot: Snapshot) -> set[str]:
        """Take a whole new picture; return the keys that are not what they were.

        It may have been drawn before the last writes that we know of: what is newer than the picture stays.
        """
        changed = {key for key, at in self.revisions.items() if key not in snapshot.items and at <= snapshot.revision}
        for key in changed:
            self._drop(key)
        return changed | self.update(snapshot.items.values(), snapshot.revision)

    def update(self, items: Iterable[Item], revision: int = 0) -> set[str]:
        """Take changes; return the keys that are not what they were. What is older than what we have is ignored."""
        changed: set[str] = set()
        for item in items:
            self.revision = max(self.revision, item.revision, revision)
            known = self.revisions.get(item.key)
            if known is not None and (known > item.revision or (known == item.revision and not self._is_named_now(item))):
                continue
            changed.add(item.key)
            if item.value is None:
                self._drop(item.key)
            else:
                self.revisions[item.key] = item.revision
                self._take(item.key, item.value)
        return changed

    def revision_of(self, key: str) -> int:
        return max(self.revisions.get(key, 0), 0)

    def records(self) -> Iterator[tuple[str, bytes]]:
        """Yield the networks and leases, as key and value, in which the cluster consists."""
        for name, network in self.networks.items():
            yield keys.network(name), codec.dumps(network)
        for key, lease in self.leases.items():
            yield key, codec.dumps(lease)

    def leases_of(self, network: str) -> list[Lease]:
        return [lease for lease in self.leases.values() if lease.network == network]

    def block_keys(self, node_id: str) -> list[str]:
        """Return the keys of a node's blocks. Not those in flannel's networks: they end by themselves."""
        networks = self.networks
        flannels = {name for name, network in networks.items() if is_flannel(network)}
        return [key for key, lease in self.leases.items() if lease.node == node_id and lease.network not in flannels]

    def endpoints_elsewhere(self, node_id: str) -> Iterator[tuple[str, Endpoint]]:
        """Yield (node id, endpoint) of every other node."""
        for key, endpoint in self.endpoints.items():
            owner = key.split("/")[1]
            if owner != node_id:
                yield owner, endpoint

    def node_name(self, node_id: str) -> str:
        found = self.nodes.get(node_id)
        return found.name if found else node_id

    def _is_named_now(self, item: Item) -> bool:
        """Tell whether an item says whose a block is that was a stranger's: of flannel's leases the owner is told apart."""
        known = self.leases.get(item.key)
        if known is None or item.value is None or not known.node.startswith(STRANGER):
            return False
        return not codec.loads(Lease, item.value).node.startswith(STRANGER)

    def _table(self, key: str) -> tuple[dict[str, Any], Any, str] | None:
        for prefix, kind in _TYPES:
            if key.startswith(prefix):
                table: dict[str, Any] = getattr(self, prefix.rstrip("/"))
                named = prefix in (keys.NETWORKS, keys.NODES)
                return table, kind, key[len(prefix) :] if named else key
        return None

    def _take(self, key: str, value: bytes) -> None:
        found = self._table(key)
        if found is None:
            return
        table, kind, name = found
        try:
            table[name] = codec.loads(kind, value)
            self.unreadable.pop(key, None)
        except Exception as error:  # a newer version's record must not stop this one
            table.pop(name, None)
            self.unreadable[key] = str(error)

    def _drop(self, key: str) -> None:
        self.revisions.pop(key, None)
        self.unreadable.pop(key, None)
        found = self._table(key)
        if found is not None:
            found[0].pop(found[2], None)
