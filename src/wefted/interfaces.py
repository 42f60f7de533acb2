"""The map of the house: every interface between its rooms, on one page.

Drivers, backends and features are pure: from a segment (a network as this node sees it) to kernel objects. They open nothing,
run nothing and never wait. Kernel, Store and Runtime touch the world; each has one room and one fake that passes its tests.
Pure code is sync; Store and Runtime are asyncio; Kernel is sync and called from one worker thread.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from wefted.model.lease import Lease
from wefted.model.network import Endpoint, Network, Segment
from wefted.model.node import HostFacts
from wefted.model.objects import Change, IPAddress, IPNetwork, KernelObject, Netns, Outcome, State
from wefted.model.records import Item, Op, Snapshot
from wefted.model.sandbox import Sandbox, SandboxEvent


class Driver(Protocol):
    """How an endpoint is attached on one host. Pure."""

    name: str
    needs: tuple[str, ...]
    """Kernel features without which it cannot work (keys of `HostFacts.features`)."""
    host_gateway: bool
    """Whether the host itself is the containers' gateway; if not, a router of the LAN is, and ports cannot be published."""
    options: Mapping[str, str]
    """The `-o` keys that it understands, each with one line of help."""

    def validate(self, network: Network) -> None:
        """Raise `UsageError` for a network that this driver cannot make."""

    def plan(self, segment: Segment, endpoints: Sequence[Endpoint]) -> Iterable[KernelObject]:
        """Yield the network's own objects on this host, then those of each attached endpoint."""


class Backend(Protocol):
    """How the hosts of a network are joined. Pure."""

    name: str
    needs: tuple[str, ...]
    layers: tuple[int, ...]
    """The layers it can join hosts at: 3 (routed blocks), 2 (one broadcast domain)."""
    options: Mapping[str, str]

    def validate(self, network: Network) -> None:
        """Raise `UsageError` for a network that this backend cannot join."""

    def overhead(self, underlay: IPAddress | None) -> int:
        """Return how many bytes of each underlay packet are not the container's."""

    def announce(self, segment: Segment) -> Mapping[str, str]:
        """Return what peers must know; it travels in our leases."""

    def obstacle(self, segment: Segment, peer: Lease) -> str:
        """Return why this node has no way to a peer's block, or "": for such a block nothing is planned."""

    def plan(self, segment: Segment, peers: Sequence[Lease]) -> Iterable[KernelObject]:
        """Yield the objects that lead to the blocks of `peers` (the leases of other nodes)."""


class Feature(Protocol):
    """A rule that applies to every network. Pure."""

    name: str

    def plan(self, segment: Segment, endpoints: Sequence[Endpoint]) -> Iterable[KernelObject]:
        """Yield its objects for this network and these endpoints."""


class Kernel(Protocol):
    """Namespaces, links, routes, firewall of this host. Blocking; all calls but `watch` come from one worker thread."""

    def probe(self, advertise: IPAddress | None = None) -> HostFacts:
        """Return what this host has and can do; `advertise` chooses the underlay address, else the default route does."""

    def read(self, ns: Netns) -> State:
        """Return every object in `ns` that carries our mark, and the state of the links that do not."""

    def apply(self, changes: Sequence[Change]) -> Sequence[Outcome]:
        """Make the changes, in order, in as few netlink sends as possible; one outcome for each. Never raises for a refusal."""

    def watch(self) -> Iterator[Netns]:
        """Yield a namespace whenever something in it changed that may concern us; ends when the kernel is closed."""

    def close(self) -> None:
        """Release everything and end `watch`."""


class FrameLink(Protocol):
    """Whole frames of one link in one namespace, for protocols that speak before there is an address. It never blocks."""

    mac: str

    def fileno(self) -> int:
        """Return a descriptor that is readable when there is something to receive."""

    def send(self, frame: bytes) -> None:
        """Send a frame. Raises `OSError`."""

    def datagram(self, payload: bytes, target: IPAddress) -> None:
        """Send to a DHCP server by the namespace's routes, from the address that the link was opened with. Raises `OSError`."""

    def receive(self) -> tuple[bytes, bool] | None:
        """Return a frame, and whether its checksums need no look; None when there is nothing."""

    def close(self) -> None:
        """Release everything."""


