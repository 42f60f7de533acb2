"""`wefted oci-hook`: the createRuntime hook where no agent runs; `wefted-oci-hook` is what a runtime is told to run."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from .command import Command
from .doors import finish, pass_through

if TYPE_CHECKING:
    from wefted.config import Config


@click.command(name="oci-hook", cls=Command, hidden=True)
@click.pass_obj
def oci_hook(config: Config) -> None:
    """Attach the container whose state stands on standard input."""
    finish(pass_through(config, "oci-hook", os.environ, sys.stdin.buffer.read()), err=True)
