"""Which of its network's bridges an endpoint becomes a port of. Counted, so that an attach looks at no other endpoint."""

from __future__ import annotations

from collections.abc import Iterable

from wefted.model.network import Endpoint, Network

ROOM = 256
"""Endpoints in one bridge. The kernel takes 1,023 ports, but to add one it goes through all that are there (br_add_if,
net/bridge/br_if.c), so each attach is dearer than the one before until the next bridge begins. And a frame that is flooded is
queued for two bridges at a time, which must be less than 1,000 copies (net.core.netdev_max_backlog)."""
ROOM_TO_PUBLISH = 512
"""In the first bridge, for endpoints with published ports. Where br_netfilter is on, a container that asks for a port of its
host is turned back at the port of the first bridge by which it came; a port that leads to a whole bridge cannot do that."""


class Places:
    """How many endpoints of this host each bridge of each network has."""

    def __init__(self) -> None:
        self._taken: dict[str, list[int]] = {}

    def enter(self, endpoint: Endpoint) -> None:
        """Count an endpoint."""
        taken = self._taken.setdefault(endpoint.network, [])
        taken.extend([0] * (endpoint.bridge + 1 - len(taken)))
        taken[endpoint.bridge] += 1

    def leave(self, endpoint: Endpoint) -> None:
        """Count an endpoint no longer."""
        taken = self._taken[endpoint.network]
        taken[endpoint.bridge] -= 1
        while taken and not taken[-1]:
            taken.pop()
        if not taken:
            del self._taken[endpoint.network]

    def last(self, network: str) -> int:
        """Return the number of the network's last bridge that has an endpoint."""
        return max(0, len(self._taken.get(network, ())) - 1)

    def choose(self, network: Network, *, publishes: bool) -> int:
        """Return the lowest bridge with room (somebody else's bridge has no further ones)."""
        if network.driver != "bridge" or network.guest_of:
            return 0
        taken = self._taken.get(network.name, ())
        return _lowest(taken, ROOM_TO_PUBLISH if publishes else ROOM)

    def to_publish(self, network: Network, endpoint: Endpoint) -> int:
        """Return where an endpoint that begins to publish ports shall be: in the first bridge while that has room."""
        chosen = self.choose(network, publishes=True)
        return endpoint.bridge if chosen else 0


def _lowest(taken: Iterable[int], room_in_first: int) -> int:
    number = -1
    for number, count in enumerate(taken):
        if count < (ROOM if number else room_in_first):
            return number
    return number + 1
