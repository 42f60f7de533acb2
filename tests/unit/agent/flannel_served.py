"""A flannel server over an etcd in memory, for tests of it and of its clients."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from wefted.agent.flannel_networks import LentNetworks
from wefted.agent.flannel_server import FlannelServer
from wefted.agent.http import Request
from wefted.store.flannel import FlannelStore
from wefted.store.memory import MemoryStore

PREFIX = "/nets/"
CONFIG = b'{"Network":"10.5.0.0/16","SubnetLen":24,"Backend":{"Type":"udp"}}'
DEADLINE = 10
TEXT = "text/plain; charset=utf-8"


@dataclass
class Served:
    """An etcd in memory and a server over it, which can be replaced by a new one."""

    root: MemoryStore = field(default_factory=MemoryStore)
    port: int = 0

    async def start(self) -> None:
        self.networks = LentNetworks(FlannelStore(self.root, "/wefted/", ()), PREFIX, "3")
        self.http = FlannelServer(self.networks)
        self.tcp = await asyncio.get_running_loop().create_server(self.http.connection, "127.0.0.1", self.port)
        self.port = self.tcp.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self.tcp.close()
        for task in self.http.running:
            task.cancel()
        await asyncio.gather(*self.http.running, return_exceptions=True)
        await self.networks.close()

    async def ask(self, method: str, path: str, body: Any = None, node: str = "") -> tuple[int, Any]:
        data = json.dumps(body).encode() if body is not None else b""
        path, _, query = path.partition("?")
        request = Request(method, f"/v1/{path}", data, query, {"wefted-node": node} if node else {})
        found = await asyncio.wait_for(self.http.answer(request), DEADLINE)
        is_json = found.content_type.startswith("application/json")
        assert is_json or found.content_type == TEXT
        return found.status, json.loads(found.body) if is_json else found.body.decode()

    async def lease(self, public: str, node: str = "", data: Any = None) -> dict[str, Any]:
        status, found = await self.ask("POST", "_/leases", {"PublicIP": public, "BackendData": data}, node)
        assert status == 200, found
        return dict(found)

    async def keys(self) -> dict[str, dict[str, Any]]:
        found = await self.root.read(f"{PREFIX}subnets/")
        return {key.rpartition("/")[2]: json.loads(item.value or b"") for key, item in found.items.items()}
