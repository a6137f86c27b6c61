"""``edgemat completion``: the shell's own completion script, as click makes it."""

from __future__ import annotations

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a completion script for SHELL.

    Add to the shell's start file: eval "$(edgemat completion bash)"; or for fish:
    edgemat completion fish > ~/.config/fish/completions/edgemat.fish
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"click knows no completion for {shell}.")
    click.echo(kind(ctx.find_root().command, {}, "edgemat", "_EDGEMAT_COMPLETE").source())
