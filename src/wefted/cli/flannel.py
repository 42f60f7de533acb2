"""`wefted flannel`: join, watch, ls, docker, leave."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from .call import perform
from .command import Group, json_option, option
from .output import show, table

if TYPE_CHECKING:
    from wefted.config import Config


@click.group(cls=Group)
def flannel() -> None:
    """Share networks with hosts that run flanneld: same etcd, same records, same packets."""


@flannel.command(
    epilog="""
    wefted flannel join
    wefted flannel join --prefix /atomic.io/network --masquerade
    wefted flannel join --prefix /atomic.io/network --api 2
    wefted flannel join --name blue --prefix /nets/blue --subnet-file /run/flannel/networks/blue.env
    wefted flannel join --remote 192.0.2.10:8888
    wefted flannel join --name blue --remote https://192.0.2.10:8888/blue?ca=/etc/flannel/ca.pem
    """
)
@option("--name", default="flannel", show_default=True, help="What the network is called here.")
@option("--prefix", metavar="KEY", default="/coreos.com/network", show_default=True, help="Where in etcd it is.")
@option("--public-ip", metavar="IP", default="", help="What peers send to [default: the underlay address].")
@option("--public-ipv6", "public_ip6", metavar="IP", default="", help="The same for IPv6.")
@option("--masquerade", is_flag=True, help="Containers leave this host with its address.")
@option("--blackhole", is_flag=True, help="Drop what is for this host's subnet while nothing of it is there.")
@option("--key-file", metavar="FILE", default="/run/flannel/wgkey", show_default=True, help="Private key of backend wireguard.")
@option("--subnet-file", metavar="FILE", default="/run/flannel/subnet.env", show_default=True, help="What Docker reads.")
@option("--api", type=click.Choice(["2", "3", "auto"]), default="auto", show_default=True, help="Etcd's API that has it.")
@option("--remote", metavar="SERVER", default="", help="The flannel server that has it, in place of etcd.")
@json_option
@click.pass_obj
def join(config: Config, /, as_json: bool, **flags: Any) -> None:
    """Take a subnet in a network of flannel's, and keep it. It is in the etcd that is this host's store, or at a server."""
    show(perform(config, "flannel.join", flags), as_json, lambda found: [f"{found['name']} joined"])


@flannel.command(
    epilog="""
    wefted flannel watch /nets
    wefted flannel watch /nets --only blue --only green --masquerade
    wefted flannel watch /nets --stop
    wefted flannel watch / --remote 192.0.2.10:8888
    """
)
@click.argument("prefix")
@option("--only", metavar="NAME", multiple=True, help="Only networks of these names.")
@option("--stop", is_flag=True, help="Join no further ones; what is joined stays.")
@option("--public-ip", metavar="IP", default="", help="What peers send to [default: the underlay address].")
@option("--public-ipv6", "public_ip6", metavar="IP", default="", help="The same for IPv6.")
@option("--masquerade", is_flag=True, help="Containers leave this host with its address.")
@option("--blackhole", is_flag=True, help="Drop what is for this host's subnets while nothing of them is there.")
@option("--key-file", metavar="FILE", default="/run/flannel/wgkey", show_default=True, help="Private key of backend wireguard.")
@option("--subnet-dir", metavar="DIR", default="/run/flannel/networks", show_default=True, help="Where the files NAME.env are.")
@option("--api", type=click.Choice(["2", "3", "auto"]), default="auto", show_default=True, help="Etcd's API that has them.")
@option("--remote", metavar="SERVER", default="", help="The flannel server whose networks they are, in place of etcd.")
@json_option
@click.pass_obj
def watch(config: Config, /, as_json: bool, **flags: Any) -> None:
    """Join every network that has a configuration at PREFIX/NAME/config, now and later."""
    show(
        perform(config, "flannel.watch", flags), as_json, lambda found: [f"watched: {' '.join(found['prefixes']) or 'nothing'}"]
    )


@flannel.command(epilog="wefted flannel ls")
@json_option
@click.pass_obj
def ls(config: Config, as_json: bool) -> None:
    """List the networks of flannel's that this host has joined."""
    show(perform(config, "flannel.list"), as_json, _table)


@flannel.command(
    epilog="""
    wefted flannel docker --plan
    wefted flannel docker --restart
    wefted flannel docker --name blue --plan
    """
)
@option("--name", default="flannel", show_default=True, help="The network.")
@option("--plan", is_flag=True, help="Say what would be done, and do nothing.")
@option("--restart", is_flag=True, help="Restart dockerd, if something has changed.")
@json_option
@click.pass_obj
def docker(config: Config, name: str, plan: bool, restart: bool, as_json: bool) -> None:
    """Have Docker's default bridge use this host's subnet: /etc/docker/daemon.json, and a docker0 with another address.

    Without --restart dockerd runs on as it is; what it finds at its next start is told. Other settings of Docker's stay.
    """
    from .flannel_docker import hand_over, lines

    row = next((row for row in perform(config, "flannel.list") if row["name"] == name), None)
    show(hand_over(name, row, plan=plan, restart=restart), as_json, lines)


@flannel.command(epilog="wefted flannel leave flannel")
@click.argument("name")
@json_option
@click.pass_obj
def leave(config: Config, name: str, as_json: bool) -> None:
    """Give the subnet in a network of flannel's back."""
    show(perform(config, "flannel.leave", {"name": name}), as_json, lambda found: [f"{found['left']} left"])


def _table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    heads = ("NAME", "PREFIX", "API", "SUBNETS", "PUBLIC", "FILE", "STATE")
    return table(heads, (_row(row) for row in rows))


def _row(row: Mapping[str, Any]) -> tuple[str, ...]:
    api = row["api"] if row["api"] == "server" else f"v{row['api']}"
    joined = ", ".join(row["subnets"]), ", ".join(row["public"])
    return (row["name"], row["prefix"], api, *joined, row["file"], row["error"] or "held")
