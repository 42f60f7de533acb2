"""`wefted cni`: where the CNI plugin is, and putting it where engines look. Without a verb it is the plugin itself."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wefted.errors import WeftedError

from .command import Group, json_option, option
from .doors import finish, pass_through
from .output import show

if TYPE_CHECKING:
    from wefted.config import Config

DIR = "/opt/cni/bin"
CONF = "/etc/cni/net.d/50-wefted.conflist"
HOOKS = "/usr/share/containers/oci/hooks.d/wefted.json"


@click.group(cls=Group, invoke_without_command=True)
@click.pass_context
def cni(ctx: click.Context) -> None:
    """Let podman, containerd and others attach containers by CNI, or by a hook of their runtime."""
    if ctx.invoked_subcommand is None:
        if "CNI_COMMAND" not in os.environ:
            click.echo(ctx.get_help())
            ctx.exit(2)
        _plugin(ctx.obj)


def _plugin(config: Config) -> None:
    """Do what the plugin does. Errors are those of CNI, whatever happens."""
    from wefted.plugins.cni.refusal import refusal_of
    from wefted.plugins.cni.request import version_of

    given = sys.stdin.buffer.read()
    try:
        answer = pass_through(config, "cni", os.environ, given)
    except WeftedError as error:
        answer = {"exit_code": 1, "output": refusal_of(error).to_json(version_of(given))}
    finish(answer)


@cni.command(epilog="wefted cni path")
@json_option
def path(as_json: bool) -> None:
    """Print where the plugin is."""
    from wefted.plugins.native import program

    show({"path": str(program())}, as_json, lambda found: [found["path"]])


@cni.command(
    epilog="""
    wefted cni install
    wefted cni install --dir /usr/lib/cni --network blue
    wefted cni install --hooks
    """
)
@option("--dir", "directory", default=DIR, show_default=True, metavar="DIR", help="Where the engine looks for plugins.")
@option("--conf", default=CONF, show_default=True, metavar="FILE", help="The configuration; files are taken in their order.")
@option("--network", metavar="NET", default="wefted", show_default=True, help="It is made by the first container.")
@option("--hooks", is_flag=True, help="Also a hook: containers with the annotation wefted.network=NET are attached.")
@option("--hook-file", default=HOOKS, show_default=True, metavar="FILE", help="Where the runtime looks for hooks.")
@json_option
@click.pass_obj
def install(config: Config, directory: str, conf: str, network: str, hooks: bool, hook_file: str, as_json: bool) -> None:
    """Put the plugin and a configuration where container engines look. Files of others are never replaced."""
    from wefted.plugins import installation

    files = installation.files(_settings(config), Path(directory), Path(conf), network, Path(hook_file) if hooks else None)
    show({"installed": [str(p) for p in installation.install(files)]}, as_json, lambda done: _paths("+ ", done["installed"]))


@cni.command(epilog="wefted cni uninstall")
@option("--dir", "directory", default=DIR, show_default=True, metavar="DIR", help="Where the plugin was put.")
@option("--conf", default=CONF, show_default=True, metavar="FILE", help="The configuration.")
@option("--hook-file", default=HOOKS, show_default=True, metavar="FILE", help="The hook.")
@json_option
@click.pass_obj
def uninstall(config: Config, directory: str, conf: str, hook_file: str, as_json: bool) -> None:
    """Remove what `wefted cni install` has put there; containers that run keep their networks."""
    from wefted.plugins import installation

    files = installation.files(_settings(config), Path(directory), Path(conf), "wefted", Path(hook_file))
    gone = installation.uninstall(files)
    show({"removed": [str(path) for path in gone]}, as_json, lambda done: _paths("- ", done["removed"]))


def _settings(config: Config) -> Mapping[str, Any]:
    command = Path(sys.argv[0]).resolve()
    known = command.name == "wefted" and os.access(command, os.X_OK)
    beside = Path(sys.executable).with_name("wefted")
    return {"socket": str(config.socket), "command": str(command if known else beside)}


def _paths(sign: str, paths: list[str]) -> Iterator[str]:
    yield from (f"{sign}{path}" for path in paths)
    if not paths:
        yield "nothing of ours is there"
