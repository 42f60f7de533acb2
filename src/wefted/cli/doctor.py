"""`wefted doctor`: what is wrong on this host, why, and what to type."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from .call import perform
from .command import Command, json_option
from .output import show

if TYPE_CHECKING:
    from wefted.config import Config


@click.command(cls=Command, epilog="wefted doctor\nwefted doctor --json")
@json_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Examine this host: each finding with its cause and the command that helps. Nothing is changed.

    The exit code is 1 where there is a problem.
    """
    config: Config = ctx.obj
    found = perform(config, "doctor")
    show(found, as_json, _lines)
    ctx.exit(0 if found["healthy"] else 1)


def _lines(examined: Mapping[str, Any]) -> Iterator[str]:
    for finding in examined["findings"]:
        yield f"{finding['level']:<8} {finding['check']}: {finding['finding']}"
        if finding["cause"]:
            yield f"         because {finding['cause']}"
        if finding["command"]:
            yield f"         try: {finding['command']}"
