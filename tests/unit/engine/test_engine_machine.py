"""Two hosts under any sequence of operations, crashes and cuts, held against a model of what should be."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from wefted.errors import UsageError, WeftedError

from .cluster import Member, members

HOSTS = st.integers(0, 1)
NAMES = st.sampled_from(["c1", "c2", "c3"])
NETWORKS = st.sampled_from(["isle", "wide"])
PORTS = st.integers(8000, 8003)


class Hosts(RuleBasedStateMachine):
    """The model: (host, container, network) -> addresses, for every endpoint that should be."""

    @initialize()
    def start(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.hosts: list[Member] = self.run(members(2))
        self.endpoints: dict[tuple[int, str, str], list[str]] = {}
        self.running: set[tuple[int, str]] = set()
        self.run(self.hosts[0].call("network.create", name="isle", subnets=["10.1.0.0/29"]))
        self.run(
            self.hosts[0].call("network.create", name="wide", backend="vxlan", subnets=["10.2.0.0/26"], options={"block": "29"})
        )

    def run(self, coroutine: Any) -> Any:
        return self.loop.run_until_complete(coroutine)

    @rule(host=HOSTS, name=NAMES)
    def start_container(self, host: int, name: str) -> None:
        if (host, name) not in self.running:
            self.hosts[host].add(name)
            self.running.add((host, name))
            self.run(self.hosts[host].settle())

    @rule(host=HOSTS, name=NAMES)
    def stop_container(self, host: int, name: str) -> None:
        if (host, name) in self.running:
            self.hosts[host].remove(name)
            self.running.discard((host, name))
            self.run(self.hosts[host].settle())

    @rule(host=HOSTS, name=NAMES, network=NETWORKS)
    def connect(self, host: int, name: str, network: str) -> None:
        try:
            (row,) = self.run(self.hosts[host].call("network.connect", network=network, containers=[f"netns:{name}"]))
        except UsageError:
            assert (host, name) not in self.running
            return
        before = self.endpoints.setdefault((host, name, network), row["addresses"])
        assert row["addresses"] == before

    @rule(host=HOSTS, name=NAMES, network=NETWORKS)
    def disconnect(self, host: int, name: str, network: str) -> None:
        try:
            self.run(self.hosts[host].call("network.disconnect", network=network, containers=[f"netns:{name}"]))
        except UsageError:
            assert (host, name, network) not in self.endpoints
            return
        del self.endpoints[host, name, network]

    @rule(host=HOSTS, name=NAMES, network=NETWORKS, port=PORTS)
    def publish(self, host: int, name: str, network: str, port: int) -> None:
        try:
            self.run(
                self.hosts[host].call("endpoint.publish", container=f"netns:{name}", network=network, ports=[f"{port}:80"])
            )
        except UsageError:
            return
        assert (host, name, network) in self.endpoints

    @rule(host=HOSTS)
    def restart_the_process(self, host: int) -> None:
        self.run(self.hosts[host].start())

    @rule(host=HOSTS, name=NAMES, network=NETWORKS)
    def crash_in_an_attach(self, host: int, name: str, network: str) -> None:
        """The process dies right after it has written what it will do, before the kernel hears of it."""
        member = self.hosts[host]

        async def die(*_: Any) -> Any:
            raise Crash

        member.engine.endpoints._realise = die  # type: ignore[method-assign]
        member.engine.endpoints._undo = die  # type: ignore[method-assign]
        known = (host, name, network) in self.endpoints
        with contextlib.suppress(Crash, WeftedError):
            self.run(member.call("network.connect", network=network, containers=[f"netns:{name}"]))
        self.run(member.start())
        self.run(member.settle())
        for row in self.run(member.call("endpoint.list")):
            if (row["host"], row["container"], row["network"]) == (f"h{host + 1}", f"netns:{name}", network) and not known:
                self.endpoints[host, name, network] = row["addresses"]

    @invariant()
    def no_address_twice(self) -> None:
        everything: list[Any] = []
        for (host, _, network), addresses in self.endpoints.items():
            everything += [(host if network == "isle" else None, a) for a in addresses]
        assert len(everything) == len(set(everything))

    @invariant()
    def records_and_kernels_are_as_they_should_be(self) -> None:
        for number, member in enumerate(self.hosts):
            self.run(member.settle())
            assert self.run(member.settle()) == 0
            rows = [r for r in self.run(member.call("endpoint.list")) if r["host"] == f"h{number + 1}"]
            mine = {(c, n): a for (h, c, n), a in self.endpoints.items() if h == number}
            assert {(r["container"].removeprefix("netns:"), r["network"]): r["addresses"] for r in rows} == mine
            for row in rows:
                up = (number, row["container"].removeprefix("netns:")) in self.running
                assert row["state"] == ("up" if up else "down")


class Crash(Exception):
    """The end of a process."""


TestHosts = Hosts.TestCase
TestHosts.settings = settings(max_examples=30, stateful_step_count=15)
