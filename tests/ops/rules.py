"""ops/prometheus/ as the tests read it: rules, their groups, and the names of series in any text.

The files are laid out regularly, so that no YAML library is needed; promtool is the judge of their syntax.
"""

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PROMETHEUS: Final = ROOT / "ops" / "prometheus"
RULES: Final = PROMETHEUS / "rules.yml"
UNIT_TESTS: Final = sorted((PROMETHEUS / "tests").glob("*.yml"))

_SERIES: Final = re.compile(r"\b(?:instance(?:_port)?:)?(?:portsyncd|process)_[a-z0-9_]+(?::[a-z0-9_]+)?")
_COMMENT: Final = re.compile(r"^\s*#.*$", re.MULTILINE)


def rules(kind: str) -> dict[str, str]:
    """Every rule of a kind (``alert`` or ``record``) with the text of its entry, comments left out."""
    entries = re.split(
        r"^ +- (?=(?:alert|record|name): )", _COMMENT.sub("", RULES.read_text("utf-8")), flags=re.MULTILINE
    )
    found = [re.match(rf"{kind}: (\S+)\n", entry) for entry in entries]
    return {match[1]: entry for match, entry in zip(found, entries, strict=True) if match}


def groups() -> Mapping[str, str]:
    """The text of each group of rules.yml, by its name; each is a valid entry of ``groups``."""
    parts = re.split(r"^(?=  - name: )", RULES.read_text("utf-8").partition("\ngroups:\n")[2], flags=re.MULTILINE)
    return {part.split()[2]: part for part in parts if part.startswith("  - name: ")}


def series(text: str) -> set[str]:
    """The names in a text that are those of series, by their form."""
    return set(_SERIES.findall(text))


def promtool(program: str, *arguments: str | Path) -> str:
    """What promtool prints; fails the test unless it is content."""
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
