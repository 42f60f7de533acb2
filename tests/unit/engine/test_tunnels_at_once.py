"""What of a kernel's tunnels a host can have several of."""

from __future__ import annotations

import pytest

from wefted.errors import InUse

from .cluster import members


async def test_a_second_network_with_ipv4_in_ipv4_is_refused() -> None:
    (a,) = await members(1)
    await a.call("network.create", name="one", backend="ipip", subnets=["10.71.0.0/16"])
    with pytest.raises(InUse, match="joins network 'one' already"):
        await a.call("network.create", name="two", backend="ipip", subnets=["10.72.0.0/16"])
    await a.call("network.create", name="three", backend="vxlan", subnets=["10.73.0.0/16"])
    await a.call("network.remove", names=["one"])
    await a.call("network.create", name="two", backend="ipip", subnets=["10.72.0.0/16"])
