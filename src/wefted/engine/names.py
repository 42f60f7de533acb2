"""The names of all endpoints as this host knows them, also while the store is down; and the operations that show them."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from wefted.errors import NotFound
from wefted.model.nearest import nearest
from wefted.model.network import Endpoint
from wefted.services.dns.zone import Zone

from . import keys
from .host import Host
from .operations import Lookup, Nothing


class Names:
    """Keeps a zone in step with the host: after a change it looks at the endpoints that changed and at no others."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.zone = Zone(host.domain)
        self._begun = False

    def refresh(self) -> set[str]:
        """Bring the zone up to date; return the keys of the endpoints that were looked at."""
        dirty = self._host.take_renamed()
        if not self._begun:
            self._begun = True
            mine = {keys.published(self._host.node.id, identifier) for identifier in self._host.endpoints}
            dirty |= mine | set(self._host.view.endpoints)
        for key in dirty:
            self.zone.put(key, self._endpoint(key))
        return dirty

    async def list_all(self, _: Nothing) -> Any:
        """Return a row for each endpoint that has names."""
        await self._look()
        rows = []
        for key, member in self.zone.members.items():
            endpoint = self._endpoint(key)
            if endpoint is not None:
                rows.append(
                    {
                        "names": list(member.names),
                        "addresses": list(map(str, member.addresses)),
                        "network": endpoint.network,
                        "container": endpoint.container,
                        "host": self._host.node_name(key.split("/")[1]),
                    }
                )
        return sorted(rows, key=lambda row: (row["names"], row["host"]))

    async def lookup(self, request: Lookup) -> Any:
        """Return what a name or an address stands for. Raises `NotFound`."""
        await self._look()
        try:
            address = ip_address(request.name)
        except ValueError:
            return self._of_name(request.name)
        names = self.zone.names_of(address)
        if not names:
            raise NotFound(f"no endpoint has the address {address}", "see them all: wefted dns ls")
        return {"name": names[0], "addresses": [str(address)], "names": names, "services": []}

    def _of_name(self, text: str) -> Any:
        name = self.zone.find(text)
        addresses, services = self.zone.addresses(name), self.zone.services(name)
        if not addresses and not services:
            known = {n for member in self.zone.members.values() for n in member.names}
            close = nearest(name, known)
            hint = f"did you mean {close}?" if close else "see them all: wefted dns ls"
            raise NotFound(f"there is no name {name}", hint)
        return {
            "name": name,
            "addresses": list(map(str, addresses)),
            "names": [name],
            "services": [{"port": s.port, "target": s.target} for s in services],
        }

    async def _look(self) -> None:
        if not self._host.live:
            await self._host.refresh()
            self.refresh()

    def _endpoint(self, key: str) -> Endpoint | None:
        """Return the endpoint of a published key; of our own ones we know more than the store does."""
        _, node, identifier = key.split("/", 2)
        if node == self._host.node.id:
            return self._host.endpoints.get(identifier)
        return self._host.view.endpoints.get(key)