class Programs(Protocol):
    """Programs of the host that run inside a namespace and outlive us, each under a name. Blocking, from any thread."""

    def folder(self, name: str) -> str:
        """Return the program's folder."""

    def start(self, name: str, ns: Netns, argv: Sequence[str], files: Mapping[str, str]) -> int:
        """Write files into the folder and start the program in `ns`; return its process. Raises `NotFound`, `KernelError`."""

    def running(self, name: str) -> int:
        """Return its process, 0 when it has ended."""

    def read(self, name: str, file: str) -> tuple[bytes, float]:
        """Return a file of the folder and when it was written, in seconds since 1970."""

    def stop(self, name: str) -> None:
        """End it, and remove its folder."""


class Passage(Protocol):
    """The way through another program's firewall, by the hook that it documents for this. Blocking, like `Kernel`."""

    def open(self, device: str, members: Sequence[IPNetwork] = ()) -> int:
        """Let our links pass, out by `device`, and within each prefix of `members`; return how many rules were changed."""
        ...

    def close(self) -> int:
        """Take every rule of ours back; return how many there were."""
        ...

    def missing(self, device: str, members: Sequence[IPNetwork] = ()) -> list[str] | None:
        """Return what should be there and is not, as commands; None where that program has no firewall here."""
        ...

    def forward_policy(self) -> str:
        """Return what becomes of a forwarded IPv4 packet that no rule knows: ACCEPT, DROP, or "" where nobody decides."""
        ...

    def raw_drops(self) -> Sequence[str]:
        """Return the rules that drop before any other rule is asked."""
        ...


class Store(Protocol):
    """Keys with revisions, compare-and-swap, and a watch that never loses a change."""

    async def read(self, prefix: str) -> Snapshot:
        """Return everything under `prefix`. Raises `Unreachable`."""

    async def write(self, ops: Sequence[Op]) -> int:
        """Do all of `ops` or none; return the new revision. Raises `Conflict` when an expectation fails, `Unreachable`."""

    def watch(self, prefix: str) -> AsyncIterator[Snapshot | tuple[Item, ...]]:
        """Yield a Snapshot first, then changes in order, and a Snapshot again whenever history was lost. Never gives up."""

    async def close(self) -> None:
        """Release everything; watches end."""


class Runtime(Protocol):
    """One kind of container engine: names to sandboxes, and their coming and going."""

    kind: str
    """The word before the colon in `netns:c1`."""

    async def find(self, name: str) -> Sandbox | None:
        """Return the sandbox of a running container, or None.

        Raises `NotFound` where there is no such engine, `Unreachable` when it does not answer, `UsageError` for a bad name and
        for a container without a namespace of its own.
        """

    def watch(self) -> AsyncIterator[SandboxEvent]:
        """Yield an event for each container that comes, goes or is renamed from now on; those that run may be told first."""


@runtime_checkable
class Told(Protocol):
    """A `Runtime` that cannot look for containers: their engine says where each one is."""

    def tell(self, name: str, path: str) -> None:
        """Say at which path the namespace of a container is. Raises `UsageError` for what is no path."""


@runtime_checkable
class Kept(Protocol):
    """A `Runtime` that also knows of containers that do not run, and tells what containers say of themselves."""

    async def exists(self, identifier: str) -> bool:
        """Tell whether a container of this whole id has not been removed. Raises `NotFound` where there is no such engine,
        `Unreachable` when it does not answer."""
        ...


class Engine(Protocol):
    """The use cases. LocalEngine does them in this process; RemoteEngine asks the agent over its socket."""

    async def call(self, operation: str, parameters: Mapping[str, Any]) -> Any:
        """Do one operation of `wefted.engine.operations`; parameters and result are JSON values. Raises `WeftedError`."""

    async def close(self) -> None:
        """Release everything."""
