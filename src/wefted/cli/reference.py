"""`wefted reference`: docs/reference/cli.md, made from the commands' own help."""

from __future__ import annotations

from collections.abc import Iterator

import click

from .command import Command

HEAD = """# Commands

Made by `wefted reference` from each command's own `--help`; do not edit.
Every flag can be set by the variable that its help names. Exit codes: 0 done, 1 failed (what was changed is undone),
2 the request is wrong (nothing was changed), 3 the agent or the store does not answer.
The JSON of `--json` is described in [json.md](json.md)."""


@click.command(cls=Command, hidden=True)
@click.pass_context
def reference(ctx: click.Context) -> None:
    """Print the reference of all commands as Markdown."""
    root = ctx.find_root()
    # the terminal that it is printed on must make no difference
    root.terminal_width = 100
    click.echo("\n\n".join([HEAD, *_sections(root)]))


def _sections(ctx: click.Context) -> Iterator[str]:
    command = ctx.command
    yield f"## {ctx.command_path}\n\n```text\n{command.get_help(ctx)}\n```"
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            inner = command.get_command(ctx, name)
            if inner is not None and not inner.hidden:
                yield from _sections(click.Context(inner, parent=ctx, info_name=name))
