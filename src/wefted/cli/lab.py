"""`wefted lab`: virtual hosts on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from wefted.errors import NotFound, UsageError

from .command import Group, json_option, option
from .output import show, table

if TYPE_CHECKING:
    from wefted.lab.lab import Lab
    from wefted.lab.picture import MachineBox, Picture
    from wefted.lab.topology import Topology

F = TypeVar("F", bound=Callable[..., Any])


def name_option(function: F) -> F:
    """Add --name, which every verb has: several labs can be up at once."""
    lab_name = option("--name", "name", metavar="LAB", default="lab", show_default=True, envvar="WEFTED_LAB", help="Which lab.")
    return lab_name(function)


@click.group(
    cls=Group,
    epilog="""
    wefted lab up --hosts 3
    wefted lab exec h1 -- wefted status
    wefted lab down
    """,
)
def lab() -> None:
    """Try everything with virtual hosts on this machine; nothing is left behind. Needs root."""


@lab.command(
    epilog="""
    wefted lab up --hosts 3
    wefted lab up -f office.yaml --name office
    wefted lab up --hosts 2 --bare
    wefted lab up --hosts 2 --docker
    """
)
@option("--hosts", metavar="N", type=click.IntRange(min=1), help="Hosts h1 to hN on one segment [default: 2].")
@option("-f", "--file", metavar="FILE", type=click.Path(path_type=Path), help="A YAML file with hosts, segments, routers, ...")
@option("--bare", is_flag=True, help="Hosts only: no cluster store and no agents.")
@option("--docker", is_flag=True, help="A Docker engine on each host.")
@option("--podman", is_flag=True, help="podman on each host.")
@option("--containerd", is_flag=True, help="A containerd on each host; with --docker, the one that Docker uses.")
@name_option
@json_option
def up(
    hosts: int | None, file: Path | None, bare: bool, docker: bool, podman: bool, containerd: bool, name: str, as_json: bool
) -> None:
    """Bring a lab up: hosts, a cluster store for them, and an agent on each.

    The hosts are h1, h2, ... with the addresses 192.168.50.1, .2, ... on eth0, and etcd at 192.168.50.254. The engines are
    each host's own, and have an image: docker run -d --name web1 -v /usr:/usr:ro skel

    The hosts' disks are in /var/lib/wefted-lab; with WEFTED_LAB_DISKS=/dev/shm in memory, and so in any other directory.
    """
    import time

    from wefted.lab.etcd import url
    from wefted.lab.lab import Lab
    from wefted.lab.look import take

    start = time.monotonic()
    topology = _topology(hosts, file, bare)
    wanted = {"docker": docker, "podman": podman, "containerd": containerd}
    Lab.up(name, topology, bare=bare, engines=[engine for engine, asked in wanted.items() if asked])
    picture = take(name, ask=False)
    seconds = round(time.monotonic() - start, 3)
    made = {
        "lab": name,
        "seconds": seconds,
        "store": url(Lab(name).topology),
        "hosts": list(map(_machine_json, _hosts(picture))),
    }
    show(made, as_json, lambda _: [*_table([picture]), f"the lab {name!r} is up, in {seconds:.2f} s"])


@lab.command(epilog="wefted lab ls\nwefted lab ls --name office --json")
@option("--name", "name", metavar="LAB", envvar="WEFTED_LAB", help="Which lab [default: all].")
@json_option
def ls(name: str | None, as_json: bool) -> None:
    """List labs and their machines."""
    from wefted.lab.look import take
    from wefted.lab.state import require_root

    require_root()
    pictures = [take(name, ask=False)] if name else list(_all())
    value = [{"lab": p.lab, **_machine_json(m)} for p in pictures for m in p.machines]
    show(value, as_json, lambda _: _table(pictures))


@lab.command(
    "exec",
    context_settings={"ignore_unknown_options": True},
    epilog="""
    wefted lab exec h1 -- ip addr
    wefted lab exec h1 -- ip netns add c1
    wefted lab exec h1 -- bash
    """,
)
@name_option
@click.argument("host")
@click.argument("command", metavar="CMD...", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_context
def execute(ctx: click.Context, name: str, host: str, command: Sequence[str]) -> None:
    """Run a command in a host: input, output, signals and exit code are passed through."""
    from wefted.lab.execute import execute

    ctx.exit(execute(name, host, command))


@lab.command(epilog="wefted lab graph\nwefted lab graph --format svg > lab.svg")
@option("--format", "form", type=click.Choice(["text", "mermaid", "svg"]), default="text", show_default=True, help="How.")
@name_option
@json_option
def graph(form: str, name: str, as_json: bool) -> None:
    """Draw the lab: segments, routers, hosts, their containers and networks."""
    import dataclasses

    from wefted.lab.look import take
    from wefted.lab.state import require_root

    require_root()
    picture = take(name)
    show(dataclasses.asdict(picture), as_json, lambda _: _drawing(picture, form))


@lab.command(epilog="wefted lab down\nwefted lab down --name office")
@name_option
@json_option
def down(name: str, as_json: bool) -> None:
    """Take a lab down, also one that is half made: nothing of it is left."""
    there = _closed(name).down()
    words = f"the lab {name!r} is gone" if there else f"there is no lab {name!r}"
    show({"lab": name, "removed": there}, as_json, lambda _: [words])


@lab.command(epilog="wefted lab cut h2\nwefted lab cut h1 h2")
@click.argument("host")
@click.argument("other", required=False)
@name_option
@json_option
def cut(host: str, other: str | None, name: str, as_json: bool) -> None:
    """Take the cables of a host out, or with a second host drop everything between the two only."""
    _closed(name).cut(host, other)
    words = f"{host} and {other} do not reach each other" if other else f"the cables of {host} are out"
    show(_result(name, host, other), as_json, lambda _: [words])


@lab.command(epilog="wefted lab heal h2\nwefted lab heal h1 h2")
@click.argument("host")
@click.argument("other", required=False)
@name_option
@json_option
def heal(host: str, other: str | None, name: str, as_json: bool) -> None:
    """Undo cut; with one host, every cut that it is part of."""
    _closed(name).heal(host, other)
    show(_result(name, host, other), as_json, lambda _: [f"{host} is connected again"])


@lab.command(epilog="wefted lab slow h2 --delay 20ms --loss 1%\nwefted lab slow h2")
@click.argument("host")
@option("--delay", metavar="TIME", default="", help="Each way, such as 20ms.")
@option("--loss", metavar="PERCENT", default="", help="Each way, such as 1%.")
@name_option
@json_option
def slow(host: str, delay: str, loss: str, name: str, as_json: bool) -> None:
    """Delay or lose packets to and from a host; without flags, stop that."""
    _closed(name).slow(host, delay, loss)
    words = f"{host} is slowed: {' '.join(filter(None, (delay, loss)))}" if delay or loss else f"{host} is not slowed any more"
    show(_result(name, host, None), as_json, lambda _: [words])


@lab.command(epilog="wefted lab poweroff h2")
@click.argument("host")
@name_option
@json_option
def poweroff(host: str, name: str, as_json: bool) -> None:
    """Kill everything in a host at once, as when its power fails; its disk stays."""
    _closed(name).poweroff(host)
    show(_result(name, host, None), as_json, lambda _: [f"{host} is off"])


@lab.command(epilog="wefted lab boot h2")
@click.argument("host")
@name_option
@json_option
def boot(host: str, name: str, as_json: bool) -> None:
    """Switch a host on again: same name, addresses and disk; its agent is started."""
    _closed(name).boot(host)
    show(_result(name, host, None), as_json, lambda _: [f"{host} is up"])


def _all() -> Iterator[Picture]:
    """Yield the labs that can be read; one that has gone meanwhile is no lab, of a damaged one the others are not the worse."""
    from wefted.lab.look import take
    from wefted.lab.state import names

    for name in names():
        try:
            yield take(name, ask=False)
        except NotFound:
            continue
        except UsageError as error:
            click.echo(f"wefted: {error}", err=True)


def _topology(hosts: int | None, file: Path | None, bare: bool) -> Topology | int:
    if file is None:
        return 2 if hosts is None else hosts
    if hosts is not None:
        raise UsageError("--hosts and --file exclude each other", "the file says which hosts there are")
    from wefted.lab.document import read

    topology = read(file, store=not bare)
    if bare and (topology.networks or any(c.attachments for c in topology.containers)):
        raise UsageError(f"{file} has networks, which a bare lab has no agents for", "leave --bare out")
    return topology


def _closed(name: str) -> Lab:
    """Return the lab of this name, whether it is there or not."""
    from wefted.lab.lab import Lab

    return Lab(name)


def _hosts(picture: Picture) -> list[MachineBox]:
    return [m for m in picture.machines if m.kind == "host"]


def _machine_json(machine: MachineBox) -> dict[str, Any]:
    return {
        "name": machine.name,
        "kind": machine.kind,
        "state": machine.condition,
        "addresses": [address for plug in machine.plugs for address in plug.addresses],
        "pid": machine.pid,
        "cut": any(plug.cut for plug in machine.plugs),
        "containers": [c.name for c in machine.containers],
    }


def _table(pictures: Iterable[Picture]) -> Iterator[str]:
    rows = [(p.lab, m) for p in pictures for m in p.machines]
    return table(("LAB", "NAME", "KIND", "STATE", "ADDRESSES", "CONTAINERS"), (_row(lab_name, m) for lab_name, m in rows))


def _row(lab_name: str, machine: MachineBox) -> Sequence[Any]:
    addresses = ", ".join(address for plug in machine.plugs for address in plug.addresses)
    state = "cut off" if machine.condition == "up" and any(p.cut for p in machine.plugs) else machine.condition
    return lab_name, machine.name, machine.kind, state, addresses, len(machine.containers) or "-"


def _drawing(picture: Picture, form: str) -> Iterable[str]:
    if form == "svg":
        from wefted.lab.svg import svg

        return [svg(picture).rstrip("\n")]
    from wefted.lab.graph import mermaid, text

    return mermaid(picture) if form == "mermaid" else text(picture)


def _result(name: str, host: str, other: str | None) -> dict[str, Any]:
    return {"lab": name, "hosts": [h for h in (host, other) if h is not None]}
