"""The template of the configuration file, ``ops/portsyncd.conf.example``: every key, commented out, at its default."""

import textwrap
from typing import Final

from portsyncd import toml
from portsyncd.config import DEFAULT_FILE, ENVIRONMENT_PREFIX, keys, sections

_HEADER: Final = f"""\
The configuration of portsyncd, with every key at its default.

Install it as {DEFAULT_FILE}. To set a key, take away the "#" before it, where it stands: a section may be there once \
only. What stays commented out is default, and on a switch nothing else is needed. Set only what is to be different: a \
redis_host or redis_port that is set wins over SONiC's own list of databases, even with the value that it has by default.

A flag of `portsyncd run` wins over an environment variable ({ENVIRONMENT_PREFIX}<SECTION>_<KEY>), that one over this file.

`portsyncd check-config FILE` says whether it is correct, and what would be used. Start the daemon again for what has \
changed; for log_level, and for certificates that were replaced, a reload (SIGHUP) will do.
"""


def text() -> str:
    """TOML without a value; with the ``#`` before each key taken away, TOML whose values are the defaults."""
    blocks = [_comment(*_HEADER.splitlines())]
    for name, section in sections().items():
        blocks.append(f"{_comment(section.__doc__ or '')}\n[{name}]")
        for key in keys(section):
            comment = _comment(f"{key.meaning}.", f"Allowed: {key.rule.allowed}.", f"Why change it: {key.why}.")
            blocks.append(f"{comment}\n#{key.name} = {toml.show(key.default)}")
    return "\n\n".join(blocks) + "\n"


def _comment(*paragraphs: str) -> str:
    return "\n".join(
        f"# {line}".rstrip()
        for paragraph in paragraphs
        for line in textwrap.wrap(paragraph, 98, break_long_words=False, break_on_hyphens=False) or [""]
    )
