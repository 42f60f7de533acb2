"""A document of networks and memberships: shown as a plan, or made true. What it does not name stays as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wefted.errors import InUse
from wefted.model import codec, document
from wefted.model.document import Document, Membership
from wefted.model.network import Endpoint, Network

from .endpoints import Endpoints
from .host import Host
from .intent import network_from
from .networks import Networks
from .operations import Connect, NetworkCreate, Plan

Step = dict[str, str]


class Documents:
    """The use cases `plan FILE` and `apply FILE`; the second makes all of a document true, or leaves everything as it was."""

    def __init__(self, host: Host, networks: Networks, endpoints: Endpoints) -> None:
        self._host = host
        self._networks = networks
        self._endpoints = endpoints

    async def plan(self, request: Plan) -> Any:
        async with self._host.lock:
            return {"changes": self._steps(await self._read(request))}

    async def apply(self, request: Plan) -> Any:
        made: list[Network] = []
        attached: list[Endpoint] = []
        async with self._host.lock:
            asked = await self._read(request)
            steps = self._steps(asked)
            try:
                for create in self._missing(asked):
                    made.append(await self._networks.make(create))
                for member in asked.members:
                    endpoint, fresh = await self._endpoints.attach(_connect(member), member.container)
                    if fresh:
                        attached.append(endpoint)
            except BaseException:
                await self._undo(made, attached)
                raise
        try:
            await self._endpoints.lease(attached, attached)
        except BaseException:
            async with self._host.lock:
                await self._undo(made, [])
            raise
        for name in self._to_expose(asked):
            await self._networks.set_exposed(name, asked.exposed[name])
        return {"changes": steps, "failures": []}

    async def _read(self, request: Plan) -> Document:
        await self._host.refresh()
        return document.parse(request.document, request.source, self._host.view.networks)

    async def _undo(self, made: list[Network], attached: list[Endpoint]) -> None:
        await self._endpoints.detach(attached)
        for network in made:
            await self._networks.unmake(network)
        await self._host.converge()

    def _steps(self, asked: Document) -> list[Step]:
        """Return what is to be done, in order. Raises `UsageError` for what cannot be."""
        known = dict(self._host.view.networks)
        steps: list[Step] = []
        for create in self._missing(asked):
            network = network_from(create, known, self._host.facts)
            known[network.name] = network
            subnets = ", ".join(str(subnet.prefix) for subnet in network.subnets)
            steps.append(_step("Network", f"+ network {network.name} {network.driver} {network.backend} {subnets}".rstrip()))
        for name in self._to_expose(asked):
            word = "exposed" if asked.exposed[name] else "hidden"
            steps.append(_step("Network", f"~ network {name} {word}", "update"))
        for member in asked.members:
            if not self._is_member(member):
                steps.append(_step("Endpoint", f"+ endpoint {member.container} in {member.network}"))
        return steps

    def _missing(self, asked: Document) -> list[NetworkCreate]:
        """Return the networks to be made. Raises `InUse` for one that exists and differs from what the document says."""
        creates = []
        for name, fields in asked.networks.items():
            create = _create(name, fields)
            present = self._host.view.networks.get(name)
            if present is None:
                creates.append(create)
            else:
                self._same(present, create, fields)
        return creates

    def _same(self, present: Network, create: NetworkCreate, fields: Mapping[str, Any]) -> None:
        others = {k: v for k, v in self._host.view.networks.items() if k != present.name}
        wanted = codec.encode(network_from(create, others, self._host.facts))
        have = codec.encode(present)
        told = set(fields) - {"ipv6", "ipv4"}
        names = {"gateways": "subnets", "ip_ranges": "subnets", "auxiliary": "subnets"}
        differing = sorted({names.get(f, f) for f in told if wanted[names.get(f, f)] != have[names.get(f, f)]})
        if differing:
            raise InUse(
                f"network {present.name!r} exists with another {' and '.join(differing)}",
                f"remove it first: wefted network rm {present.name}",
            )

    def _to_expose(self, asked: Document) -> list[str]:
        networks = self._host.view.networks
        return [name for name, exposed in asked.exposed.items() if exposed != (name in networks and networks[name].exposed)]

    def _is_member(self, member: Membership) -> bool:
        return any(e.network == member.network for e in self._host.of(member.container))


def _create(name: str, fields: Mapping[str, Any]) -> NetworkCreate:
    values = dict(fields)
    options = dict(values.pop("options", {}))
    if "layer" in values:
        options["layer"] = values.pop("layer")
    return codec.decode(NetworkCreate, {**values, "name": name, "options": options})


def _connect(member: Membership) -> Connect:
    return codec.decode(Connect, {**member.fields, "network": member.network, "containers": [member.container]})


def _step(kind: str, text: str, action: str = "create") -> Step:
    return {"action": action, "kind": kind, "ns": "", "text": text}
