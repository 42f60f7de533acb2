"""An engine on fakes that is told where containers are, and calls of the CNI plugin on it."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import count
from typing import Any

from wefted.model import spec
from wefted.model.objects import Netns
from wefted.plugins import Answer, Call, cni
from wefted.testing.runtime import FakeRuntime

from ..engine.cluster import Member, members

CONFIG: dict[str, Any] = {"cniVersion": "1.1.0", "name": "net1", "type": "wefted", "subnet": "10.55.0.0/24"}


class ToldFake(FakeRuntime):
    """A runtime in memory to which anybody may tell a container: it is there as long as its path is."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.there: dict[str, int] = {}
        """Path -> which namespace it is."""
        self._told: dict[str, tuple[str, int]] = {}

    def tell(self, name: str, path: str) -> None:
        """Say where a container is."""
        spec.container(f"path:{path}")
        place = (path, self.there.get(path, 0))
        if not place[1]:
            self._sandboxes.pop(name, None)
        elif self._told.get(name) != place:
            self._sandboxes[name] = replace(self.add(name, path), identity=f"{self.kind}:{place[1]}")
        self._told[name] = place


class Host:
    """One host of `engine.cluster` with the kinds cni and oci."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self.engine = member.engine
        self._numbers = count(1)
        self.cni, self.oci = ToldFake("cni"), ToldFake("oci")
        member.engine.host.runtimes = {**member.engine.host.runtimes, "cni": self.cni, "oci": self.oci}

    @classmethod
    async def start(cls, *names: str) -> Host:
        """Return a host with these namespaces below /run/netns."""
        host = cls((await members(1))[0])
        for name in names:
            host.make(f"/run/netns/{name}")
        return host

    def make(self, path: str) -> None:
        """Make a namespace at a path; where one was, it is another one."""
        number = next(self._numbers)
        for runtime in (self.cni, self.oci):
            runtime.there[path] = number
        self.member.kernel.add_namespace(Netns(path))

    def remove(self, path: str) -> None:
        """Let a namespace die."""
        for runtime in (self.cni, self.oci):
            runtime.there[path] = 0
        self.member.kernel.remove_namespace(Netns(path))

    async def call(self, command: str, config: Any = None, **variables: str) -> Answer:
        """Call the plugin; `variables` are those of the specification without their prefix, beside the usual ones."""
        name = variables.get("CONTAINERID", "c1")
        usual = {"COMMAND": command, "CONTAINERID": name, "NETNS": f"/run/netns/{name}", "IFNAME": "eth0"}
        environment = {f"CNI_{key}": value for key, value in (usual | variables).items()}
        given = config if isinstance(config, bytes) else json.dumps(CONFIG if config is None else config).encode()
        return await cni.answer(self.engine, Call(environment=tuple(environment.items()), input=given.decode("latin-1")))

    async def done(self, command: str, config: Any = None, **variables: str) -> Any:
        """Call the plugin and return what it prints; it must succeed."""
        answer = await self.call(command, config, **variables)
        assert answer.exit_code == 0, answer.output
        return answer.output

    async def refused(self, command: str, config: Any = None, **variables: str) -> dict[str, Any]:
        """Call the plugin and return its error; it must fail as the specification says."""
        answer = await self.call(command, config, **variables)
        assert answer.exit_code == 1
        assert set(answer.output) == {"cniVersion", "code", "msg", "details"}
        assert isinstance(answer.output["code"], int)
        assert answer.output["msg"]
        return answer.output

    async def rows(self) -> list[dict[str, Any]]:
        """Return the endpoints of this host."""
        return await self.engine.call("endpoint.list", {})
