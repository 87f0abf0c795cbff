"""Write the dashboards' JSON anew."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from ops.grafana import endpoint, fleet, restarts, switch

FOLDER: Final = Path(__file__).parent / "dashboards"


def texts() -> Mapping[str, str]:
    """The text of each file, by its name."""
    pages = {"fleet": fleet.PAGE, "switch": switch.PAGE, "restarts": restarts.PAGE, "endpoint": endpoint.PAGE}
    return {
        f"{name}.json": json.dumps(page, cls=JSONEncoder, indent=2, sort_keys=True) + "\n"
        for name, page in pages.items()
    }


if __name__ == "__main__":
    for name, text in texts().items():
        (FOLDER / name).write_text(text, "utf-8")
