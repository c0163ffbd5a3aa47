"""TensorBoard logs of a run: a curve of everything that steps and evaluations say."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import attrs
from attrs import frozen

_NOT_LOGGED: Final = ("step", "seconds", "tokens")


@frozen
class Logs:
    """Where rank 0 writes what it has to show; `writer` is none where there are no logs."""

    writer: Any = None

    def add(self, kind: str, value: Any) -> None:
        """The numbers of a step or an evaluation, each as the curve `kind/name`; out at once."""
        if self.writer is None:
            return
        for name, number in attrs.asdict(value).items():
            if name not in _NOT_LOGGED and number is not None:
                self.writer.add_scalar(f"{kind}/{name}", number, value.step)
        self.writer.flush()


@contextmanager
def logs_in(folder: Path | None, *, after: int) -> Generator[Logs]:
    """Logs in a folder for a block. Curves go on `after` a step: later points of an earlier run
    are not shown any more. Without a folder there are none."""
    if folder is None:
        yield Logs()
        return
    from torch.utils.tensorboard import SummaryWriter

    writer: Any = SummaryWriter(folder, purge_step=after + 1)  # pyright: ignore[reportUnknownVariableType, reportCallIssue, reportArgumentType]
    try:
        yield Logs(writer)
    finally:
        writer.close()
