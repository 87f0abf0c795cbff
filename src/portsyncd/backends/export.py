"""The metrics as files, for who reads files: ``portsyncd.prom`` and ``portsyncd.json``.

The first is for the textfile collector of node_exporter, which must be able to read it, and reads nothing that does not
end with ``.prom``. Each file is replaced as a whole. Event loop and worker thread share the work so that neither holds
the other up: text is made here in slices, and a thread writes it.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from math import isfinite
from pathlib import Path
from typing import Any, Final

import trio

from portsyncd.backends.files import open_new
from portsyncd.errors import FileError
from portsyncd.metrics.exposition import Metrics, Sample

TEXT_NAME: Final = "portsyncd.prom"
JSON_NAME: Final = "portsyncd.json"
# Of the form of the JSON document.
VERSION: Final = 1


class Exporter:
    """Writes one file or both into ``folder``, which is made where it is missing.

    export_format: see the configuration's key. metrics: without ``process_*`` families, since node_exporter has its own and
    answers nothing at all where a file has the same. document: what the JSON document has beside the metrics. wall: Unix
    seconds.
    """

    def __init__(
        self,
        folder: Path,
        export_format: str,
        metrics: Metrics,
        document: Callable[[], Mapping[str, Any]],
        wall: Callable[[], float],
    ) -> None:
        self._folder = folder
        self._format = export_format
        self._metrics = metrics
        self._document = document
        self._wall = wall
        self._one_at_a_time = trio.CapacityLimiter(1)

    async def export(self) -> None:
        """Write what the daemon is now. Raises ``FileError``; the former file is still there then.

        A file that is not asked for any more goes: nobody shall take it for what is now. An export that is cancelled may
        go on in its thread, and the next one waits for that.
        """
        for export_format, name, make in (("prometheus", TEXT_NAME, self._text), ("json", JSON_NAME, self._json)):
            if self._format in (export_format, "both"):
                await self._in_thread(_replace, self._folder / name, await make())
            else:
                await self._in_thread(_delete, self._folder / name)

    async def _text(self) -> list[bytes]:
        parts = []
        for part in self._metrics.render():
            parts.append(part.encode())
            await trio.lowlevel.checkpoint()
        return parts

    async def _json(self) -> list[bytes]:
        head = json.dumps({"version": VERSION, "exported_at": self._wall(), **self._document()})
        parts = [head.removesuffix("}").encode() + b', "metrics": [']
        before = b"\n"
        for samples in self._metrics.samples():
            parts += [before, ",\n".join(map(_json_of, samples)).encode()]
            before = b",\n"
            await trio.lowlevel.checkpoint()
        parts.append(b"\n]}\n")
        return parts

    async def _in_thread(self, work: Callable[..., None], *args: Any) -> None:
        await trio.to_thread.run_sync(work, *args, limiter=self._one_at_a_time, abandon_on_cancel=True)


def _json_of(sample: Sample) -> str:
    name, labels, value = sample
    return json.dumps({"name": name, "labels": dict(labels), "value": value if isfinite(value) else None})


def _replace(path: Path, parts: Sequence[bytes]) -> None:
    # The next export takes the place of one that a killed process left.
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        with open_new(temporary, 0o644) as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as problem:
        with suppress(OSError):
            temporary.unlink()
        raise FileError(f"could not write {path}: {problem.strerror or problem}") from problem


def _delete(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as problem:
        raise FileError(f"could not delete {path}: {problem.strerror or problem}") from problem
