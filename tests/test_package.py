"""The map of the house, in the package's docstring, shows the house as it is."""

import re
from pathlib import Path

import portsyncd

HOUSE = Path(portsyncd.__file__).parent


def test_every_room_is_on_the_map_and_nothing_else() -> None:
    shown = re.findall(r"^    (\w+(?:\.py|/))  ", portsyncd.__doc__ or "", re.MULTILINE)
    packages = {f"{path.parent.name}/" for path in HOUSE.glob("*/__init__.py")}
    modules = {path.name for path in HOUSE.glob("*.py")} - {"__init__.py"}
    assert sorted(shown) == sorted(packages | modules)


def test_modules_that_the_map_speaks_of_exist() -> None:
    for name in re.findall(r"``(\w+\.\w+)``", portsyncd.__doc__ or ""):
        assert (HOUSE / f"{name.replace('.', '/')}.py").exists(), name
