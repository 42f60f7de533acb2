"""Names for the containers of an engine that answers DNS itself (Docker) and passes on what it does not know. Pure.

Docker's 127.0.0.11 asks the host's name servers, from the container's address. These questions, and no others, go to the name
server on our gateway, which knows the containers of all hosts and asks the same servers for the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import ip_network

from wefted.model.network import Endpoint, Segment
from wefted.model.objects import KernelObject

from .elements import subnet
from .table import TABLE


class Resolve:
    """Redirects what plugged containers ask the servers in `Node.resolvers`."""

    name = "resolve"

    def plan(self, segment: Segment, endpoints: Sequence[Endpoint]) -> Iterator[KernelObject]:
        """Yield the host's name servers, and the address of each container; nothing where we answer nobody."""
        plugged = [endpoint for endpoint in endpoints if endpoint.plugged]
        if not plugged or not segment.host_gateway or not segment.gateways or not segment.node.resolvers:
            return
        yield TABLE
        for server in segment.node.resolvers:
            yield subnet("resolvers", ip_network(server))
        for endpoint in plugged:
            for address in endpoint.addresses if endpoint.attached else ():
                yield subnet("asking", ip_network(address.ip))
