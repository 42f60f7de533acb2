"""The command `wefted` itself: its settings, its subcommands (each imported when it is used), and what becomes of errors."""

from __future__ import annotations

import os
from collections.abc import Iterator, MutableMapping
from importlib import import_module
from typing import Any

import click

from wefted import __version__
from wefted.errors import UsageError, WeftedError

from .command import Group, option

COMMANDS = {
    "up": "agent",
    "down": "agent",
    "status": "agent",
    "network": "network",
    "ps": "endpoint",
    "publish": "endpoint",
    "unpublish": "endpoint",
    "expose": "endpoint",
    "hide": "endpoint",
    "host": "host",
    "dns": "dns",
    "cni": "cni",
    "oci-hook": "oci_hook",
    "flannel": "flannel",
    "docker": "docker",
    "doctor": "doctor",
    "plan": "document",
    "apply": "document",
    "compat": "compat",
    "lab": "lab",
    "demo": "demo",
    "bench": "bench",
    "uninstall": "uninstall",
    "completion": "completion",
    "reference": "reference",
}
"""Command -> the module of this room that has it, under the same name."""


class _Commands(MutableMapping[str, click.Command]):
    """The subcommands; taking one out imports its module."""

    def __init__(self) -> None:
        self._added: dict[str, click.Command] = {}

    def __getitem__(self, name: str) -> click.Command:
        if name not in self._added:
            self._added[name] = getattr(import_module(f".{COMMANDS[name]}", __package__), name.replace("-", "_"))
        return self._added[name]

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._added[name] = command

    def __delitem__(self, name: str) -> None:
        del self._added[name]

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS | self._added)

    def __len__(self) -> int:
        return len(COMMANDS | self._added)


class _Root(Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except WeftedError as error:
            click.echo(f"wefted: {error}", err=True)
            ctx.exit(error.exit_code)
        except PermissionError as error:
            if os.geteuid() == 0:
                raise
            click.echo(f"wefted: this needs root: {error}\n  type sudo in front of it", err=True)
            ctx.exit(UsageError.exit_code)
        except KeyboardInterrupt:
            ctx.exit(130)


@click.group(
    cls=_Root,
    commands=_Commands(),
    context_settings={"auto_envvar_prefix": "WEFTED", "help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""
    wefted network create blue
    wefted network connect blue netns:c1 netns:c2
    wefted ps
    wefted up --store etcd://10.0.0.1:2379
    """,
)
@click.version_option(__version__, message="wefted %(version)s")
@option("--config", metavar="FILE", help="The settings file [default: /etc/wefted/wefted.toml].")
@option("--state-dir", metavar="DIR", help="Where the state lives [default: /var/lib/wefted].")
@option("--runtime-dir", metavar="DIR", help="Where the agent's socket lives [default: /run/wefted].")
@click.pass_context
def root(ctx: click.Context, config: str | None, state_dir: str | None, runtime_dir: str | None) -> None:
    """Give every container, however it was started, an address and a name on every host."""
    from wefted.config import load

    if config:
        # an agent that this command starts must read the same file
        os.environ["WEFTED_CONFIG"] = config
    if os.environ.get("NO_COLOR"):
        ctx.color = False
    ctx.obj = load({"state_dir": state_dir, "runtime_dir": runtime_dir}, os.environ)
