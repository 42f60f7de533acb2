"""`wefted compat`: the classics' own command lines, and their installation under their own names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from .call import perform
from .command import Command, Group, json_option
from .output import show

if TYPE_CHECKING:
    from wefted.config import Config


class AsTyped(Command):
    """Hands over every word as it was typed: a parser of ours would find `-h` in `-etcd-prefix=/here`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args[:1] in (["-h"], ["--help"]):
            return super().parse_args(ctx, args)
        ctx.params["words"] = tuple(args)
        return []


@click.group(cls=Group)
def compat() -> None:
    """Type what you always typed: the commands of other tools, done by wefted."""


@compat.command(
    cls=AsTyped,
    epilog="""
    wefted compat pipework br1 web1 192.168.1.1/24
    wefted compat pipework br1 -i eth2 web1 192.168.2.1/24@192.168.2.254 U:web1@10
    wefted compat pipework eth1 web1 dhcp
    wefted compat pipework --detach br1 web1
    """,
)
@click.argument("words", metavar="ARGS...", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def pipework(ctx: click.Context, words: Sequence[str]) -> None:
    """Pipework: give a container an interface on a bridge or a physical interface of this host."""
    from wefted.compat import pipework

    config: Config = ctx.obj

    def ask(operation: str, parameters: dict[str, Any], wanted: bool = True) -> Any:
        return perform(config, operation, parameters)

    ctx.exit(pipework.main(words, ask))


@compat.command(
    cls=AsTyped,
    epilog="""
    wefted compat flanneld -etcd-endpoints=http://192.0.2.1:2379 -iface=eth1 -ip-masq
    wefted compat flanneld -etcd-prefix=/atomic.io/network -subnet-file=/run/flannel/subnet.env
    """,
)
@click.argument("words", metavar="ARGS...", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def flanneld(ctx: click.Context, words: Sequence[str]) -> None:
    """flanneld: share a network of flannel's, in the foreground; the agent too, where none runs."""
    from wefted.compat import flanneld

    ctx.exit(flanneld.main(words))


@compat.command(
    "mk-docker-opts.sh",
    cls=AsTyped,
    epilog="wefted compat mk-docker-opts.sh -k DOCKER_NETWORK_OPTIONS -d /run/flannel/docker",
)
@click.argument("words", metavar="ARGS...", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def mk_docker_opts(ctx: click.Context, words: Sequence[str]) -> None:
    """mk-docker-opts.sh: from subnet.env to the options of Docker's daemon."""
    from wefted.compat import mk_docker_opts

    ctx.exit(mk_docker_opts.main(words))


@compat.command(cls=Command, epilog="wefted compat install /usr/local/bin")
@click.argument("directory", metavar="DIR")
@json_option
def install(directory: str, as_json: bool) -> None:
    """Put the classics into a directory under their own names; foreign files are never overwritten."""
    from wefted.compat import install

    show({"installed": install.install(directory)}, as_json, lambda value: value["installed"])


@compat.command(cls=Command, epilog="wefted compat uninstall /usr/local/bin")
@click.argument("directory", metavar="DIR")
@json_option
def uninstall(directory: str, as_json: bool) -> None:
    """Take them away again; foreign files of the same names stay."""
    from wefted.compat import install

    show({"removed": install.uninstall(directory)}, as_json, lambda value: value["removed"])
