"""Which container is which: names that change, namespaces that have two names, records that outlive their container.

An endpoint belongs to a container by name, so that a container which is made anew has its addresses again. Where the engine
gives identifiers, the endpoint remembers the one of its container, and follows it under another name. Everything that was
derived from the first name (the record's key, the link, the owner of the addresses) stays, so that no packet is lost.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

from wefted.errors import InUse, NotFound, Unreachable, UsageError
from wefted.interfaces import Runtime
from wefted.model.network import Endpoint
from wefted.model.sandbox import Sandbox, SandboxEvent
from wefted.runtime.namespace import identity_of

from .host import Host

log = logging.getLogger("wefted.engine")


class Identities:
    """Everything here is called with the host's lock held."""

    def __init__(self, host: Host, detach: Callable[[list[Endpoint]], Awaitable[None]]) -> None:
        self._host = host
        self._detach = detach

    def distinct(self, draft: Endpoint) -> Endpoint:
        """Return a new endpoint with a key of its own: one that was renamed away may have the key of this name.

        Raises `InUse` when the namespace is in the network already, under the name of another container.
        """
        others = (self._host.endpoints[i] for i in self._host.inside.get(draft.identity, ()))
        twin = next((e for e in others if e.network == draft.network and e.container != draft.container), None)
        if twin is not None:
            raise InUse(
                f"{draft.container} lives in the namespace of {twin.container}, which is in network {draft.network!r} already",
                f"it has what that has: {', '.join(str(a.ip) for a in twin.addresses) or twin.ifname}",
            )
        number = 1
        while draft.id in self._host.endpoints:
            number += 1
            draft = replace(draft, made_for=f"{draft.container} {number}")
        return draft

    async def follow(self, event: SandboxEvent) -> None:
        """Give the endpoints of a container its new name: it has just been told, or is seen from the identifier."""
        if event.renamed:
            await self._rename(event.renamed, event.container)
        if event.sandbox is not None:
            await self.recognise(event.sandbox)

    async def recognise(self, sandbox: Sandbox) -> None:
        """Give the endpoints that remember this container's identifier its name, if they have another one."""
        if sandbox.id:
            known = {e.container for e in self._host.endpoints.values() if e.engine_id == sandbox.id}
            for name in known - {sandbox.container}:
                if _kind(name) == _kind(sandbox.container):
                    await self._rename(name, sandbox.container)

    async def locate(self, endpoint: Endpoint, runtime: Runtime) -> Sandbox | None:
        """Return where an endpoint's container is now, by its name or else by its identifier; None when it does not run.

        While the engine does not answer, a namespace that is the same as before is believed to be the container's.
        """
        try:
            found = await runtime.find(endpoint.container.partition(":")[2])
            if endpoint.engine_id and (found is None or found.id != endpoint.engine_id):
                found = await runtime.find(endpoint.engine_id) or found
            return found if found is not None and _is_its_own(found, endpoint) else None
        except (NotFound, Unreachable):
            return self._unchanged(endpoint)
        except UsageError:
            return None

    def _unchanged(self, endpoint: Endpoint) -> Sandbox | None:
        if not endpoint.attached or identity_of(endpoint.ns) != endpoint.identity:
            return None
        return Sandbox(container=endpoint.container, ns=endpoint.ns, identity=endpoint.identity, id=endpoint.engine_id)

    async def _rename(self, old: str, new: str) -> None:
        """Rename endpoints; what waits under the new name for a container that is no more gives way."""
        moving = self._host.of(old)
        if not moving:
            return
        networks, ifnames = {e.network for e in moving}, {e.ifname for e in moving}
        await self._detach([e for e in self._host.of(new) if e.network in networks or e.ifname in ifnames])
        log.info("container was renamed", extra={"container": old, "now": new})
        self._host.containers.pop(old, None)
        await self._host.keep([renamed(e, new) for e in moving])


def renamed(endpoint: Endpoint, new: str) -> Endpoint:
    """Return an endpoint under its container's new name, with the same key."""
    first = endpoint.made_for or endpoint.container
    return replace(endpoint, container=new, made_for="" if first == new else first)


def _is_its_own(found: Sandbox, endpoint: Endpoint) -> bool:
    """Whether a sandbox is that of the endpoint's container, and not of another one in whose namespace that lives now."""
    return found.container == endpoint.container or (bool(found.id) and found.id == endpoint.engine_id)


def _kind(container: str) -> str:
    return container.partition(":")[0]
