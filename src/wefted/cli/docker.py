"""`wefted docker`: what belongs to Docker's plugin."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .command import Command, Group, json_option
from .output import show

DOCKER_PLUGIN = Path("/run/docker/plugins/wefted.sock")

if TYPE_CHECKING:
    from wefted.config import Config


@click.group(cls=Group)
def docker() -> None:
    """Networks of Docker: `docker network create -d wefted --ipam-driver wefted NAME`.

    The agent serves the plugin by itself wherever there is a Docker.
    """


@docker.command(
    cls=Command,
    epilog="""
    wefted docker plugin /tmp/wefted-plugin
    docker plugin create wefted/net /tmp/wefted-plugin && docker plugin enable wefted/net
    docker network create -d wefted/net:latest --ipam-driver wefted/net:latest net1
    """,
)
@click.argument("directory", type=click.Path(path_type=Path))
@json_option
@click.pass_obj
def plugin(config: Config, directory: Path, as_json: bool) -> None:
    """Write DIRECTORY for `docker plugin create`: the plugin as one that Docker starts itself.

    Docker calls its networks' driver wefted/net:latest then. `wefted docker relay` is the same for the driver wefted.
    """
    from wefted.plugins import managed

    managed.write(directory, config.docker_socket)
    next_steps = [f"docker plugin create wefted/net {directory}", "docker plugin enable wefted/net"]
    show({"directory": str(directory), "next": next_steps}, as_json, lambda made: [f"wrote {directory}; now:", *made["next"]])


@docker.command(cls=Command, epilog="wefted docker relay")
@click.pass_obj
def relay(config: Config) -> None:
    """Answer Docker while the agent is stopped, and pass its calls on while it runs; in the foreground.

    Without it Docker waits 15 seconds for each call, and its start waits too. systemd starts it by wefted-docker.socket.
    """
    import os

    from wefted.plugins import managed
    from wefted.plugins import relay as program

    words = [managed.python(), "-I", "-S", program.__file__, str(DOCKER_PLUGIN), str(config.docker_socket)]
    DOCKER_PLUGIN.parent.mkdir(parents=True, exist_ok=True)
    os.execv(words[0], words)
