"""What the web app sees of the daemon: nothing that it could change."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol


class View(Protocol):
    """Asked anew for every request."""

    def scrape(self, *, openmetrics: bool) -> Iterator[str]:
        """All metrics as text, in slices that each take well below a millisecond to make."""

    def health(self) -> tuple[bool, Mapping[str, Any]]:
        """Whether the daemon serves its purpose (healthy or degraded), and the document that says more."""
