"""The exported files, as node_exporter, promtool and a JSON parser meet them."""

import json
import os
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families

from portsyncd.backends import export
from portsyncd.backends.export import Exporter, _replace
from portsyncd.errors import FileError
from portsyncd.metrics import Facts, Metrics, PortCounters
from tests.test_metrics import FACTS

ODD = b'odd\xff"name\n\\'.decode("utf-8", "surrogateescape")


def make(folder: Path, export_format: str = "both", facts: Facts = FACTS) -> Exporter:
    return Exporter(
        folder,
        export_format,
        Metrics(lambda: facts, version="1.2.3", process=False),
        lambda: {"health": {"status": "healthy"}, "analysis": None},
        lambda: 1_763_000_000.5,
    )


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def content(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "portsyncd.json").read_text())
    return loaded


def values(folder: Path) -> Mapping[tuple[str, frozenset[tuple[str, str]]], float]:
    """Of the text, by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families((folder / "portsyncd.prom").read_text())
        for sample in family.samples
    }


@pytest.mark.parametrize(
    ("export_format", "files"),
    [
        ("prometheus", ["portsyncd.prom"]),
        ("json", ["portsyncd.json"]),
        ("both", ["portsyncd.json", "portsyncd.prom"]),
    ],
)
async def test_the_format_says_which_files_there_are(tmp_path: Path, export_format: str, files: list[str]) -> None:
    await make(tmp_path / "a" / "b", export_format).export()
    assert names(tmp_path / "a" / "b") == files


@pytest.mark.parametrize(("export_format", "left"), [("prometheus", "portsyncd.prom"), ("json", "portsyncd.json")])
async def test_a_file_that_is_not_asked_for_any_more_goes(tmp_path: Path, export_format: str, left: str) -> None:
    await make(tmp_path, "both").export()
    (tmp_path / "other.prom").touch()
    await make(tmp_path, export_format).export()
    assert names(tmp_path) == sorted([left, "other.prom"])


async def test_a_file_that_cannot_be_deleted_is_our_error(tmp_path: Path) -> None:
    (tmp_path / "portsyncd.json").mkdir()
    with pytest.raises(FileError, match=r"could not delete .*/portsyncd\.json: Is a directory"):
        await make(tmp_path, "prometheus").export()


async def test_everybody_may_read_them(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        await make(tmp_path).export()
    finally:
        os.umask(before)
    assert {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in names(tmp_path)} == {0o644}


async def test_the_text_is_that_of_a_scrape(tmp_path: Path) -> None:
    await make(tmp_path).export()
    expected = "".join(Metrics(lambda: FACTS, version="1.2.3", process=False).render())
    assert (tmp_path / "portsyncd.prom").read_text() == expected
    # What node_exporter says of itself must not come twice.
    assert not any(name.startswith(("process_", "python_")) for name, _ in values(tmp_path))


async def test_promtool_finds_nothing_wrong(tmp_path: Path, require_program: Callable[[str], str]) -> None:
    promtool = require_program("promtool")
    await make(tmp_path).export()
    check(promtool, tmp_path / "portsyncd.prom")


def check(promtool: str, path: Path) -> None:
    subprocess.run([promtool, "check", "metrics"], input=path.read_bytes(), check=True)


async def test_both_say_the_same(tmp_path: Path) -> None:
    ports = [(f"Ethernet{number}", PortCounters(number, 1, 2, 3, 4)) for number in range(600)]
    await make(tmp_path, facts=replace(FACTS, port_counters=[*ports, (ODD, PortCounters(7, 1, 2, 3, 4))])).export()
    document = content(tmp_path)
    metrics = document.pop("metrics")
    assert document == {
        "version": 1,
        "exported_at": 1_763_000_000.5,
        "health": {"status": "healthy"},
        "analysis": None,
    }
    said = {(each["name"], frozenset(each["labels"].items())): each["value"] for each in metrics}
    assert len(said) == len(metrics) > 3000
    assert said == values(tmp_path)


async def test_what_is_no_number_in_json_is_null(tmp_path: Path) -> None:
    await make(tmp_path, facts=replace(FACTS, uptime=float("nan"))).export()
    (uptime,) = [each for each in content(tmp_path)["metrics"] if each["name"] == "portsyncd_uptime_seconds"]
    assert uptime["value"] is None


async def test_what_was_there_is_replaced_and_so_is_a_left_over(tmp_path: Path) -> None:
    for name in ("portsyncd.prom", "portsyncd.prom.tmp", "portsyncd.json"):
        (tmp_path / name).write_text("older " * 100_000)
    await make(tmp_path).export()
    assert names(tmp_path) == ["portsyncd.json", "portsyncd.prom"]
    assert values(tmp_path)
    assert content(tmp_path)["version"] == 1


@pytest.mark.parametrize("name", ["portsyncd.prom", "portsyncd.prom.tmp"])
async def test_a_link_is_replaced_and_not_written_through(tmp_path: Path, name: str) -> None:
    """The folder may be node_exporter's, in which others write: a link there to what only the daemon may write."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    victim.chmod(0o600)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).symlink_to(victim)
    await make(tmp_path / "out", "prometheus").export()
    assert victim.read_text() == "precious"
    assert stat.S_IMODE(victim.stat().st_mode) == 0o600
    assert values(tmp_path / "out")


