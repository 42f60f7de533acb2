"""Nodes on one store in memory, each with a kernel and a runtime in memory: the engine is the real one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from hashlib import sha256
from ipaddress import ip_interface
from typing import Any

from wefted.engine.engine import LocalEngine
from wefted.engine.host import Host
from wefted.engine.worker import Worker
from wefted.errors import Unreachable, UsageError
from wefted.interfaces import Store
from wefted.ipam.allocator import AddressBook
from wefted.model.link import LinkState
from wefted.model.node import HostFacts, Node
from wefted.model.objects import Netns
from wefted.model.records import Item, Op, Snapshot
from wefted.model.x25519 import encoded
from wefted.store.memory import MemoryStore
from wefted.testing.kernel import FEATURES, FakeKernel
from wefted.testing.runtime import FakeRuntime


class CutStore:
    """A way to a store that can be cut, as a cable can."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.cut = False

    async def read(self, prefix: str) -> Snapshot:
        self._check()
        return await self.inner.read(prefix)

    async def write(self, ops: Sequence[Op]) -> int:
        self._check()
        return await self.inner.write(ops)

    async def watch(self, prefix: str) -> AsyncIterator[Snapshot | tuple[Item, ...]]:
        async for seen in self.inner.watch(prefix):
            yield seen

    async def close(self) -> None:
        """The inner one is shared."""

    def _check(self) -> None:
        if self.cut:
            raise Unreachable("the cable is cut")


class Member:
    """One host: what it holds outlives its engine, as a disk and a kernel outlive a process."""

    def __init__(self, number: int, shared: MemoryStore) -> None:
        self.number = number
        self.local = MemoryStore()
        self.cluster = CutStore(shared)
        self.kernel = FakeKernel(_facts(number))
        self.kernel.add_link(LinkState(name="eth0", mtu=1500, mac=f"02:00:00:00:00:{number:02x}"))
        self.runtime = FakeRuntime()
        self.engine: LocalEngine
        self.life = 1
        """Of its disk: another one has other keys. 0: the keys are damaged."""

    async def start(self) -> LocalEngine:
        """Open an engine on what is there, as a start of the agent does."""
        facts = self.kernel.facts
        name = f"h{self.number}"
        host = Host(
            node=Node(id=f"id-{name}", name=name, underlay=facts.underlay, device=facts.device, mtu=facts.mtu),
            facts=facts,
            local=self.local,
            cluster=self.cluster,
            cluster_url="memory:",
            kernel=self.kernel,
            worker=Worker(),
            runtimes={"netns": self.runtime},
            book=AddressBook(self.local, grace=0),
            shared=True,
            find_key=self.public_key,
        )
        await host.load()
        self.engine = LocalEngine(host)
        return self.engine

    def public_key(self, file: str) -> str:
        """Return its WireGuard key of a file."""
        if not self.life:
            raise UsageError(f"{file or 'its own file'} has no WireGuard key")
        return encoded(sha256(f"{self.number} {file} {self.life}".encode()).digest())

    async def call(self, operation: str, **parameters: Any) -> Any:
        return await self.engine.call(operation, parameters)

    def add(self, name: str) -> str:
        """Start a container; return its full name."""
        sandbox = self.runtime.add(name)
        self.kernel.add_namespace(sandbox.ns)
        return sandbox.container

    def remove(self, name: str) -> None:
        """Stop a container: its namespace goes, and everything in it."""
        self.runtime.remove(name)
        self.kernel.remove_namespace(Netns(f"/run/fake/netns/{name}"))

    def state(self) -> dict[Any, Any]:
        """Return everything that the kernel holds, in all namespaces."""
        return {ns: dict(objects) for ns, objects in self.kernel._spaces.items()}

    async def settle(self) -> int:
        """Look at the cluster and the containers, and reconcile; return the number of changes."""
        result = await self.call("reconcile")
        assert result["failures"] == []
        changes: int = result["changes"]
        return changes


def _facts(number: int) -> HostFacts:
    underlay = ip_interface(f"192.168.50.{number}/24")
    return HostFacts(device="eth0", underlay=(underlay,), mtu=1500, features=FEATURES, prefixes=(underlay,))


async def members(count: int) -> list[Member]:
    """Return so many hosts on one store, started."""
    shared = MemoryStore()
    found = [Member(number, shared) for number in range(1, count + 1)]
    for member in found:
        await member.start()
    return found
