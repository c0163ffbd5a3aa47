"""The TensorBoard log of a run: a curve for each number of a step or an evaluation."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import attrs
from attrs import frozen

_NOT_LOGGED: Final = ("step", "seconds", "tokens")


@frozen
class TensorBoardLog:
    """The log that rank 0 writes. Without a `writer` it drops every value."""

    writer: Any = None

    def add(self, kind: str, value: Any) -> None:
        """Write the numbers of a step or an evaluation at once, each to the curve `kind/name`."""
        if self.writer is None:
            return
        for name, number in attrs.asdict(value).items():
            if name not in _NOT_LOGGED and number is not None:
                self.writer.add_scalar(f"{kind}/{name}", number, value.step)
        self.writer.flush()


@contextmanager
def log_in(folder: Path | None, *, after: int) -> Generator[TensorBoardLog]:
    """A log in a folder, for the length of a block; without a folder it drops every value.

    TensorBoard hides the points of an earlier run that come `after` this step.
    """
    if folder is None:
        yield TensorBoardLog()
        return
    from torch.utils.tensorboard import SummaryWriter

    writer: Any = SummaryWriter(folder, purge_step=after + 1)  # pyright: ignore[reportUnknownVariableType, reportCallIssue, reportArgumentType]
    try:
        yield TensorBoardLog(writer)
    finally:
        writer.close()
