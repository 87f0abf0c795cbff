"""Commands that print what is installed beside the program: an example of its configuration, completion for shells."""

from typing import Final

import click
from click.shell_completion import get_completion_class

from portsyncd.config import DEFAULT_FILE
from portsyncd.errors import EXIT_OK

_SHELLS: Final = ("bash", "zsh", "fish")

_EXAMPLE_EPILOG: Final = f"""\b
Examples:
  portsyncd config-example > portsyncd.conf
  portsyncd check-config portsyncd.conf
  install -m 0644 portsyncd.conf {DEFAULT_FILE}
"""

_COMPLETION_EPILOG: Final = """\b
Examples:
  portsyncd completion bash > /etc/bash_completion.d/portsyncd
  portsyncd completion zsh > /usr/local/share/zsh/site-functions/_portsyncd
  portsyncd completion fish > ~/.config/fish/completions/portsyncd.fish
\b
In the present shell alone:
  eval "$(portsyncd completion bash)"
"""


@click.command("config-example", epilog=_EXAMPLE_EPILOG)
def config_example() -> int:
    """Print a configuration file with every key.

    Each key is commented out, at its default, with its meaning, what is allowed, and why one would change it.
    """
    from portsyncd.cli import example

    click.echo(example.text(), nl=False)
    return EXIT_OK


@click.command(epilog=_COMPLETION_EPILOG)
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> int:
    """Print what lets a shell complete commands and options.

    Debian's package has installed it for bash and zsh.
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.ClickException(f"this version of click has no completion for {shell}")
    # click takes the name of the variable from that of the program, and looks for it in Program.main.
    click.echo(kind(ctx.find_root().command, {}, "portsyncd", "_PORTSYNCD_COMPLETE").source(), nl=False)
    return EXIT_OK
