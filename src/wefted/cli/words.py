"""Arguments of several commands: KEY=VALUE pairs, container names from standard input, names that the shell completes."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from wefted.errors import UsageError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


def pairs(words: Iterable[str], flag: str) -> dict[str, str]:
    """Return KEY=VALUE words as a mapping. Raises `UsageError` for a word without `=` and for a key that comes twice."""
    found: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not key or not equals:
            raise UsageError(f"{flag} {word}: this is not KEY=VALUE", f"for example: {flag} {key or 'key'}=value")
        if key in found:
            raise UsageError(f"{flag} {word}: {key} was given already", "give each key once")
        found[key] = value
    return found


def containers(words: Sequence[str]) -> list[str]:
    """Return the names; `-` stands for those on standard input, one on each line."""
    names: list[str] = []
    for word in words:
        names += _standard_input() if word == "-" else [word]
    if not names:
        raise UsageError("standard input named no container", "one name on each line")
    return names


def _standard_input() -> list[str]:
    return [line.strip() for line in sys.stdin if line.strip()]


def complete_networks(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete a network's name; its driver and backend are shown with it."""
    rows = _from_agent("network.list")
    return _offer({row["name"]: f"{row['driver']} {row['backend']}" for row in rows}, ctx, parameter, incomplete)


def complete_containers(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the name of a container that is in a network: in the one typed before it, if there is one."""
    network = ctx.params.get("network")
    rows = [row for row in _from_agent("endpoint.list") if network in (None, "", row["network"])]
    return _offer({row["container"]: row["network"] for row in rows}, ctx, parameter, incomplete)


def complete_hosts(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete a host's name."""
    rows = _from_agent("host.list")
    return _offer({row["name"]: ", ".join(row["underlay"]) for row in rows}, ctx, parameter, incomplete)


def _offer(names: dict[str, str], ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    typed = ctx.params.get(parameter.name or "") or ()
    return [CompletionItem(n, help=told) for n, told in names.items() if n.startswith(incomplete) and n not in typed]


def _from_agent(operation: str) -> list[Any]:
    """Ask the agent, never another engine: a key press must neither wait for a lock nor print an error."""
    from wefted.config import load
    from wefted.errors import WeftedError

    from .call import agent_pid, ask_agent

    try:
        config = load()
        rows: list[Any] = ask_agent(config, operation, timeout=2.0) if agent_pid(config) is not None else []
    except WeftedError:
        return []
    return rows
