"""`wefted host`: ls, inspect, rm."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from .call import perform
from .command import Group, json_option
from .output import removed, show, table, tree
from .words import complete_hosts

if TYPE_CHECKING:
    from wefted.config import Config


@click.group(cls=Group)
def host() -> None:
    """See the hosts of the cluster, and forget those that are gone."""


@host.command(epilog="wefted host ls")
@json_option
@click.pass_obj
def ls(config: Config, as_json: bool) -> None:
    """List the hosts of the cluster; * is this one."""
    show(perform(config, "host.list"), as_json, _table)


@host.command(epilog="wefted host inspect h2")
@click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=complete_hosts)
@json_option
@click.pass_obj
def inspect(config: Config, names: Sequence[str], as_json: bool) -> None:
    """Show hosts with their blocks and endpoints."""
    found = perform(config, "host.inspect", {"names": names})
    show(found, as_json, lambda hosts: [line for item in hosts for line in tree(item)])


@host.command(epilog="wefted host rm h3")
@click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=complete_hosts)
@json_option
@click.pass_obj
def rm(config: Config, names: Sequence[str], as_json: bool) -> None:
    """Forget hosts that are gone for good, and free their blocks."""
    show(perform(config, "host.remove", {"names": names}), as_json, removed)


def _table(hosts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    return table(("", "NAME", "UNDERLAY", "DEVICE", "MTU", "BLOCKS", "ENDPOINTS"), map(_row, hosts))


def _row(host: Mapping[str, Any]) -> Sequence[Any]:
    here = "*" if host["self"] else ""
    return here, host["name"], ", ".join(host["underlay"]), host["device"], host["mtu"], host["blocks"], host["endpoints"]
