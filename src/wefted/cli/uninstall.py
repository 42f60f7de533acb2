"""`wefted uninstall`: stop the agent, take everything of ours out of the kernel, forget the state."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wefted.errors import WeftedError

from .call import agent_pid, perform, perform_here
from .command import Command, json_option, option
from .output import changes, show

if TYPE_CHECKING:
    from wefted.config import Config
    from wefted.runtime.resolvconf import Resolvers

FILES = (
    "state.db", "state.db-wal", "state.db-shm", "lock", "agent.log", "wefted.sock", "docker.sock", "features.json",
    "wireguard.key",
)  # fmt: skip
FOLDERS = ("sysctl", "lent")


@click.command(
    cls=Command,
    epilog="""
    wefted uninstall --plan
    wefted uninstall --yes
    """,
)
@option("--plan", is_flag=True, help="Show what would be removed, and remove nothing.")
@option("--yes", is_flag=True, help="Do not ask.")
@json_option
@click.pass_obj
def uninstall(config: Config, plan: bool, yes: bool, as_json: bool) -> None:
    """Remove everything of ours from this host: links, routes, firewall, state. Its containers lose these networks."""
    if plan:
        foreseen = perform(config, "uninstall", {"dry_run": True})
        doomed = [*_paths(config), *_resolvers()]
        show({**foreseen, "paths": [str(path) for path in doomed]}, as_json, _would)
        return
    if not yes and sys.stdin.isatty():
        click.confirm("Remove all networks of wefted from this host, and its state?", abort=True, err=True)
    _stop_agent(config)
    result = perform_here(config, "uninstall")
    if result.get("failures"):
        raise WeftedError("not everything could be removed, so the state is kept", "see what is left: wefted uninstall --plan")
    paths = _paths(config)
    gone = [path for path in paths if _remove(path)] + _remove_resolvers()
    show({**result, "paths": [str(path) for path in gone]}, as_json, _did)
    for path in set(paths) - set(gone):
        click.echo(f"wefted: {path} is kept: it holds files that are not ours", err=True)


def _stop_agent(config: Config) -> None:
    from .process import stop

    pid = agent_pid(config)
    if pid is not None:
        stop(pid, timeout=20.0)


def _paths(config: Config) -> Sequence[Path]:
    places = dict.fromkeys((Path(config.state_dir), Path(config.runtime_dir)))
    return [path for path in places if path.exists()]


def _resolvers() -> list[Path]:
    """Return what we have written for `ip netns exec`, and in Docker's files."""
    return [files.path(name) for files in _resolver_files() for name in files.ours()]


def _remove_resolvers() -> list[Path]:
    found = _resolvers()
    for files in _resolver_files():
        for name in files.ours():
            files.remove(name)
    return found


def _resolver_files() -> Sequence[Resolvers]:
    from wefted.runtime.dockerresolv import DockerResolvConfs
    from wefted.runtime.resolvconf import ResolvConfs

    return ResolvConfs(), DockerResolvConfs()


def _remove(path: Path) -> bool:
    """Remove what is ours in a directory, and tell whether the directory is gone too."""
    if path.name == "wefted":
        for inner in path.iterdir():
            shutil.rmtree(inner) if inner.is_dir() and not inner.is_symlink() else inner.unlink()
        with contextlib.suppress(OSError):  # somebody has mounted a disk there: the empty folder is theirs
            path.rmdir()
        return True
    # a directory that somebody chose may hold more than what is ours
    for name in FILES:
        (path / name).unlink(missing_ok=True)
    for name in FOLDERS:
        shutil.rmtree(path / name, ignore_errors=True)
    if any(path.iterdir()):
        return False
    path.rmdir()
    return True


def _would(result: Mapping[str, Any]) -> Iterator[str]:
    yield from changes(result["changes"])
    yield from (click.style(f"- {path}", fg="red") for path in result["paths"])
    if not result["changes"] and not result["paths"]:
        yield "nothing of ours is here"


def _did(result: Mapping[str, Any]) -> Iterator[str]:
    yield from _would(result)
    yield "everything of ours is removed"
