"""What the agent takes from Docker's lists, as several versions of it write them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from wefted.agent.docker import DockerService
from wefted.errors import NotFound
from wefted.runtime.engineapi import EngineApi

from ..plugins.docker_host import DockerHost, docker_hosts

CONTAINER = "c0ffee" * 10 + "abcd"
SHORT = CONTAINER[:12]
NETWORKS = {
    "20.10": {"Name": "net1", "Aliases": ["db", SHORT]},
    # As 26.1.5 and 28.5.2 told it of a container of ours, without what nobody reads.
    "26.1": {"Aliases": ["db"], "DNSNames": ["web1", "db", SHORT], "MacAddress": "02:77:0a:40:00:02", "DriverOpts": None},
    "28.5": {"Aliases": ["db"], "DNSNames": ["web1", "db", SHORT], "DriverOpts": None, "GwPriority": 0, "IPAMConfig": None},
    # Aliases are what the user said, names are all of them (API 1.44, 1.45); GwPriority is of 1.48, Status of 1.52.
    "29": {"Name": "net1", "Aliases": ["db"], "DNSNames": ["web1", "db", SHORT], "GwPriority": 0, "MacAddress": "02:42"},
    "29, without": {"Name": "net1", "Aliases": None, "DNSNames": ["web1", SHORT]},
}


@pytest.fixture
async def host() -> AsyncIterator[DockerHost]:
    (one,) = await docker_hosts(1)
    yield one
    await one.member.engine.close()


def answers(network: str, word: str) -> dict[str, Any]:
    members = {CONTAINER: {"Name": "web1", "EndpointID": "e1", "MacAddress": "02:42", "IPv4Address": "10.64.0.2/16"}}
    own = {"Id": network, "Name": "net1", "IPAM": {"Driver": "wefted", "Config": [{"Subnet": "10.64.0.0/16"}]}}
    plain = {"Id": "of-docker", "Name": "host", "IPAM": {"Driver": "default", "Options": None, "Config": None}}
    place = NETWORKS[word]
    return {
        "/networks": [{**own, "Containers": {}}, plain],
        f"/networks/{network}": {**own, "Containers": members, "Status": {"IPAM": {"Subnets": {}}}},
        f"/containers/{CONTAINER}/json": {"Name": "/web1", "NetworkSettings": {"Networks": {"net1": place}}},
    }


@pytest.mark.parametrize("word", NETWORKS)
async def test_names_are_taken_and_what_docker_does_not_list_is_dropped(
    host: DockerHost, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = await host.network("net1")
    await host.run(network, "e1")
    await host.run(network, "e2")
    listed = answers(network, word)

    async def get(api: EngineApi, resource: str, **query: Any) -> Any:
        if resource not in listed:
            raise NotFound(f"docker refuses: no {resource}")
        return listed[resource]

    monkeypatch.setattr(EngineApi, "get", get)
    service = DockerService(host.member.engine, "off", tmp_path / "managed")
    await service._desk.records.load()
    await service._compare(0.0)
    (row,) = await host.member.call("endpoint.list")
    assert row["container"] == "docker:web1"
    told = {*(NETWORKS[word]["Aliases"] or ()), *(NETWORKS[word].get("DNSNames") or ())}  # type: ignore[misc]
    assert set(row["aliases"]) == told
    del listed[f"/networks/{network}"]
    listed["/networks"] = []
    await service._compare(0.0)
    assert await host.member.call("endpoint.list") == []
