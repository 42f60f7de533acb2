"""What all commands share: examples in the help, a variable for every flag, `--json`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def _write_examples(command: click.Command, formatter: click.HelpFormatter) -> None:
    lines = (command.epilog or "").strip().splitlines()
    if lines:
        with formatter.section("Examples"):
            formatter.write("".join(f"  {line.strip()}\n" for line in lines))


class Command(click.Command):
    """A command whose epilog is a list of examples, printed line by line as they were written."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _write_examples(self, formatter)


class Group(click.Group):
    """A noun; its commands are its verbs."""

    command_class = Command

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _write_examples(self, formatter)


def option(*names: str, **settings: Any) -> Callable[[F], F]:
    """Declare a flag; its help names the variable that sets it too: WEFTED_<COMMAND>_<FLAG>, or `envvar`."""
    return click.option(*names, show_envvar=True, **settings)


json_option = option("--json", "as_json", is_flag=True, envvar="WEFTED_JSON", help="Print JSON instead of text.")
