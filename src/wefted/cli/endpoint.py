"""Endpoints and what leads to them from outside: ps, publish, unpublish, expose, hide."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from .call import perform
from .command import Command, json_option, option
from .output import port, show, table
from .words import complete_containers, complete_networks

if TYPE_CHECKING:
    from wefted.config import Config


_PLACES = {"host": "its host", "others": "other hosts", "containers": "containers"}


@click.command(cls=Command, epilog="wefted ps\nwefted ps --ports\nwefted ps --json")
@option("--ports", is_flag=True, help="List the published ports instead, and from where each is reachable.")
@json_option
@click.pass_obj
def ps(config: Config, ports: bool, as_json: bool) -> None:
    """List every endpoint of every host."""
    if ports:
        show(perform(config, "endpoint.ports"), as_json, _port_table)
        return
    show(perform(config, "endpoint.list"), as_json, _table)


@click.command(
    cls=Command,
    epilog="""
    wefted publish netns:web1 8080:80
    wefted publish netns:web1 127.0.0.1:8443:443/tcp 5000-5009:5000-5009/udp
    wefted publish netns:db1 5432:5432 --from 192.0.2.0/24 --from 2001:db8::7
    """,
)
@click.argument("container", shell_complete=complete_containers)
@click.argument("ports", metavar="PORT...", nargs=-1, required=True)
@option("--network", metavar="NET", default="", help="Needed only where the container is in several networks.")
@option("--from", "sources", metavar="CIDR", multiple=True, help="Whom they are for outside the host; all, none.")
@json_option
@click.pass_obj
def publish(config: Config, /, container: str, as_json: bool, **parameters: Any) -> None:
    """Publish ports of a container on its host. PORT is [IP:]HOSTPORT:PORT[/tcp|udp|sctp]."""
    parameters["container"] = container
    show(perform(config, "endpoint.publish", parameters), as_json, _ports)


@click.command(cls=Command, epilog="wefted unpublish netns:web1 8080:80")
@click.argument("container", shell_complete=complete_containers)
@click.argument("ports", metavar="PORT...", nargs=-1, required=True)
@option("--network", metavar="NET", default="", help="Needed only where the container is in several networks.")
@json_option
@click.pass_obj
def unpublish(config: Config, container: str, ports: Sequence[str], network: str, as_json: bool) -> None:
    """Take published ports of a container back."""
    parameters = {"container": container, "ports": ports, "network": network}
    show(perform(config, "endpoint.unpublish", parameters), as_json, _ports)


@click.command(cls=Command, epilog="wefted expose blue")
@click.argument("network", shell_complete=complete_networks)
@json_option
@click.pass_obj
def expose(config: Config, network: str, as_json: bool) -> None:
    """Let other hosts reach a network's containers without published ports."""
    show(perform(config, "network.expose", {"name": network}), as_json, lambda n: [f"{n['name']} is exposed"])


@click.command(cls=Command, epilog="wefted hide blue")
@click.argument("network", shell_complete=complete_networks)
@json_option
@click.pass_obj
def hide(config: Config, network: str, as_json: bool) -> None:
    """Undo expose."""
    show(perform(config, "network.hide", {"name": network}), as_json, lambda n: [f"{n['name']} is hidden"])


def _table(endpoints: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    heads = ("HOST", "CONTAINER", "NETWORK", "INTERFACE", "ADDRESSES", "PORTS", "STATE")
    return table(heads, map(_row, endpoints))


def _row(endpoint: Mapping[str, Any]) -> Sequence[str]:
    e = endpoint
    ports = ", ".join(map(port, e["ports"]))
    state = f"{e['state']}: {e['error']}" if e["error"] else e["state"]
    return (e["host"], e["container"], e["network"], e["ifname"], ", ".join(e["addresses"]), ports, state)


def _port_table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    heads = ("HOST", "ADDRESS", "PORT", "PROTOCOL", "CONTAINER", "NETWORK", "REACHABLE FROM")
    return table(heads, map(_port_row, rows))


def _port_row(row: Mapping[str, Any]) -> Sequence[str]:
    target = f"{row['container']}:{row['port']}"
    places = ", ".join(_others(row) if place == "others" else _PLACES[place] for place in row["reachable_from"]) or "nowhere"
    return (row["host"], row["host_ip"] or "all", str(row["host_port"]), row["protocol"], target, row["network"], places)


def _others(row: Mapping[str, Any]) -> str:
    """Return who from outside: everybody or some, and which chains of other programs must let them pass."""
    everybody = {"0.0.0.0/0", "::/0"} <= set(row["sources"])
    who = _PLACES["others"] if everybody else " ".join(row["sources"])
    but = f"; rules not followed: {len(row['unfollowed'])}, see wefted doctor" if row.get("unfollowed") else ""
    return who + (f" (if {' and '.join(row['filtered_by'])} lets them{but})" if row["filtered_by"] else "")


def _ports(endpoint: Mapping[str, Any]) -> Iterator[str]:
    ports = ", ".join(map(port, endpoint["ports"]))
    yield f"{endpoint['container']} in {endpoint['network']}: {ports or 'no port is published'}"
