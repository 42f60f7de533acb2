"""The verbs of CNI as calls of the engine."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from wefted.errors import Exhausted, InUse, NotFound, WeftedError
from wefted.interfaces import Engine

from . import wishes
from .fields import Fields
from .refusal import CONFIGURATION, DIFFERENT, LIMITED, UNAVAILABLE, UNKNOWN_CONTAINER, Refusal, refusal_of
from .request import VERSIONS, Request
from .result import Device, result

KEPT = "cni.dev/valid-attachments"


class Verbs:
    """`device` tells the MAC and the MTU of a link of this host."""

    def __init__(self, engine: Engine, device: Callable[[str], Device]) -> None:
        self._engine = engine
        self._device = device
        self._verbs: Mapping[str, Callable[[Request], Awaitable[Any]]] = {
            "ADD": self._add,
            "DEL": self._del,
            "CHECK": self._check,
            "GC": self._gc,
            "STATUS": self._status,
            "VERSION": self._version,
        }

    async def perform(self, request: Request) -> Any:
        """Return what is to be printed, None for nothing. Raises `Refusal`."""
        try:
            return await self._verbs[request.command](request)
        except WeftedError as error:
            raise refusal_of(error) from None

    async def _add(self, request: Request) -> Any:
        try:
            await self._connect(request)
        except Exhausted:
            await self._engine.call("reconcile", {})  # without an agent nobody has freed what died, or was before the boot
            await self._connect(request)
        try:
            return result(request, await self._inspect(request), self._device)
        except BaseException:
            await self._disconnect(request.name, request.spec, request.ifname)
            raise

    async def _del(self, request: Request) -> None:
        await self._disconnect(request.name, request.spec, request.ifname)

    async def _check(self, request: Request) -> None:
        before = request.config.object("prevResult")
        if not before.values:
            raise Refusal(CONFIGURATION, "CHECK needs prevResult, the result of the ADD")
        try:
            row = await self._inspect(request, compare=True)
        except NotFound as error:
            raise Refusal(UNKNOWN_CONTAINER, error.message, error.hint) from None
        found = [*_other_than_told(request, row, before), *row["differences"]]
        if found:
            raise Refusal(DIFFERENT, f"{request.container} is not attached as it was: {found[0]}", "\n".join(found))

    async def _gc(self, request: Request) -> None:
        """Free what the runtime does not name. One that cannot be freed does not keep the others."""
        valid = {(a.text("containerID"), a.text("ifname")) for a in request.config.objects(KEPT)}
        failures = []
        for container, ifname in await self._attached(request.name):
            if (container.removeprefix("cni:"), ifname) not in valid:
                try:
                    await self._disconnect(request.name, container, ifname)
                except WeftedError as error:
                    failures.append(error.message)
        if failures:
            raise Refusal(DIFFERENT, f"{len(failures)} could not be freed: {failures[0]}", "\n".join(failures))

    async def _status(self, request: Request) -> None:
        """Tell whether an ADD would find a network and an address. A network that is not there yet will be made."""
        try:
            await self._engine.call("network.room", {"name": request.name})
        except NotFound:
            return
        except WeftedError as error:
            raise Refusal(await self._severity(request.name), error.message, error.hint) from None

    async def _severity(self, network: str) -> int:
        status = await self._engine.call("status", {})
        cut_off = [u for u in status["unreachable"] if u["network"] == network]
        return LIMITED if cut_off or status["failed"] else UNAVAILABLE

    async def _version(self, request: Request) -> Any:
        return {"cniVersion": request.version, "supportedVersions": list(VERSIONS)}

    # -- the engine ------------------------------------------------------------------------------------------------

    async def _connect(self, request: Request) -> None:
        """Attach; the network is made where it is not there yet."""
        parameters = wishes.attachment(request)
        try:
            await self._engine.call("network.connect", parameters)
        except NotFound as error:
            if await self._has_network(request.name):
                raise Refusal(UNKNOWN_CONTAINER, error.message, error.hint) from None
            await self._make_network(request)
            try:
                await self._engine.call("network.connect", parameters)
            except WeftedError as failure:
                await self._unmake_network(request.name)
                if isinstance(failure, NotFound):
                    raise Refusal(UNKNOWN_CONTAINER, failure.message, failure.hint) from None
                raise

    async def _inspect(self, request: Request, compare: bool = False) -> Any:
        parameters = {"network": request.name, "container": request.spec, "ifname": request.ifname, "compare": compare}
        return await self._engine.call("endpoint.inspect", parameters)

    async def _disconnect(self, network: str, container: str, ifname: str) -> None:
        """Detach; what is not attached is no error, for a DEL may come twice, and after the namespace or a boot is gone."""
        parameters = {"network": network, "containers": [container], "ifname": ifname}
        try:
            await self._engine.call("network.disconnect", parameters)
        except NotFound:
            return

    async def _attached(self, network: str) -> list[tuple[str, str]]:
        rows = await self._engine.call("endpoint.list", {})
        return [(r["container"], r["ifname"]) for r in rows if r["network"] == network and r["container"].startswith("cni:")]

    async def _has_network(self, name: str) -> bool:
        try:
            await self._engine.call("network.inspect", {"names": [name]})
        except NotFound:
            return False
        return True

    async def _make_network(self, request: Request) -> None:
        """Make the network as the configuration says; another ADD may do so at the same moment."""
        try:
            await self._engine.call("network.create", wishes.network(request))
        except InUse:
            if not await self._has_network(request.name):
                raise

    async def _unmake_network(self, name: str) -> None:
        """Remove a network that was made a moment ago for nothing, unless another container has come to it meanwhile."""
        with contextlib.suppress(WeftedError):
            await self._engine.call("network.remove", {"names": [name]})


def _other_than_told(request: Request, row: Mapping[str, Any], before: Fields) -> list[str]:
    """Return in which points an endpoint is not the one of the result that the runtime has kept."""
    found = []
    inside = [i for i in before.objects("interfaces") if i.text("name") == request.ifname and i.text("sandbox")]
    if not any(i.text("mac").lower() in ("", row["mac"]) for i in inside):
        found.append(f"prevResult has no interface {request.ifname} with MAC {row['mac']}")
    told = {ip.text("address") for ip in before.objects("ips")}
    found += [f"prevResult has no address {address}" for address in row["addresses"] if address not in told]
    if row["ns"] != request.netns:
        found.append(f"it is attached at {row['ns'] or 'no namespace'}, not at {request.netns}")
    return found
