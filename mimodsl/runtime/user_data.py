"""Samples of a user's own code: loaded, checked, and their errors shown as the user's."""

import importlib
import sys
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, override

import torch
from attrs import frozen
from torch import Tensor

from mimodsl.data import Data
from mimodsl.ir.flow import Flow
from mimodsl.ir.registry import import_object
from mimodsl.ir.spec import Spec
from mimodsl.runtime.errors import RunError
from mimodsl.runtime.request import DataSource
from mimodsl.runtime.worker import short_path

_OURS: Final = Path(__file__).parents[1]
_IMPORTLIB: Final = Path(importlib.__file__).parent
_INTEGERS: Final = (torch.int64, torch.int32, torch.int16, torch.uint8)


class DataError(RunError):
    """The user's own code for samples failed, or gave what does not fit the spec."""

    explained = True


def load_data(spec: Spec, source: DataSource) -> "CheckedData":
    """The samples that a function, or its name as `module:function`, gives for a spec.

    Modules are found from the working directory, too. Raises `DataError`.
    """
    name = data_name(source)
    with _theirs(name, "importing it"):
        function: Any = _imported(source) if isinstance(source, str) else source
    with _theirs(name, "calling it with the spec"):
        data = function(spec)
    if not isinstance(data, Data):
        raise DataError(f"{name} gave a {type(data).__name__}, which is no mimodsl.data.Data")
    return CheckedData(spec=spec, path=name, inner=data)


def data_name(source: DataSource) -> str:
    """`module:function` of a function of samples, as messages name it."""
    if isinstance(source, str):
        return source
    name = getattr(source, "__qualname__", type(source).__qualname__)
    return f"{source.__module__}:{name}"


def _imported(path: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    return import_object(path)


@contextmanager
def _theirs(path: str, doing: str) -> Generator[None]:
    """Say of an error in a user's code what it is, and where it was raised."""
    try:
        yield
    except Exception as error:  # whatever their code raises
        said = "".join(traceback.format_exception_only(error)).strip()
        frames = traceback.extract_tb(error.__traceback__)[1:]
        theirs = [frame for frame in frames if _is_theirs(frame.filename)]
        last = theirs[-1] if theirs else None
        where = f"\n  at {short_path(last.filename)}:{last.lineno} in {last.name}" if last else ""
        lines = "\n".join(f"  {line}" for line in said.splitlines())
        raise DataError(f"{path} failed, {doing}\n{lines}{where}") from error


def _is_theirs(file: str) -> bool:
    """Whether a file is not of mimodsl, nor of Python's import system, whose own are frozen."""
    path = Path(file)
    return not (
        file.startswith("<frozen ") or path.is_relative_to(_OURS) or path.is_relative_to(_IMPORTLIB)
    )


@frozen(kw_only=True)
class CheckedData(Data):
    """A user's samples, each held to the spec: shapes, ids, and placeholders in whole images."""

    spec: Spec
    path: str
    inner: Data

    @override
    def tokens(self, step: int, index: int) -> Tensor:
        tokens = self._asked("tokens", self.inner.tokens, step, index)
        what = f"tokens({step}, {index})"
        self._shaped(what, tokens, (self.spec.schedule.sequence + 1,))
        if tokens.dtype not in _INTEGERS:
            raise self._wrong(what, f"{tokens.dtype}", "integers")
        vocabulary = self.spec.language_kind.vocabulary
        if tokens.min() < 0 or tokens.max() >= vocabulary:
            found = f"ids from {int(tokens.min())} to {int(tokens.max())}"
            raise self._wrong(what, found, f"ids from 0 to {vocabulary - 1}")
        for flow in self.spec.flows:
            each = self.spec.image_tokens(flow)
            count = int((tokens[:-1] == flow.token).sum())
            if count % each or count > flow.images * each:
                room = f"{each} for each of at most {flow.images} images"
                raise self._wrong(what, f"{count} placeholders {flow.token}", room)
        return tokens.long()

    @override
    def images(self, flow: Flow, step: int, index: int) -> Tensor:
        images = self._asked("images", self.inner.images, flow, step, index)
        what = f"images({flow.encoder}, {step}, {index})"
        shape = self.spec.encoder(flow).input_shape
        count = len(images) if isinstance(images, Tensor) and images.ndim else 0  # pyright: ignore[reportUnnecessaryIsInstance]
        self._shaped(what, images, (min(count, flow.images), *shape))
        return images.float()

    @override
    def loss_mask(self, step: int, index: int) -> Tensor | None:
        mask = self._asked("loss_mask", self.inner.loss_mask, step, index)
        if mask is None:
            return None
        self._shaped(f"loss_mask({step}, {index})", mask, (self.spec.schedule.sequence,))
        return mask.float()

    @override
    def held_out(self) -> "CheckedData | None":
        found = self._asked("held_out", self.inner.held_out)
        return None if found is None else CheckedData(spec=self.spec, path=self.path, inner=found)

    def _asked[T](self, name: str, method: Callable[..., T], *arguments: Any) -> T:
        shown = ", ".join(
            argument.encoder if isinstance(argument, Flow) else str(argument)
            for argument in arguments
        )
        with _theirs(self.path, f"{name}({shown})"):
            return method(*arguments)

    def _shaped(self, what: str, found: object, shape: tuple[int, ...]) -> None:
        if not isinstance(found, Tensor):
            raise self._wrong(what, f"a {type(found).__name__}", f"a tensor {list(shape)}")
        if tuple(found.shape) != shape:
            raise self._wrong(what, f"a tensor {list(found.shape)}", f"one of {list(shape)}")

    def _wrong(self, what: str, found: str, needed: str) -> DataError:
        return DataError(f"{self.path} gave {found} for {what}, the spec needs {needed}")
