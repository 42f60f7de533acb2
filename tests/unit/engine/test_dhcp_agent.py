"""Leases that an agent keeps: renewal, loss, restarts, containers that come back; the LAN and the kernel are in memory."""

from __future__ import annotations

import asyncio
import errno
from contextlib import suppress
from ipaddress import ip_address

import pytest

from wefted.errors import KernelError, WeftedError
from wefted.model.objects import Netns
from wefted.model.sandbox import SandboxEvent
from wefted.services.dhcp import message as m
from wefted.services.dhcp.message import Kind

from .lan import ATTACHED, Lan, agent, connect, endpoint, inside, one, plug, until


async def test_the_agent_renews() -> None:
    lan = Lan()
    lan.duration, lan.renewal, lan.rebinding = 100, 1, 50
    host = await one(lan)
    host.add("c1")
    async with agent(host):
        await connect(host)
        first = endpoint(host).dhcp
        await until(lambda: endpoint(host).dhcp != first)
    assert lan.kinds()[:3] == [*ATTACHED, Kind.REQUEST]
    assert lan.heard[2].ciaddr == ip_address("192.168.1.10")
    assert inside(host) == ["0.0.0.0/0 192.168.1.1", "192.168.1.10/24"]


async def test_without_an_agent_nothing_goes_on_and_the_next_agent_takes_over() -> None:
    lan = Lan()
    host = await one(lan)
    host.add("c1")
    await connect(host)
    assert [task for task in asyncio.all_tasks() if "_keep" in repr(task)] == []
    await host.start()
    plug(host, lan)
    async with agent(host):
        await until(lambda: len(lan.heard) > 2)
    again = lan.heard[2]
    assert (again.kind, again.address(m.REQUESTED), again.ciaddr) == (Kind.REQUEST, ip_address("192.168.1.10"), m.NOBODY)
    assert again.options[m.CLIENT] == lan.heard[0].options[m.CLIENT]


async def test_an_address_that_changes_changes_the_endpoint() -> None:
    lan = Lan()
    host = await one(lan)
    host.add("c1")
    await connect(host)
    await host.start()
    plug(host, lan)
    lan.renumber()
    async with agent(host):
        await until(lambda: "192.168.1.111/24" in inside(host))
    assert await host.settle() == 0
    assert "192.168.1.10/24" not in inside(host)


async def test_a_lease_that_ends_takes_its_address_away() -> None:
    lan = Lan()
    lan.duration, lan.renewal, lan.rebinding = 2, 1, 1
    host = await one(lan)
    host.add("c1")
    async with agent(host):
        await connect(host)
        lan.silent = True
        await until(lambda: inside(host) == [])
        (row,) = await host.call("endpoint.list")
        assert (row["state"], row["addresses"], row["default_route"]) == ("failed", [], False)
        assert "the DHCP lease of 192.168.1.10/24 is lost: it has ended" in row["error"]
        lan.silent = False
        lan.duration, lan.renewal, lan.rebinding = 3600, 1000, 3000
        await until(lambda: inside(host) == ["0.0.0.0/0 192.168.1.1", "192.168.1.10/24"])
        await until(lambda: not host.engine.host.failures)


async def test_a_container_that_comes_back_has_its_address_at_once_and_confirms_it() -> None:
    lan = Lan()
    host = await one(lan)
    host.add("c1")
    async with agent(host):
        await connect(host)
        host.remove("c1")
        await host.engine.endpoints.following.sandbox_changed(SandboxEvent(container="netns:c1", sandbox=None))
        host.add("c1")
        lan.heard.clear()
        sandbox = await host.runtime.find("c1")
        await host.engine.endpoints.following.sandbox_changed(SandboxEvent(container="netns:c1", sandbox=sandbox))
        assert inside(host) == ["0.0.0.0/0 192.168.1.1", "192.168.1.10/24"], "before any server was asked"
        await until(lambda: endpoint(host).dhcp.identity == sandbox.identity)  # type: ignore[union-attr]
    assert lan.kinds() == [Kind.REQUEST]
    assert lan.heard[0].address(m.REQUESTED) == ip_address("192.168.1.10")


async def test_a_crash_in_the_middle_is_completed_by_the_next_agent() -> None:
    lan = Lan()
    lan.silent = True
    host = await one(lan, timeout=30)
    host.add("c1")
    asking = asyncio.create_task(connect(host))
    await until(lambda: bool(lan.heard))
    records = {item.key: item.value for item in (await host.local.read("endpoint/")).items.values()}
    assert len(records) == 1, "it is written down before it is asked for"
    lan.silent = False
    crashed, host.engine = host.engine, None  # type: ignore[assignment]
    await host.start()
    plug(host, lan)
    async with agent(host):
        await until(lambda: [str(a) for a in endpoint(host).addresses] == ["192.168.1.10/24"])
    asking.cancel()
    crashed.host.local = type(host.local)()  # what the dead one still does reaches nobody
    with suppress(asyncio.CancelledError, Exception):
        await asking


async def test_nothing_is_asked_for_after_the_release() -> None:
    lan = Lan()
    host = await one(lan)
    host.add("c1")
    async with agent(host):
        for _ in range(3):
            await connect(host)
            lan.heard.clear()
            await host.call("network.disconnect", network="lan", containers=["c1"])
            await asyncio.sleep(0)
            assert (lan.kinds(), lan.leases) == ([Kind.RELEASE], {})


async def test_a_detach_that_the_kernel_refuses_lets_the_lease_live() -> None:
    lan = Lan()
    host = await one(lan)
    host.add("c1")
    async with agent(host):
        await connect(host)
        key = ("link", Netns("/run/fake/netns/c1"), "eth0")
        host.kernel.refuse[key] = errno.EBUSY
        with pytest.raises(KernelError, match="cannot detach"):
            await host.call("network.disconnect", network="lan", containers=["c1"])
        del host.kernel.refuse[key]
        await until(lambda: inside(host) == ["0.0.0.0/0 192.168.1.1", "192.168.1.11/24"])


async def test_a_disconnect_ends_the_waiting() -> None:
    lan = Lan()
    lan.silent = True
    host = await one(lan, timeout=30)
    host.add("c1")
    asking = asyncio.create_task(connect(host))
    await until(lambda: bool(lan.heard))
    await host.call("network.disconnect", network="lan", containers=["c1"])
    with pytest.raises(WeftedError, match="netns:c1 was disconnected while it waited for an address"):
        await asking
    assert await host.call("endpoint.list") == []


async def test_others_attach_while_one_waits() -> None:
    lan = Lan()
    lan.silent = True
    host = await one(lan, timeout=30)
    host.add("c1")
    asking = asyncio.create_task(connect(host))
    await until(lambda: bool(lan.heard))
    await host.call("network.create", name="net")
    async with asyncio.timeout(5):
        await host.call("network.connect", network="net", containers=[host.add("c2")])
    asking.cancel()
    with suppress(asyncio.CancelledError):
        await asking
    assert [row["container"] for row in await host.call("endpoint.list")] == ["netns:c2"], "who gives up waiting leaves nothing"
