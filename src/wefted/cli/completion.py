"""`wefted completion`: what a shell needs to complete our commands, flags and names."""

from __future__ import annotations

import click

from .command import Command


@click.command(
    cls=Command,
    epilog="""
    source <(wefted completion bash)
    wefted completion bash > /usr/share/bash-completion/completions/wefted
    wefted completion zsh > /usr/share/zsh/vendor-completions/_wefted
    wefted completion fish > ~/.config/fish/completions/wefted.fish
    """,
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell."""
    from click.shell_completion import get_completion_class

    maker = get_completion_class(shell)
    assert maker is not None
    click.echo(maker(ctx.find_root().command, {}, "wefted", "_WEFTED_COMPLETE").source())
