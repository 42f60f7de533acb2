"""The Docker runtime with daemons of several versions, which answer as their published API says.

Sources: docs.docker.com/reference/api/engine/version-history (what 1.44 to 1.52 changed), and for the oldest one what dockerd
20.10.24 was seen to send. Docker 29 refuses versions before 1.44, and tells events without `status`, `id` and `from`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from wefted.errors import NotFound, WeftedError
from wefted.model.objects import Netns
from wefted.model.sandbox import Sandbox
from wefted.runtime import docker
from wefted.runtime.docker import DockerRuntime
from wefted.runtime.engineapi import EngineApi
from wefted.testing.runtime_contract import until, watching

ID = "4bc48171aae24aedd1f076db7fb49f16542f60da0fd83fce64221ed65830f62f"
OLD, NEW = ((1, 12), (1, 41)), ((1, 44), (1, 52))
DEPRECATED = {"Bridge": "", "HairpinMode": False, "LinkLocalIPv6Address": "", "IPAddress": "172.17.0.2", "MacAddress": "02:42"}
"""Fields of NetworkSettings that API 1.52 has no more."""


@dataclass
class Daemon:
    """A dockerd with one container `web`, which speaks the versions of `spoken`."""

    spoken: tuple[tuple[int, int], tuple[int, int]]
    asked: list[str] = field(default_factory=list)
    listening: list[asyncio.StreamWriter] = field(default_factory=list)
    connected: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
        self.asked.append(target)
        url = urlsplit(target)
        query = {key: json.loads(values[0]) for key, values in parse_qs(url.query).items()}
        status, value = self.answer(url.path, query)
        if url.path.endswith("/events") and status == 200:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
            self.listening.append(writer)
            self.connected.set()
            return
        body = json.dumps(value).encode()
        writer.write(f"HTTP/1.1 {status} X\r\nApi-Version: 1.x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        writer.close()

    def answer(self, path: str, query: Any) -> tuple[int, Any]:
        oldest, newest = (".".join(map(str, version)) for version in self.spoken)
        if path == "/version":
            return 200, {"ApiVersion": newest, "MinAPIVersion": oldest, "Version": "x", "Components": []}
        word, _, resource = path.removeprefix("/v").partition("/")
        version = tuple(map(int, word.split(".")))
        if version < self.spoken[0]:
            least = f"Minimum supported API version is {oldest}, please upgrade your client to a newer version"
            return 400, {"message": f"client version {word} is too old. {least}"}
        if version > self.spoken[1]:
            return 400, {"message": f"client version {word} is too new. Maximum supported API version is {newest}"}
        if resource == "containers/json":
            names = query["filters"].get("name", [""]) if query else [""]
            return 200, [{"Id": ID, "Names": ["/web"]}] if names[0] in ("", "^/?web$") else []
        if resource == "events":
            return 200, None
        return (200, self.inspected()) if resource == f"containers/{ID}/json" else (404, {"message": "no such container"})

    def inspected(self) -> Any:
        settings: dict[str, Any] = {
            "SandboxID": "5f0c",
            "SandboxKey": "/var/run/docker/netns/5f0c",
            "Ports": {},
            "Networks": {"net1": {"Aliases": None, "DNSNames": ["web", ID[:12]], "GwPriority": 0, "IPAddress": "10.64.0.2"}},
        }
        if self.spoken == OLD:
            settings |= DEPRECATED
            settings["Networks"]["net1"] = {"Aliases": [ID[:12]], "IPAddress": "10.64.0.2"}
        return {
            "Id": ID,
            "Name": "/web",
            "State": {"Status": "running", "Running": True, "Pid": 4242},
            "HostConfig": {"NetworkMode": "net1"},
            "Config": {"Labels": {"wefted.network": "blue", "app": "web"}},
            "NetworkSettings": settings,
        }

    def tell(self, action: str, **attributes: str) -> None:
        event: dict[str, Any] = {
            "Type": "container",
            "Action": action,
            "Actor": {"ID": ID, "Attributes": {"name": "web", **attributes}},
            "scope": "local",
            "time": 1,
            "timeNano": 1,
        }
        if self.spoken == OLD:
            event |= {"status": action, "id": ID, "from": "skel"}
        line = json.dumps(event).encode() + b"\n"
        for writer in self.listening:
            writer.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")


@asynccontextmanager
async def running(daemon: Daemon, path: Path) -> AsyncIterator[str]:
    server = await asyncio.start_unix_server(daemon.serve, path)
    try:
        yield str(path)
    finally:
        server.close()
        for writer in daemon.listening:
            writer.close()


@pytest.fixture(autouse=True)
def namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let process 4242 have a network namespace."""

    def found(container: str, path: str) -> Sandbox:
        return Sandbox(container=container, ns=Netns(path), identity="4:4026532321:7")

    monkeypatch.setattr(docker, "sandbox", found)
    monkeypatch.setattr(docker, "identity_of", lambda path: "4:4026532321:7")


