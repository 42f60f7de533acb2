"""`wefted plan` and `wefted apply`: what would change, and the change; of a YAML file, or of what is stored already."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click

from wefted.errors import UsageError

from .call import perform
from .command import Command, json_option
from .output import changes, show

if TYPE_CHECKING:
    from wefted.config import Config


@click.command(
    cls=Command,
    epilog="""
    wefted plan
    wefted plan networks.yaml
    wefted plan --json < networks.yaml -
    """,
)
@click.argument("file", required=False, type=click.Path())
@json_option
@click.pass_obj
def plan(config: Config, file: str | None, as_json: bool) -> None:
    """Show what apply would change, and change nothing.

    FILE describes networks and their containers (`-` is standard input). Without FILE: what a repair would change.
    """
    show(perform(config, "plan", _document(file)), as_json, _plan_lines)


@click.command(
    cls=Command,
    epilog="""
    wefted apply
    wefted apply networks.yaml
    cat networks.yaml | wefted apply -
    """,
)
@click.argument("file", required=False, type=click.Path())
@json_option
@click.pass_obj
def apply(config: Config, file: str | None, as_json: bool) -> None:
    """Make what a file describes; without FILE, repair what differs from what is stored."""
    result = perform(config, "apply", _document(file))
    show(result, as_json, _plan_lines)
    for failure in result["failures"]:
        click.echo(f"wefted: {failure['text']}: {failure['error']}", err=True)
    if result["failures"]:
        click.get_current_context().exit(1)


def _document(file: str | None) -> Mapping[str, str]:
    if file is None:
        return {}
    try:
        with click.open_file(file, encoding="utf-8") as stream:
            return {"document": stream.read(), "source": file}
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"cannot read {file}: {reason}", "give the name of a YAML file, or - for standard input") from None


def _plan_lines(result: Mapping[str, Any]) -> Iterable[str]:
    return list(changes(result["changes"])) or ["nothing to do"]
