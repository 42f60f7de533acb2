"""`wefted dns`: ls, lookup."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from .call import perform
from .command import Group, json_option
from .output import show, table

if TYPE_CHECKING:
    from wefted.config import Config


@click.group(cls=Group)
def dns() -> None:
    """See the names of containers, as the agent's name server answers them."""


@dns.command(epilog="wefted dns ls")
@json_option
@click.pass_obj
def ls(config: Config, as_json: bool) -> None:
    """List the names of every endpoint of every host."""
    show(perform(config, "dns.list"), as_json, _table)


@dns.command(
    epilog="""
    wefted dns lookup web
    wefted dns lookup db.blue
    wefted dns lookup _tcp.web
    wefted dns lookup 10.20.0.2
    """
)
@click.argument("name")
@json_option
@click.pass_obj
def lookup(config: Config, name: str, as_json: bool) -> None:
    """Tell the addresses of a name, or the names of an address."""
    asked_address = ":" in name or name.replace(".", "").isdigit()
    show(perform(config, "dns.lookup", {"name": name}), as_json, lambda found: _lines(found, asked_address))


def _table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    return table(("NAME", "ADDRESSES", "CONTAINER", "HOST"), (line for row in rows for line in _rows(row)))


def _rows(row: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    for name in row["names"]:
        yield name, ", ".join(row["addresses"]), row["container"], row["host"]


def _lines(found: Mapping[str, Any], asked_address: bool) -> Iterator[str]:
    if asked_address:
        yield from found["names"]
        return
    yield from found["addresses"]
    yield from (f"{service['target']} {service['port']}" for service in found["services"])
