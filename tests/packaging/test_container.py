"""The Containerfile is well-formed, finds what it copies, and starts what is installed. It is not built: no engine here."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

TREE = Path(__file__).parents[2]
CONTAINERFILE = TREE / "ops/container/Containerfile"
TEXT = CONTAINERFILE.read_text()
# Each instruction with its arguments, in one line.
INSTRUCTIONS = re.findall(r"^([A-Z]+) (.+)$", re.sub(r"\\\n", " ", TEXT), re.MULTILINE)


def arguments(instruction: str) -> list[str]:
    return [text for name, text in INSTRUCTIONS if name == instruction]


def sources() -> list[str]:
    """What is copied from the tree."""
    return [path for text in arguments("COPY") if not text.startswith("--from") for path in text.split()[:-1]]


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, CONTAINERFILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    ignore = CONTAINERFILE.with_name("Containerfile.dockerignore").read_text().splitlines()
    kept = {line.removeprefix("!") for line in ignore if line.startswith("!")}
    assert "*" in ignore
    assert sources()
    for source in sources():
        assert (TREE / source).exists(), source
        assert Path(source).parts[0] in kept, source
    assert kept == {Path(source).parts[0] for source in sources()}


def test_it_is_built_from_hashed_locks_that_it_copied() -> None:
    locks = re.findall(r"--requirement (\S+)", TEXT)
    assert locks
    assert set(locks) <= set(sources())
    assert TEXT.count("--require-hashes") == len(locks)


def test_it_runs_as_the_user_that_it_made_and_not_as_root() -> None:
    user, group = arguments("USER")[-1].split(":")
    assert f"--uid {user} " in TEXT
    assert f"--gid {group} " in TEXT
    assert int(user) > 0


def test_it_starts_the_installed_program() -> None:
    project = tomllib.loads((TREE / "pyproject.toml").read_text())["project"]
    (entry,) = json.loads(arguments("ENTRYPOINT")[-1])
    assert entry in project["scripts"]
    from_build = [text.split() for text in arguments("COPY") if text.startswith("--from")]
    # A virtual environment is bound to its place.
    assert [source for _, source, _ in from_build] == [target for *_, target in from_build] == ["/opt/venvs/portsyncd"]
    assert arguments("ENV") == ["PATH=/opt/venvs/portsyncd/bin:$PATH"]


def test_it_names_no_registry() -> None:
    assert {text.split()[0] for text in arguments("FROM")} == {"debian:12-slim"}
