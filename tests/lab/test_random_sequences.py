"""Random sequences of what users and fate do to one host, on a real kernel, held against a small model in memory.

After each step the records, the kernel and the plan must say what the model says; at the end everything is taken away, and
nothing may be left: no link, address, route or setting, no element of the firewall, no record. `make soak` runs 10,000 of them.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from ipaddress import ip_interface, ip_network
from itertools import combinations
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from wefted.errors import InUse, NotFound, UsageError

from .random_host import UPLINK, RandomHost
from .random_model import SHAPES, Member, Shape, asked, clash, narrow, parted

SEQUENCES = int(os.environ.get("WEFTED_SEQUENCES", "250"))
STEPS = int(os.environ.get("WEFTED_STEPS", "15"))
SHARE = 250
"""Sequences of one test: many are shared among the cores, and it is seen how far they are."""
BATCH = 25
BUDGET = 60.0 if SEQUENCES <= 1000 else float("inf")
"""Seconds after which no further batch is begun: 250 take half a minute, on a machine that has nothing else to do."""

pytestmark = [pytest.mark.lab, pytest.mark.timeout(0 if SEQUENCES > 1000 else 300)]


NETWORKS = st.sampled_from(["n1", "n2", "n3"])
CONTAINERS = st.sampled_from(["c1", "c2", "c3"])
SOURCES = st.sampled_from([[], [], ["none"], ["192.0.2.0/24", "2001:db8::/32"], ["192.0.2.128/25"]])
PLACES = st.integers(0, 17)
"""Which of those that there are; a number beyond them counts round."""
PORTS = st.builds("{}{}:80/{}".format, st.sampled_from(["", "127.0.0.1:", f"{UPLINK}:"]), st.integers(8000, 8002),
                  st.sampled_from(["tcp", "udp"]))  # fmt: skip


class Sequences(RuleBasedStateMachine):
    """The model: which networks there are, who is in them, who runs, and who holds a default route."""

    host: ClassVar[RandomHost]

    @initialize(
        live=st.booleans(),
        shapes=st.lists(st.sampled_from(SHAPES), min_size=2, max_size=3),
        attaches=st.lists(st.tuples(PLACES, st.none() | PORTS, st.integers(0, 2)), min_size=2, max_size=6),
    )
    def begin(self, live: bool, shapes: list[Shape], attaches: list[Any]) -> None:
        self.live = live
        self.shapes: dict[str, Shape] = {}
        self.members: dict[tuple[str, str], Member] = {}
        self.running = {"c1", "c2", "c3"}
        self.holder: dict[str, str] = {}
        self.unseen = False
        for name in sorted(self.running):
            self.host.start(name)
        self.host.open(live)
        for number, shape in enumerate(shapes, 1):
            self.create(f"n{number}", shape)
        for attach in attaches:
            self.connect(*attach)

    # -- networks --------------------------------------------------------------------------------------------------

    @rule(name=NETWORKS, shape=st.sampled_from(SHAPES))
    def create(self, name: str, shape: Shape) -> None:
        request = {"name": name, "subnets": shape.subnets(int(name[1:])), **shape.wanted}
        if name in self.shapes:
            with pytest.raises(InUse):
                self.host.call("network.create", **request)
            return
        self.host.call("network.create", **request)
        self.shapes[name] = shape

    @rule(name=NETWORKS)
    def remove(self, name: str) -> None:
        used = any(network == name for network, _ in self.members)
        if used or name not in self.shapes:
            with pytest.raises(InUse if used else NotFound):
                self.host.call("network.remove", names=[name])
            return
        self.host.call("network.remove", names=[name])
        del self.shapes[name]

    @rule(name=NETWORKS, masquerade=st.booleans(), isolated=st.booleans(), mtu=st.sampled_from([0, 1400]))
    def change(self, name: str, masquerade: bool, isolated: bool, mtu: int) -> None:
        shape = self.shapes.get(name)
        if shape is not None and shape.ports:
            self.host.call("network.set", name=name, masquerade=masquerade, isolated=isolated, mtu=mtu)

    # -- endpoints -------------------------------------------------------------------------------------------------

    @rule(place=PLACES, port=st.none() | PORTS, priority=st.integers(0, 2))
    def connect(self, place: int, port: str | None, priority: int) -> None:
        free = [(n, c) for n in sorted(self.shapes) for c in sorted(self.running) if (n, c) not in self.members]
        if not free:
            return
        network, name = free[place % len(free)]
        ports = [port] if port and self.shapes[network].ports else []
        taken = any(clash(p, q) for p in ports for member in self.members.values() for q in member.ports)
        request = {**asked(network, name), "publish": ports, "gateway_priority": priority}
        if taken or self._full(network):
            with pytest.raises(UsageError):
                self.host.call("network.connect", **request)
            return
        (row,) = self.host.call("network.connect", **request)
        self._enter(network, name, row, priority, ports)

    def _full(self, network: str) -> bool:
        """Tell whether no address is left: what the network's and the gateway's leave of the smallest of its subnets."""
        sizes = [ip_network(text).num_addresses - 3 for text in self.shapes[network].subnets(int(network[1:]))]
        return bool(sizes) and sum(n == network for n, _ in self.members) >= min(sizes)

    @rule(place=PLACES, port=st.none() | PORTS, priority=st.integers(0, 2))
    def connect_one_more(self, place: int, port: str | None, priority: int) -> None:
        """So that there is something to go wrong: each rule is as likely as any other."""
        self.connect(place, port, priority)

    @rule(network=NETWORKS, name=CONTAINERS)
    def connect_again_or_in_vain(self, network: str, name: str) -> None:
        known = self.members.get((network, name))
        if known is None:
            with pytest.raises(NotFound):
                self.host.call("network.disconnect", **asked(network, name))
        if known is None and network in self.shapes and name in self.running:
            return
        try:
            (row,) = self.host.call("network.connect", **asked(network, name))
        except UsageError:
            assert known is None or name not in self.running
        else:
            assert known is not None
            assert tuple(row["addresses"]) == known.addresses

    def _enter(self, network: str, name: str, row: Any, priority: int, ports: list[str]) -> None:
        self.members[network, name] = Member(row["ifname"], tuple(row["addresses"]), priority, list(ports))
        holder = self.holder.get(name)
        if self.shapes[network].gateway and (holder is None or self.members[holder, name].priority < priority):
            self.holder[name] = network

    @rule(place=PLACES)
    def disconnect(self, place: int) -> None:
        if self.members:
            network, name = sorted(self.members)[place % len(self.members)]
            self.host.call("network.disconnect", **asked(network, name))
            self._leave(network, name)

    def _leave(self, network: str, name: str) -> None:
        del self.members[network, name]
        if self.holder.get(name) == network:
            del self.holder[name]
            heirs = [(-m.priority, n) for (n, c), m in self.members.items() if c == name and self.shapes[n].gateway]
            if heirs:
                self.holder[name] = min(heirs)[1]

    @rule(place=PLACES, port=PORTS, sources=SOURCES)
    def publish(self, place: int, port: str, sources: list[str]) -> None:
        if not self.members:
            return
        network, name = sorted(self.members)[place % len(self.members)]
        mine = self.members[network, name]
        taken = any(clash(port, q) and not (m is mine and port == q) for m in self.members.values() for q in m.ports)
        request = {"container": f"netns:{name}", "network": network, "ports": [port], "sources": sources}
        if taken or not self.shapes[network].ports:
            with pytest.raises(UsageError):
                self.host.call("endpoint.publish", **request)
            return
        self.host.call("endpoint.publish", **request)
        mine.ports += [port] if port not in mine.ports else []

    @rule(name=CONTAINERS, last=st.booleans())
    def unpublish(self, name: str, last: bool) -> None:
        publishing = [(n, m) for (n, c), m in sorted(self.members.items()) if c == name and m.ports]
        for network, member in publishing[-1:] if last else publishing[:1]:
            self.host.call("endpoint.unpublish", container=f"netns:{name}", network=network, ports=[member.ports.pop()])

    # -- fate ------------------------------------------------------------------------------------------------------

    @rule(name=CONTAINERS, seen=st.booleans())
    def stop_or_start(self, name: str, seen: bool) -> None:
        if name in self.running:
            self.host.stop(name)
            self.running.remove(name)
        else:
            self.host.start(name)
            self.running.add(name)
        self._noticed(seen)

    def _noticed(self, seen: bool) -> None:
        self.unseen = self.unseen or not seen
        if seen:
            self.look()

    @rule()
    def look(self) -> None:
        self.host.look()
        self.unseen = False

    @rule(live=st.booleans())
    def restart(self, live: bool) -> None:
        """End the program, and start it as another one: what it knows it must find again."""
        self.host.close()
        self.host.open(live)
        self.live = live
        self.unseen = self.unseen and not live

    @rule(place=PLACES, after=st.integers(0, 12))
    def crash_in_attach(self, place: int, after: int) -> None:
        """Whatever had been done: the endpoint is there as a whole, or not at all."""
        free = [(n, c) for n in sorted(self.shapes) for c in sorted(self.running) if (n, c) not in self.members]
        if not free:
            return
        network, name = free[place % len(free)]
        self.unseen = False
        with contextlib.suppress(UsageError):
            self.host.crash(after, self.live, "network.connect", **asked(network, name))
        for row in self._rows(network, name):
            self._enter(network, name, row, 0, [])

    @rule(place=PLACES, after=st.integers(0, 4))
    def crash_in_detach(self, place: int, after: int) -> None:
        if not self.members:
            return
        network, name = sorted(self.members)[place % len(self.members)]
        self.host.crash(after, self.live, "network.disconnect", **asked(network, name))
        self.unseen = False
        if not self._rows(network, name):
            self._leave(network, name)

    def _rows(self, network: str, name: str) -> list[Any]:
        rows = self.host.call("endpoint.list")
        return [r for r in rows if (r["network"], r["container"]) == (network, f"netns:{name}")]

    @precondition(lambda self: not self.unseen)
    @rule(choice=st.integers(0, 5), place=st.integers(0, 9))
    def foreign_hand(self, choice: int, place: int) -> None:
        """Somebody takes away what is ours; a pass mends it, and the next one has nothing to do."""
        links = sorted(self.host.links() - self.host.base_links)
        attached = sorted(((n, c), m) for (n, c), m in self.members.items() if m.addresses and c in self.running)
        if choice == 0 and links:
            self.host.ip(f"link del {links[place % len(links)]}")
        elif choice == 1 and links:
            self.host.ip(f"link set {links[place % len(links)]} down")
        elif choice == 2 and attached:
            (_, name), member = attached[place % len(attached)]
            self.host.ip(f"address flush dev {member.ifname}", container=name)
        elif choice == 3 and attached:
            (_, name), member = attached[place % len(attached)]
            self.host.ip(f"link del {member.ifname}", container=name)
        elif choice == 4 and self.host.published():
            self.host.nft("flush ruleset")
        elif choice == 5 and attached:
            (_, name), member = attached[place % len(attached)]
            self.host.ip(f"link set {member.ifname} down", container=name)
        self.host.look()

    # -- what must hold --------------------------------------------------------------------------------------------

    @invariant()
    def records_are_as_the_model(self) -> None:
        if not hasattr(self, "members"):
            return
        rows = {(r["network"], r["container"].removeprefix("netns:")): r for r in self.host.call("endpoint.list")}
        assert {key: tuple(row["addresses"]) for key, row in rows.items()} == {k: m.addresses for k, m in self.members.items()}
        assert {n["name"] for n in self.host.call("network.list")} == set(self.shapes)
        assert {key[1]: key[0] for key, row in rows.items() if row["default_route"]} == self.holder
        for (network, _), member in self.members.items():
            subnets = [ip_network(text) for text in self.shapes[network].subnets(int(network[1:]))]
            assert [ip_interface(a).ip in s for a, s in zip(member.addresses, subnets, strict=True)] == [True] * len(subnets)
        everything = [(n, a) for (n, _), m in self.members.items() for a in m.addresses]
        assert len(everything) == len(set(everything)), "one address is given twice"

    @invariant()
    def the_kernel_is_as_the_model(self) -> None:
        if not hasattr(self, "members") or self.unseen:
            return
        assert self.host.drift() == []
        for name in self.running:
            mine = [(n, m) for (n, c), m in self.members.items() if c == name]
            addresses = {(m.ifname, narrow(a, self.shapes[n])) for n, m in mine for a in m.addresses}
            holder = self.holder.get(name)
            held = self.members[holder, name] if holder else None
            defaults = {(ip_interface(a).version, held.ifname) for a in held.addresses} if held else set()
            assert self.host.inside(name) == (addresses, defaults)
        assert self.host.published() == set(self._published())

    def _published(self) -> Iterator[tuple[str, ...]]:
        for (_, name), member in self.members.items():
            for port in member.ports if name in self.running else ():
                ip, number, protocol = parted(port)
                for address in map(ip_interface, member.addresses):
                    if not ip or address.version == 4:
                        yield (str(address.version), ip, protocol, number, str(address.ip), "80")

    @invariant()
    def names_are_as_the_model(self) -> None:
        if not hasattr(self, "members") or self.unseen:
            return
        self.host.engine.names.refresh()
        for name in ("c1", "c2", "c3"):
            wanted = {a.split("/")[0] for (_, c), m in self.members.items() if c == name for a in m.addresses}
            found = self.host.engine.names.zone.addresses(f"{name}.weft.internal")
            assert set(map(str, found)) == (wanted if name in self.running else set())

    def teardown(self) -> None:
        """Let everybody talk to everybody, then take everything away: nothing may be left."""
        if not hasattr(self, "members"):
            return
        self.look()
        self._talk()
        for network, name in list(self.members):
            self.host.call("network.disconnect", **asked(network, name))
        self.host.call("network.prune")
        self.host.finish(sorted(self.running))

    def _talk(self) -> None:
        for one, two in combinations(sorted(self.members), 2):
            network, names = one[0], {one[1], two[1]}
            apart = self.shapes[network].wanted.get("options", {}).get("icc") == "off"
            if two[0] != network or len(names) < 2 or not names <= self.running or apart:
                continue
            for address in self.members[two].addresses:
                assert self.host.talk(one[1], two[1], address.split("/")[0]), f"{one} does not reach {address}"


@pytest.mark.parametrize("first", range(0, SEQUENCES, SHARE))
def test_random_sequences_differ_from_the_model_never_and_leave_nothing(first: int) -> None:
    phases = [p for p in Phase if p is not Phase.shrink or SEQUENCES <= 1000]
    chosen = settings(
        max_examples=min(SEQUENCES - first, BATCH), stateful_step_count=STEPS, phases=phases,
        suppress_health_check=list(HealthCheck), database=None,
    )  # fmt: skip
    made: list[RandomHost] = []

    class OneHost(Sequences):
        """A sequence on the host of this test; after a failure on another one, for what it left would be found again."""

        def __init__(self) -> None:
            super().__init__()
            if not made or made[-1].failed:
                made.append(RandomHost())
            type(self).host = made[-1]

    try:
        begun, end = first, time.monotonic() + BUDGET
        while begun < min(first + SHARE, SEQUENCES) and time.monotonic() < end:
            run_state_machine_as_test(OneHost, settings=chosen)
            begun += BATCH
    finally:
        for host in made:
            host.abandon()
