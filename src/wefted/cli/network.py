"""`wefted network`: create, ls, inspect, set, rm, prune, connect, disconnect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from .call import perform
from .command import Group, json_option, option
from .output import removed, show, table, tree
from .words import complete_containers, complete_networks, containers, pairs

if TYPE_CHECKING:
    from wefted.config import Config


@click.group(cls=Group)
def network() -> None:
    """Make networks, and attach containers to them."""


@network.command(
    epilog="""
    wefted network create blue
    wefted network create blue --subnet 10.20.0.0/16 --backend vxlan
    wefted network create dual --subnet 10.30.0.0/24 --subnet fd30::/64 --mtu 1400
    wefted network create web -o host_binding=127.0.0.1 -o icc=off
    wefted network create dmz -o gateway_mode=routed -o ifprefix=net
    wefted network create old -o bridge=docker0 --subnet 172.17.0.0/16 --gateway 172.17.0.1
    wefted network create lan --driver macvlan --subnet 192.168.1.0/24 --gateway 192.168.1.1 -o parent=eth0
    """
)
@click.argument("name")
@option("--driver", default="bridge", show_default=True, help="bridge macvlan ipvlan ipoib vlan ptp phys dummy host none")
@option(
    "--backend",
    default="none",
    show_default=True,
    help="none auto host-gw vxlan udp ipip alloc extension: how hosts are joined",
)
@option("--subnet", metavar="CIDR", multiple=True, help="Repeat it for several; chosen if there is none. none: --ip says all.")
@option("--gateway", metavar="IP", multiple=True, help="The containers' gateway [default: a subnet's first].")
@option("--ip-range", metavar="CIDR", multiple=True, help="Hand out addresses of this part of a subnet only.")
@option("--aux-address", metavar="[NAME=]IP", multiple=True, help="An address of somebody else: never handed out.")
@option("--mtu", type=int, default=0, help="Bytes in a packet [default: from the underlay, less the tunnel's].")
@option("--internal", is_flag=True, help="No way out: containers reach each other only.")
@option("--ipv6", is_flag=True, help="Choose an IPv6 subnet too.")
@option("--no-ipv4", is_flag=True, help="No IPv4: choose an IPv6 subnet alone.")
@option("--no-masquerade", is_flag=True, help="Containers leave the host with their own address.")
@option("--no-isolation", is_flag=True, help="Let other networks of this host reach this one.")
@option("--label", metavar="K=V", multiple=True, help="A note for yourself.")
@option("-o", "--option", metavar="KEY=VALUE", multiple=True, help="An option of the driver or the backend.")
@json_option
@click.pass_obj
def create(config: Config, /, name: str, as_json: bool, **flags: Any) -> None:
    """Make a network. Nothing appears on a host before its first container."""
    parameters = {
        "name": name,
        **{key: flags[key] for key in ("driver", "backend", "mtu", "internal", "ipv6")},
        **({"ipv4": False} if flags["no_ipv4"] else {}),
        "subnets": flags["subnet"],
        "gateways": flags["gateway"],
        "ip_ranges": flags["ip_range"],
        "auxiliary": flags["aux_address"],
        "masquerade": not flags["no_masquerade"],
        "isolated": not flags["no_isolation"],
        "labels": pairs(flags["label"], "--label"),
        "options": pairs(flags["option"], "-o"),
    }
    made = perform(config, "network.create", parameters)
    show(made, as_json, lambda n: [f"{n['name']}: {n['driver']}, {n['backend']}, {_subnets(n) or 'no subnet'}"])


_FILTER = option(
    "-f", "--filter", "filters", metavar="K=V", multiple=True, help="label name driver backend dangling, as in label=team=web."
)


@network.command(epilog="wefted network ls\nwefted network ls --filter driver=macvlan -q\nwefted network ls --json")
@_FILTER
@option("-q", "--quiet", is_flag=True, help="Names only.")
@json_option
@click.pass_obj
def ls(config: Config, filters: Sequence[str], quiet: bool, as_json: bool) -> None:
    """List the networks of the cluster: all, or those that match."""
    found = perform(config, "network.list", {"filters": filters})
    show(found, as_json, (lambda networks: [n["name"] for n in networks]) if quiet else _table)


@network.command(epilog="wefted network inspect blue")
@click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=complete_networks)
@json_option
@click.pass_obj
def inspect(config: Config, names: Sequence[str], as_json: bool) -> None:
    """Show networks with their blocks and endpoints."""
    found = perform(config, "network.inspect", {"names": names})
    show(found, as_json, lambda networks: [line for item in networks for line in tree(item)])


@network.command(
    name="set",
    epilog="""
    wefted network set blue --mtu 1400
    wefted network set blue --label team=web --label-rm owner --ip-range 10.20.8.0/21
    wefted network set blue --no-isolation --no-masquerade
    wefted network set blue -o icc=off -o host_binding=127.0.0.1
    """,
)
@click.argument("name", shell_complete=complete_networks)
@option("--mtu", type=int, default=None, help="Bytes in a packet, in every container too; 0: from the underlay.")
@option("--ip-range", metavar="CIDR", multiple=True, help="Hand out addresses of this part of a subnet from now on.")
@option("--isolation/--no-isolation", default=None, help="Whether other networks of this host are kept out.")
@option("--masquerade/--no-masquerade", default=None, help="Whether containers leave with their host's address.")
@option("--label", metavar="K=V", multiple=True, help="Add or replace a label.")
@option("--label-rm", metavar="K", multiple=True, help="Take a label away.")
@option("-o", "--option", metavar="KEY=VALUE", multiple=True, help="icc, host_binding, gateway_mode; KEY= is the default.")
@option("--subnet", metavar="CIDR", multiple=True, hidden=True, help="Cannot be changed.")
@option("--driver", default="", hidden=True, help="Cannot be changed.")
@option("--backend", default="", hidden=True, help="Cannot be changed.")
@json_option
@click.pass_obj
def change(config: Config, /, name: str, as_json: bool, **flags: Any) -> None:
    """Change a network that lives: here at once, on other hosts as soon as their agents hear of it.

    What is not given stays as it is. Addresses that were handed out stay, whatever the range is now.
    """
    parameters = {
        "name": name,
        **{key: flags[key] for key in ("mtu", "masquerade", "driver", "backend")},
        "isolated": flags["isolation"],
        "ip_ranges": flags["ip_range"],
        "subnets": flags["subnet"],
        "labels": pairs(flags["label"], "--label"),
        "unlabel": flags["label_rm"],
        "options": pairs(flags["option"], "-o"),
    }
    show(perform(config, "network.set", parameters), as_json, lambda n: [f"{n['name']} changed"])


@network.command(epilog="wefted network rm blue green")
@click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=complete_networks)
@option("-f", "--force", is_flag=True, help="Pass over those that do not exist.")
@json_option
@click.pass_obj
def rm(config: Config, names: Sequence[str], force: bool, as_json: bool) -> None:
    """Remove networks, all or none of them; refused while they have endpoints."""
    show(perform(config, "network.remove", {"names": names, "force": force}), as_json, removed)


@network.command(epilog="wefted network prune\nwefted network prune --filter label=team=web")
@_FILTER
@json_option
@click.pass_obj
def prune(config: Config, filters: Sequence[str], as_json: bool) -> None:
    """Remove the networks without endpoints: all, or those that match."""
    show(perform(config, "network.prune", {"filters": filters}), as_json, removed)


_AS_GIVEN = (
    "ip",
    "gateways",
    "default_route",
    "additional",
    "ifname",
    "host_ifname",
    "mac",
    "publish",
    "publish_from",
    "gateway_priority",
    "dhcp",
    "dhcp_client",
)


@network.command(
    epilog="""
    wefted network connect blue netns:c1
    wefted network connect blue netns:c1 --ip 10.20.0.9 --alias db --publish 5432:5432
    wefted network connect green netns:c1 --gateway-priority 10
    wefted network connect lan netns:c1 --dhcp
    wefted network connect blue pid:4242 --ifname eth1 --route 10.99.0.0/16
    ip netns list | cut -d' ' -f1 | sed s/^/netns:/ | wefted network connect blue -
    """
)
@click.argument("network", shell_complete=complete_networks)
@click.argument("names", metavar="CONTAINER...", nargs=-1, required=True)
@option("--ip", "--ip6", "ip", metavar="A", multiple=True, help="Its address in a subnet; A/LEN without one.")
@option(
    "--gateway", "gateways", metavar="A", multiple=True, help="Its gateway, instead of the network's; one for each IP version."
)
@option(
    "--default-route",
    type=click.Choice(["auto", "take", "never"]),
    default="auto",
    help="take: also before a default route that somebody else gave the container.",
)
@option("--another", "additional", is_flag=True, help="One more interface of a container that is in the network already.")
@option("--gateway-priority", type=int, default=0, help="The network with the highest holds the default route.")
@option("--ifname", metavar="NAME", default="", help="Its interface [default: the next free eth].")
@option("--host-ifname", metavar="NAME", default="", help="The host's end of it [default: ve- and a digest].")
@option("--mac", metavar="M", default="", help="Its MAC address [default: made from the address].")
@option("--alias", metavar="N", multiple=True, help="A further name of the container.")
@option("--route", metavar="R", multiple=True, help="CIDR or CIDR:via; without via, through the network's gateway.")
@option("-p", "--publish", metavar="P", multiple=True, help="Publish a port: [IP:]8080:80[/tcp].")
@option("--dhcp", is_flag=True, help="Its IPv4 address comes from a DHCP server of the LAN behind the link.")
@option(
    "--dhcp-client",
    metavar="C",
    default="builtin",
    help="builtin, or udhcpc, dhclient, dhcpcd; with -f behind it stays and renews.",
)
@option("--dhcp-option", metavar="W", multiple=True, help="A further word for a client other than builtin.")
@option("--publish-from", metavar="CIDR", multiple=True, help="Whom these ports are for outside the host; all, none.")
@json_option
@click.pass_obj
def connect(config: Config, /, network: str, names: Sequence[str], as_json: bool, **flags: Any) -> None:
    """Attach containers to a network.

    CONTAINER is netns:NAME, pid:PID or path:/proc/PID/ns/net; `-` reads names from standard input, one on each line.
    """
    parameters = {
        "network": network,
        "containers": containers(names),
        **{key: flags[key] for key in _AS_GIVEN},
        "aliases": flags["alias"],
        "routes": flags["route"],
        "dhcp_options": flags["dhcp_option"],
    }
    endpoints = perform(config, "network.connect", parameters)
    show(endpoints, as_json, lambda found: table(("CONTAINER", "INTERFACE", "ADDRESSES"), map(_attached, found)))
    failed = [e for e in endpoints if e["state"] == "failed"]
    for endpoint in failed:
        click.echo(f"wefted: {endpoint['container']} is not attached: {endpoint['error']}", err=True)
    if failed:
        click.get_current_context().exit(1)


@network.command(epilog="wefted network disconnect blue netns:c1 netns:c2")
@click.argument("network", shell_complete=complete_networks)
@click.argument("names", metavar="CONTAINER...", nargs=-1, required=True, shell_complete=complete_containers)
@option("--ifname", metavar="NAME", default="", help="Which interface, where it has several in the network.")
@option("-f", "--force", is_flag=True, help="Pass over those that are not in the network.")
@json_option
@click.pass_obj
def disconnect(config: Config, /, network: str, names: Sequence[str], as_json: bool, **flags: Any) -> None:
    """Detach containers from a network.

    `-` reads their names from standard input, one on each line.
    """
    result = perform(config, "network.disconnect", {"network": network, "containers": containers(names), **flags})
    show(result, as_json, lambda value: value["disconnected"])


def _table(networks: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    heads = ("NAME", "DRIVER", "BACKEND", "SUBNETS", "BLOCKS", "ENDPOINTS")
    return table(
        heads, ((n["name"], n["driver"], n["backend"], _subnets(n), len(n["blocks"]), n["endpoints"]) for n in networks)
    )


def _subnets(network: Mapping[str, Any]) -> str:
    return ", ".join(subnet["prefix"] for subnet in network["subnets"])


def _attached(endpoint: Mapping[str, Any]) -> tuple[str, str, str]:
    return endpoint["container"], endpoint["ifname"], ", ".join(endpoint["addresses"])
