"""What a small program was given, done by the agent if one runs and else here: the slow way, with the same answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from .call import agent_pid, ask_agent

if TYPE_CHECKING:
    from wefted.config import Config

VARIABLES = ("CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS", "CNI_PATH")


def pass_through(config: Config, name: str, environment: Mapping[str, str], given: bytes) -> Any:
    """Return `exit_code` and `output` of a door of `wefted.plugins`. Raises `WeftedError`."""
    told = {key: environment[key] for key in VARIABLES if key in environment}
    call = {"environment": told, "input": given.decode("latin-1")}
    if agent_pid(config) is not None:
        return ask_agent(config, name, call)
    return _here(config, name, call)


def _here(config: Config, name: str, call: Mapping[str, Any]) -> Any:
    from wefted.model import codec
    from wefted.plugins import DOORS, Call
    from wefted.wiring import run_with

    answer = run_with(config, lambda engine: DOORS[name](engine, codec.decode(Call, call)))
    return answer.to_json()


def finish(answer: Mapping[str, Any], *, err: bool = False) -> None:
    """Print what is to be printed, and exit."""
    if answer["output"] is not None:
        click.echo(json.dumps(answer["output"]), err=err)
    click.get_current_context().exit(answer["exit_code"])
