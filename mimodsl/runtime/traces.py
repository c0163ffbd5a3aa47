"""Traces of some steps on some ranks, by torch's profiler, in Chrome's format."""

import gzip
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import define, field, frozen

from mimodsl.runtime.unfinished_files import UNFINISHED


@frozen(kw_only=True)
class Tracing:
    """Which steps of a run are traced, from `first` to `last`, on which ranks, and where it goes.

    Steps are counted from 1 in every run, also in one that goes on from a checkpoint.
    """

    folder: Path
    first: int
    last: int
    ranks: tuple[int, ...]

    def path(self, rank: int) -> Path:
        """Where a rank's trace lies, gzipped: for chrome://tracing and ui.perfetto.dev."""
        return self.folder / f"rank{rank}.json.gz"


@define(kw_only=True)
class Tracer:
    """Traces the steps of one rank, if it is among those that are traced."""

    tracing: Tracing | None
    rank: int
    trace: Path | None = None
    _profiler: Any = field(default=None, init=False)

    @contextmanager
    def step(self, number: int) -> Generator[None]:
        """One step of the run; the trace is written, as a whole, when the last one has ended."""
        if not self._traces(number):
            yield
            return
        from torch.profiler import profile, record_function

        assert self.tracing is not None
        if self._profiler is None:
            self._profiler = profile()
            self._profiler.start()
        with record_function(f"step {number} of the run"):
            yield
        if number == self.tracing.last:
            self._profiler.stop()
            self._write(self.tracing.path(self.rank))

    def _traces(self, number: int) -> bool:
        wanted = self.tracing
        return (
            wanted is not None
            and self.rank in wanted.ranks
            and wanted.first <= number <= wanted.last
        )

    def _write(self, path: Path) -> None:
        """Write the trace beside its place. torch would gzip it by way of the system's temporary
        folder, which a rank that is killed does not tidy up."""
        path.parent.mkdir(parents=True, exist_ok=True)  # of each node, where they share none
        with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=path.parent) as folder:
            plain, whole = Path(folder) / "trace.json", Path(folder) / path.name
            self._profiler.export_chrome_trace(str(plain))
            with plain.open("rb") as source, gzip.open(whole, "wb") as target:
                shutil.copyfileobj(source, target)
            self.trace = whole.replace(path)
