"""A software bill of materials of the daemon: what a lock file pins, as CycloneDX 1.6 JSON.

    python ops/audit/sbom.py requirements/run.txt build/sbom.cdx.json

Names and versions are the lock's; licences and who needs whom are those of the packages as they are installed for this
interpreter, which must have them all. The same lock gives the same bytes: no date, no random number, nothing of the machine
or of the index that the packages came from. Hashes are the lock's business: it has one for each file of a package.
"""

# ruff: noqa: INP001 - a program of its own, in no package
import json
import re
import sys
from collections.abc import Mapping
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import Any, Final

from packaging.requirements import Requirement

_PIN: Final = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)
# Linux with the oldest and the newest Python: what is said of a package does not depend on where this runs.
_SYSTEMS: Final[tuple[dict[str, str], ...]] = tuple(
    {
        "python_full_version": f"{python}{patch}",
        "python_version": python,
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "os_name": "posix",
        "platform_system": "Linux",
        "sys_platform": "linux",
        "extra": "",
    }
    for python, patch in (("3.11", ".2"), ("3.14", ".0"))
)
_LICENCE_CLASS: Final = "License :: OSI Approved :: "


def pins(lock: str) -> dict[str, str]:
    """Name and version of each package that the text of a lock file pins."""
    return {_canonical(name): version for name, version in _PIN.findall(lock)}


def document(lock: str) -> dict[str, Any]:
    """The bill. Raises ``PackageNotFoundError`` for what is not installed, ``ValueError`` for another version of it."""
    locked = pins(lock)
    installed = {name: distribution(name) for name in [*locked, "portsyncd"]}
    for name, version in locked.items():
        if installed[name].version != version:
            raise ValueError(f"{name} is installed as {installed[name].version}, and locked as {version}")
    root = _component("portsyncd", installed["portsyncd"], "application")
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": root},
        "components": [_component(name, installed[name], "library") for name in sorted(locked)],
        "dependencies": [
            {"ref": _reference(name, each.version), "dependsOn": sorted(_needs(each, locked))}
            for name, each in sorted(installed.items())
        ],
    }


def _component(name: str, package: Distribution, kind: str) -> dict[str, Any]:
    reference = _reference(name, package.version)
    return {
        "type": kind,
        "bom-ref": reference,
        "name": name,
        "version": package.version,
        "purl": reference,
        "licenses": [_licence(package)],
    }


def _licence(package: Distribution) -> dict[str, Any]:
    """As the package declares it: an SPDX expression, or the name in one of the older fields."""
    metadata = package.metadata
    if expression := metadata["License-Expression"]:
        return {"expression": expression}
    # Classifiers know no choice between two; the field may hold the whole text.
    named = (metadata["License"] or "").strip()
    if not named or "\n" in named:
        classes = [each for each in metadata.get_all("Classifier") or [] if each.startswith(_LICENCE_CLASS)]
        named = classes[0].removeprefix(_LICENCE_CLASS) if classes else "not declared"
    return {"license": {"name": named}}


def _needs(package: Distribution, locked: Mapping[str, str]) -> set[str]:
    """What it asks for on any system that the lock is for, extras left out."""
    wanted = map(Requirement, package.requires or [])
    names = {
        _canonical(each.name) for each in wanted if each.marker is None or any(map(each.marker.evaluate, _SYSTEMS))
    }
    return {_reference(name, locked[name]) for name in names & locked.keys()}


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _reference(name: str, version: str) -> str:
    return f"pkg:pypi/{name}@{version}"


def main(lock: str, target: str) -> None:
    """Write the bill of the lock file ``lock`` to ``target``."""
    path = Path(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document(Path(lock).read_text("utf-8")), indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
