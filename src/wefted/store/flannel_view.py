"""What is known of one network of flannel's, and what that is in our words: configuration, leases, whose they are. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from wefted.errors import UsageError
from wefted.model import codec, flannel_lease
from wefted.model.flannel_network import blocks_of, network_of
from wefted.model.network import Network
from wefted.model.objects import IPNetwork
from wefted.model.records import EPOCH, Item

from .flannel_claims import holder

CONFIG, SUBNETS, OWNERS = "config", "subnets/", "flannel/"


@dataclass(frozen=True, slots=True)
class Mount:
    """A flannel network that this host has joined: its name here, where it stands in etcd, and whether we masquerade."""

    name: str
    prefix: str
    masquerade: bool = False
    blackhole: bool = False
    """Whether this host drops what is for its subnet and for no container of it."""
    is_v2: bool = False
    """Whether its records are in etcd's API v2."""
    auto: bool = False
    """Whether it is looked for in the other API where this one has no configuration."""
    key_file: str = ""
    """Where this host's WireGuard key is."""
    remote: str = ""
    """The flannel server that has its records, where that is not etcd; `prefix` is then the address of the network there."""

    @property
    def api(self) -> str:
        """The version of etcd's API, or `server`."""
        return "server" if self.remote else "2" if self.is_v2 else "3"

    @property
    def has_own_clock(self) -> bool:
        """Whether its revisions are another clock's than those of everything that is ours."""
        return self.is_v2 or bool(self.remote)

    @property
    def place(self) -> str:
        """Where it is watched; other than every place in the other API."""
        return f"v2:{self.prefix}" if self.is_v2 else self.prefix


@dataclass
class Memory:
    """The last configuration of a network that could be used, and what is wrong with the one that stands in etcd now."""

    text: str = ""
    trouble: str = ""


@dataclass
class View:
    """What is known of one mount: raw items by the last part of their key."""

    mount: Mount
    memory: Memory
    validate: Callable[[Network], None]
    config: Item | None = None
    leases: dict[str, Item] = field(default_factory=dict)
    owners: dict[str, dict[str, Item]] = field(default_factory=dict)
    """By the key of the lease, what each node says of it (API v2), or under "" the record of its owner."""

    def items(self) -> Iterator[Item]:
        """Yield everything, translated."""
        if self.config is not None or self.memory.text:
            yield self.network(self.config or Item(CONFIG, None, EPOCH if self.mount.has_own_clock else 0))
        for key in self.leases:
            yield from self.blocks(key)

    def network(self, config: Item) -> Item:
        """Return the network's item. Where the configuration is gone or wrong it is the one before: its containers run."""
        try:
            text = self._text(config)
            network = self._described(text)
            self.validate(network)
            self.memory.text, self.memory.trouble = text, ""
            value: bytes | None = codec.dumps(network)
        except UsageError as error:
            self.memory.trouble = f"{error.message}; what it said before goes on" if self.memory.text else error.message
            value = codec.dumps(self._described(self.memory.text)) if self.memory.text else None
        return Item(f"networks/{self.mount.name}", value, config.revision)

    def _text(self, config: Item) -> str:
        where = f"{self.mount.prefix}{CONFIG}"
        if config.value is None:
            raise UsageError(f"{where} is not there")
        try:
            return config.value.decode()
        except UnicodeDecodeError:
            raise UsageError(f"{where}: it is no text") from None

    def _described(self, text: str) -> Network:
        mount = self.mount
        return network_of(mount.name, mount.prefix, text, mount.masquerade, mount.blackhole, mount.is_v2, mount.key_file)

    def blocks(self, key: str) -> Iterator[Item]:
        """Yield the items of the blocks that a key names; without a value where its lease is gone or unreadable.

        They have the revision of the lease: news of the owner may come before or after those of the lease, with one revision.
        """
        found, owner = self.leases[key], self.owners.get(key, {})
        values = _blocks(self.mount.name, key, found.value, owner_of(found, owner)) if found.value is not None else {}
        for subnet in flannel_lease.subnets_of(key) or ():
            if subnet is not None:
                name = f"leases/{self.mount.name}/{str(subnet).replace('/', '-')}"
                yield Item(name, values.get(subnet), found.revision)


@lru_cache(flannel_lease.KNOWN)
def _blocks(network: str, key: str, value: bytes, node: str) -> Mapping[IPNetwork, bytes]:
    """Return the encoded blocks of a lease, by their prefix; nothing where it is unreadable."""
    lease = flannel_lease.decode(key, value)
    return {block.block: codec.dumps(block) for block in blocks_of(network, lease, node)} if lease is not None else {}


def owner_of(lease: Item, records: Mapping[str, Item]) -> str:
    """Return the node of a lease, or "": somebody who wrote the lease alone, after us, has taken it."""
    if lease.created:
        return holder(lease, records)
    owner = records.get("")
    if owner is None or not owner.value or owner.revision < lease.revision:
        return ""
    return owner.value.decode(errors="replace")