WEB = Sandbox(
    container="docker:web", ns=Netns("/proc/4242/ns/net"), identity="4:4026532321:7", id=ID, said=(("wefted.network", "blue"),)
)


@pytest.mark.parametrize("spoken", [OLD, NEW, ((1, 24), (1, 44)), ((1, 24), (1, 47))], ids=["20.10", "29", "25", "27"])
async def test_a_container_is_found_and_followed(tmp_path: Path, spoken: tuple[tuple[int, int], tuple[int, int]]) -> None:
    daemon = Daemon(spoken)
    async with running(daemon, tmp_path / "s") as path:
        runtime = DockerRuntime(path)
        assert await runtime.find("web") == WEB
        assert await runtime.find("other") is None
        async with watching(runtime) as events:
            async with asyncio.timeout(5):
                await daemon.connected.wait()
            daemon.tell("die", exitCode="0")
            assert (await until(events, lambda e: e.container == "docker:web")).sandbox is None
            daemon.tell("start")
            assert (await until(events, lambda e: e.sandbox is not None)).sandbox == WEB
            daemon.tell("rename", name="web9", oldName="/web")
            event = await until(events, lambda e: bool(e.renamed))
            assert (event.container, event.renamed) == ("docker:web9", "docker:web")
            daemon.tell("destroy", name="web9")
            assert (await until(events, lambda e: e.container == "docker:web9")).sandbox is None
    wanted = "/v{}.{}/".format(*spoken[1])
    assert all(target.startswith((wanted, "/version")) for target in daemon.asked)


@pytest.mark.parametrize(("before", "after"), [(OLD, NEW), (NEW, OLD)], ids=["upgrade", "downgrade"])
async def test_another_daemon_on_the_socket_is_asked_in_its_own_version(tmp_path: Path, before: Any, after: Any) -> None:
    daemon = Daemon(before)
    async with running(daemon, tmp_path / "s") as path:
        runtime = DockerRuntime(path)
        await runtime.find("web")
        daemon.spoken = after
        assert await runtime.find("web") == WEB


async def test_a_daemon_that_refuses_every_version_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon = Daemon(NEW)
    monkeypatch.setattr("wefted.runtime.engineapi.chosen_version", lambda newest, oldest: "1.30")
    async with running(daemon, tmp_path / "s") as path:
        with pytest.raises(WeftedError, match=r"docker refuses: client version 1.30 is too old. Minimum supported API version"):
            await EngineApi("docker", path).get("/containers/json")
    assert len(daemon.asked) == 4


async def test_another_refusal_is_not_tried_again(tmp_path: Path) -> None:
    daemon = Daemon(NEW)
    async with running(daemon, tmp_path / "s") as path:
        with pytest.raises(NotFound):
            await EngineApi("docker", path).get("/containers/x/json")
    assert daemon.asked == ["/version", "/v1.52/containers/x/json"]
