"""The underlay: switches in a network namespace of their own, cables to the machines, and how they are cut.

The texts are made by pure functions, for `ip -batch` and `nft -f`; one process takes a whole text. Every name stands behind a
keyword: `ip link add a ...` takes the `a` for the beginning of `address`.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence

from wefted.errors import KernelError, Unsupported

from .enter import in_network
from .process import Process
from .topology import Machine, Topology


def switch_commands(topology: Topology) -> list[str]:
    """Return the commands that make the switches: no spanning tree, no forward delay, no snooping."""
    commands = []
    for switch in topology.switches:
        options = "stp_state 0 forward_delay 0 mcast_snooping 0"
        commands.append(f"link add name {switch.name} mtu {switch.mtu} type bridge {options}")
        commands.append(f"link set dev {switch.name} up")
    return commands


def cable_commands(topology: Topology, machine: Machine, pid: int) -> list[str]:
    """Return the commands, for the wire's namespace, that plug the machine whose init is `pid` into its switches."""
    commands = []
    for leg in machine.legs:
        mtu = topology.switch(leg.switch).mtu
        peer = f"peer name {leg.ifname} address {leg.mac} mtu {mtu} netns {pid}"
        commands.append(f"link add name {leg.port} mtu {mtu} master {leg.switch} type veth {peer}")
        commands.append(f"link set dev {leg.port} up")
    return commands


def address_commands(topology: Topology, machine: Machine) -> list[str]:
    """Return the commands, for the machine's own namespace, that give its interfaces their addresses and routes."""
    commands = ["link set dev lo up"]
    for leg in machine.legs:
        commands.append(f"link set dev {leg.ifname} up")
        commands += [f"addr add {a} dev {leg.ifname}{' nodad' if a.version == 6 else ''}" for a in leg.addresses]
    commands += [f"route add {destination} via {via}" for destination, via in topology.routes(machine)]
    return commands


def port_commands(machine: Machine, state: str) -> list[str]:
    """Return the commands that set the machine's ports `up` or `down`: down takes the carrier away at both ends."""
    return [f"link set dev {leg.port} {state}" for leg in machine.legs]


def unplug_commands(machine: Machine) -> list[str]:
    return [f"link del dev {leg.port}" for leg in machine.legs]


def cut_rules(topology: Topology, pairs: Iterable[tuple[Machine, Machine]]) -> str:
    """Return an nft text after which no frame passes between the two machines of each pair, and all others pass.

    On one switch whole frames are dropped, by port; across routers packets are, by address, wherever they pass a switch.
    """
    rules = [rule for a, b in pairs for one, other in ((a, b), (b, a)) for rule in _drops(one, other)]
    start = "table bridge cut\ndelete table bridge cut\n"
    if not rules:
        return start
    body = "\n".join(f"    {rule}" for rule in rules)
    return f"{start}table bridge cut {{\n  chain forward {{\n    type filter hook forward priority 0\n{body}\n  }}\n}}\n"


def _drops(one: Machine, other: Machine) -> Iterable[str]:
    yield from (f'iifname "{a.port}" oifname "{b.port}" drop' for a in one.legs for b in other.legs if a.switch == b.switch)
    for a in one.addresses:
        for b in other.addresses:
            if a.version == b.version:
                family = "ip" if a.version == 4 else "ip6"
                yield f"{family} saddr {a} {family} daddr {b} drop"


def slow_commands(device: str, delay: str, loss: str) -> list[str]:
    """Return the `tc -batch` commands that slow what leaves `device`; with neither delay nor loss, those that undo it."""
    if not (delay or loss):
        return [f"qdisc del dev {device} root"]
    words = [*(("delay", delay) if delay else ()), *(("loss", loss) if loss else ())]
    return [f"qdisc replace dev {device} root netem {' '.join(words)}"]


def patch_commands(one: Machine, other: Machine) -> list[str]:
    """Return the `tc -batch` commands after which what two machines of a switch send to each other passes the switch by."""
    ways = [(a, b) for a in one.legs for b in other.legs if a.switch == b.switch]
    commands = []
    for a, b in (*ways, *((b, a) for a, b in ways)):
        redirect = f"match ether dst {b.mac} action mirred egress redirect dev {b.port}"
        commands += [f"qdisc add dev {a.port} clsact", f"filter add dev {a.port} ingress protocol all prio 1 u32 {redirect}"]
    return commands


def batch(process: Process, commands: Sequence[str], *, program: str = "ip", force: bool = False) -> None:
    """Run `commands` in the network namespace of `process`, all in one `ip` or `tc`; with `force` go on after a failure.

    Raises `KernelError` with the first refusal, unless `force`.
    """
    if not commands:
        return
    options = ["-force"] if force else []
    text = "\n".join(commands) + "\n"
    code, error = _feed(process, [program, *options, "-batch", "-"], text)
    if code and not force:
        raise KernelError(f"the lab's wire: {error}")


def filter_frames(process: Process, rules: str) -> None:
    """Load an nft text in the network namespace of `process`. Raises `Unsupported` where bridges cannot be filtered."""
    code, error = _feed(process, ["nft", "-f", "-"], rules)
    if code:
        raise Unsupported(f"this kernel cannot drop frames between two hosts: {error}", "it needs CONFIG_NF_TABLES_BRIDGE")


def _feed(process: Process, argv: Sequence[str], text: str) -> tuple[int, str]:
    """Return exit code and first line of error."""
    pipe = subprocess.PIPE
    child = in_network(process, argv, stdin=pipe, stdout=subprocess.DEVNULL, stderr=pipe, text=True)
    _, error = child.communicate(text)
    return child.returncode, error.partition("\n")[0].strip()
