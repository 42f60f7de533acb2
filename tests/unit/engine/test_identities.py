"""Which container is which: new names, two names for one namespace, and engines that do not answer."""

from __future__ import annotations

import pytest

from wefted.errors import InUse, NotFound, Unreachable
from wefted.model.objects import HOST
from wefted.model.sandbox import Sandbox, SandboxEvent
from wefted.testing.runtime import FakeRuntime

from .cluster import Member, members


async def attached(*names: str) -> Member:
    """Return a host with these containers in the network `net`."""
    host = (await members(1))[0]
    await host.call("network.create", name="net")
    for name in names:
        await host.call("network.connect", network="net", containers=[host.add(name)])
    return host


async def tell(host: Member, name: str, renamed: str = "") -> None:
    """Tell the engine of a container as it is now."""
    found = await host.runtime.find(name)
    container = f"netns:{name}"
    await host.engine.endpoints.following.sandbox_changed(SandboxEvent(container=container, sandbox=found, renamed=renamed))


async def listed(host: Member) -> dict[str, dict[str, object]]:
    return {row["container"]: row for row in await host.call("endpoint.list")}


async def test_a_new_name_changes_nothing_but_the_name() -> None:
    host = await attached("c1")
    before, state = (await listed(host))["netns:c1"], host.state()
    host.runtime.rename("c1", "c2")
    await tell(host, "c2", renamed="netns:c1")
    after = await listed(host)
    assert after == {"netns:c2": before | {"container": "netns:c2", "made_for": "netns:c1"}}
    assert host.state() == state
    assert await host.settle() == 0


async def test_a_name_given_back_leaves_no_trace() -> None:
    host = await attached("c1")
    before = await listed(host)
    for old, new in (("c1", "c2"), ("c2", "c1")):
        host.runtime.rename(old, new)
        await tell(host, new, renamed=f"netns:{old}")
    assert await listed(host) == before


async def test_the_old_name_is_free_for_another_container() -> None:
    host = await attached("c1")
    host.runtime.rename("c1", "c2")
    await tell(host, "c2", renamed="netns:c1")
    host.add("c1")
    await host.call("network.connect", network="net", containers=["c1"])
    rows = await listed(host)
    assert len({row["id"] for row in rows.values()}) == 2
    assert len({str(row["addresses"]) for row in rows.values()}) == 2
    assert len([link for link in host.state()[HOST] if link[0] == "link" and str(link[2]).startswith("ve-")]) == 2
    await host.call("network.disconnect", network="net", containers=["c1", "c2"])
    assert await listed(host) == {}
    assert await host.settle() == 0


async def test_a_new_name_that_nobody_told_is_seen_at_the_next_start() -> None:
    host = await attached("c1")
    before = (await listed(host))["netns:c1"]
    host.runtime.rename("c1", "c2")
    await host.start()
    await host.settle()
    assert {name: (row["id"], row["state"]) for name, row in (await listed(host)).items()} == {"netns:c2": (before["id"], "up")}


async def test_a_new_name_that_nobody_told_is_seen_when_the_container_starts() -> None:
    host = await attached("c1")
    host.remove("c1")
    await host.engine.endpoints.following.sandbox_changed(SandboxEvent(container="netns:c1", sandbox=None))
    host.runtime.rename("c1", "c2")
    host.add("c2")
    await tell(host, "c2")
    assert {name: row["state"] for name, row in (await listed(host)).items()} == {"netns:c2": "up"}


async def test_what_waits_under_the_new_name_gives_way() -> None:
    host = await attached("c1", "c2")
    addresses = (await listed(host))["netns:c1"]["addresses"]
    host.remove("c2")
    await host.engine.endpoints.following.sandbox_changed(SandboxEvent(container="netns:c2", sandbox=None))
    host.runtime.forget("c2")
    host.runtime.rename("c1", "c2")
    await tell(host, "c2", renamed="netns:c1")
    assert {name: row["addresses"] for name, row in (await listed(host)).items()} == {"netns:c2": addresses}
    assert await host.settle() == 0


async def test_a_namespace_is_attached_once_whatever_it_is_called() -> None:
    host = await attached("c1")
    found = await host.runtime.find("c1")
    assert found is not None
    host.runtime._sandboxes["twin"] = Sandbox(container="netns:twin", ns=found.ns, identity=found.identity, id="7")
    with pytest.raises(InUse, match="netns:twin lives in the namespace of netns:c1, which is in network 'net' already"):
        await host.call("network.connect", network="net", containers=["twin"])
    await host.call("network.create", name="other")
    await host.call("network.connect", network="other", containers=["twin"], ifname="net1")
    await host.call("network.disconnect", network="net", containers=["c1"])
    await host.call("network.connect", network="net", containers=["twin"])


async def test_who_moves_into_another_containers_namespace_has_none_of_his_own() -> None:
    host = await attached("c1", "c2")
    other = await host.runtime.find("c2")
    assert other is not None
    host.runtime._sandboxes["c1"] = other  # made anew with --net container:c2
    await host.settle()
    assert {name: row["state"] for name, row in (await listed(host)).items()} == {"netns:c1": "down", "netns:c2": "up"}


@pytest.mark.parametrize("error", [Unreachable("it hangs"), NotFound("it is not there")])
async def test_while_an_engine_is_away_what_still_stands_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """A namespace that is the same as before is believed to be the container's; one that is not is given up."""

    async def away(self: FakeRuntime, name: str) -> Sandbox | None:
        raise error

    host = await attached("c1", "c2")
    standing = {row["ns"]: row["identity"] for row in (await listed(host)).values() if row["container"] == "netns:c1"}
    monkeypatch.setattr(FakeRuntime, "find", away)
    monkeypatch.setattr("wefted.engine.identities.identity_of", lambda path: standing.get(path))
    await host.settle()
    assert {name: row["state"] for name, row in (await listed(host)).items()} == {"netns:c1": "up", "netns:c2": "down"}
