"""Figures and somebody else's words, as they stand in a sentence for the operator."""

from typing import Final

_SHOWN_CHARACTERS: Final = 300


def span(seconds: float) -> str:
    """A duration, in the unit that needs few digits."""
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def cut(text: str, characters: int = _SHOWN_CHARACTERS) -> str:
    """Somebody else's words in one line, none of which may be too long."""
    line = " ".join(text.split())
    return line if len(line) <= characters else f"{line[: characters - 3]}..."


def clause(text: str) -> str:
    """Somebody else's words, fit to stand within a sentence."""
    return " ".join(text.split()).rstrip(".") or "no reason known"