async def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    """One that has it open keeps what it had."""
    exporter = make(tmp_path)
    await exporter.export()
    path = tmp_path / "portsyncd.prom"
    whole = path.read_text()
    with path.open() as file:  # it is small
        half = file.read(100)
        await exporter.export()
        assert half + file.read() == whole


async def test_what_cannot_be_written_is_our_error_and_leaves_what_was_there(tmp_path: Path) -> None:
    exporter = make(tmp_path)
    await exporter.export()
    before = (tmp_path / "portsyncd.prom").read_text()
    (tmp_path / "portsyncd.prom.tmp").mkdir()
    with pytest.raises(FileError, match=r"could not write .*/portsyncd\.prom: Is a directory"):
        await exporter.export()
    assert (tmp_path / "portsyncd.prom").read_text() == before


@contextmanager
def mounted(folder: Path) -> Iterator[None]:
    """A file system that has room for one page."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.root
async def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    exporter = make(folder)
    with mounted(folder):
        with pytest.raises(FileError, match="No space left on device"):
            await exporter.export()
        assert names(folder) == []


async def test_a_disk_that_hangs_is_left_at_once_and_the_next_export_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter, replaced = make(tmp_path, "json"), []
    begun, hanging = threading.Event(), threading.Event()

    def hang(path: Path, parts: Sequence[bytes]) -> None:
        begun.set()
        hanging.wait(timeout=10)
        _replace(path, parts)
        replaced.append(path.name)

    monkeypatch.setattr(export, "_replace", hang)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(exporter.export)
        await trio.to_thread.run_sync(begun.wait)
        nursery.cancel_scope.cancel()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(exporter.export)
        await trio.testing.wait_all_tasks_blocked()
        assert replaced == []
        hanging.set()
    assert replaced == ["portsyncd.json"] * 2


async def test_it_lets_others_run_between_two_slices(tmp_path: Path) -> None:
    ports = [(f"Ethernet{number}", PortCounters(number, 1, 2, 3, 4)) for number in range(10_000)]
    exporter = make(tmp_path, facts=replace(FACTS, port_counters=ports))
    turns = 0
    async with trio.open_nursery() as nursery:

        async def count() -> None:
            nonlocal turns
            while True:
                await trio.lowlevel.checkpoint()
                turns += 1

        nursery.start_soon(count)
        await exporter._text()
        text, turns = turns, 0
        await exporter._json()
        nursery.cancel_scope.cancel()
    # 50,000 samples, of 256 each.
    assert text >= 190
    assert turns >= 190
