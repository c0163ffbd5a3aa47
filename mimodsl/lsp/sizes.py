"""Finds the legal sizes of an axis by checking the spec with each candidate."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from math import prod
from typing import Any, Final, cast

import attrs
from attrs import evolve, frozen

from mimodsl.checker.file_check import CheckedFile
from mimodsl.checker.file_fixes import Recheck
from mimodsl.diagnostics import Edit
from mimodsl.ir.draft import Draft
from mimodsl.ir.grid import Axis, Grid, View
from mimodsl.ir.node import Node
from mimodsl.source import SourceFile, Span

_MAX_TRIALS: Final = 32
"""The number of sizes to try: a trial takes milliseconds, and a long list is hard to read."""

_MAX_NUMBER: Final = 4096
"""The largest number whose divisors are tried: includes heads, experts, layers, no vocabulary."""

_SMALL_POWERS: Final = tuple(2**power for power in range(7))


@frozen(kw_only=True)
class LegalSize:
    """A size to which no rule objects, perhaps after a change of another axis."""

    size: int
    changed: str = ""
    edits: tuple[Edit, ...] = ()


@frozen(kw_only=True)
class _Axis:
    """The axis whose size is needed, in a text in which its size is 1."""

    grid: Grid
    view: View
    name: str

    def product(self, size: int) -> int:
        """The number of ranks of the view for a size of the axis."""
        return size * prod(
            other_size for name, other_size in self.grid.sizes(self.view) if name != self.name
        )


async def legal_sizes(source: SourceFile, place: Span, check: Recheck) -> tuple[LegalSize, ...]:
    """The legal sizes at a place where a size is about to be written, smallest first.

    First come sizes that need no other change, then sizes that need another axis of the view
    changed. Errors that occur with every size do not count. Empty if the grid cannot be read.
    Between two trials other tasks can run, and the search can be cancelled.
    """
    trial = _SizeTrial(source=source, place=place, check=check)
    size_one_check = await trial.check_size(1)
    axis = _axis(size_one_check, place.start)
    if axis is None:
        return ()
    sizes = _candidates(size_one_check.loaded.draft, axis)
    error_places = {
        size: _error_places(size_one_check if size == 1 else await trial.check_size(size))
        for size in sizes
    }
    common = frozenset[tuple[str, int]].intersection(*error_places.values())
    legal = [size for size in sizes if error_places[size] == common]
    others = [size for size in sizes if size not in legal]
    changes = _sizes_with_change(axis, legal, others, trial, common)
    sizes_with_change = [legal_size async for legal_size in changes]
    return (*(LegalSize(size=size) for size in legal), *sizes_with_change)


@frozen(kw_only=True)
class _SizeTrial:
    source: SourceFile
    place: Span
    check: Recheck

    async def check_size(self, size: int, *edits: Edit) -> CheckedFile:
        """Check the text with a size at the place.

        `edits` refer to the text with a 1 at the place. They move no line, so mistakes keep their
        lines.
        """
        text = self.source.text
        changed = f"{text[: self.place.start]}{size}{text[self.place.end :]}"
        for edit in edits:
            shift = len(str(size)) - 1 if edit.span.start > self.place.start else 0
            start, end = edit.span.start + shift, edit.span.end + shift
            changed = f"{changed[:start]}{edit.replacement}{changed[end:]}"
        await asyncio.sleep(0)
        return self.check(evolve(self.source, text=changed))


def _error_places(checked: CheckedFile) -> frozenset[tuple[str, int]]:
    """Errors by code and line, which do not depend on the numbers in messages."""
    errors = (diagnostic for diagnostic in checked.diagnostics if diagnostic.is_error)
    return frozenset((diagnostic.code, _line(diagnostic.primary.where)) for diagnostic in errors)


def _line(where: object) -> int:
    return where.line if isinstance(where, Span) else 0


def _axis(checked: CheckedFile, offset: int) -> _Axis | None:
    """The axis whose size is at an offset of the checked text."""
    for grid in checked.loaded.draft.grids:
        for view in grid.views:
            for axis in view.axes:
                size = axis.origin.fields.get("size") if axis.origin else None
                if size is not None and size.start == offset and size.file is checked.source:
                    return _Axis(grid=grid, view=view, name=axis.name)
    return None


def _candidates(draft: Draft, axis: _Axis) -> list[int]:
    """Divisors of the numbers of the grid and its modules, and small powers of two."""
    rest = axis.product(1)
    products = {prod(size for _, size in axis.grid.sizes(view)) for view in axis.grid.views}
    exact = {product // rest for product in products if product % rest == 0}
    modules = [module for module in draft.modules if module.grid == axis.grid.name]
    numbers = {number for module in modules for number in _numbers(module)}
    divisors = {
        *_SMALL_POWERS,
        *(size for number in (*numbers, *products) for size in _divisors(number)),
    }
    fixed_products = _fixed_products(axis)
    allowed = [
        size
        for size in sorted(divisors | exact)
        if all(product % size == 0 for product in fixed_products)
    ]
    return sorted({1, *allowed[:_MAX_TRIALS], *exact})


def _fixed_products(axis: _Axis) -> set[int]:
    """The rank counts of views that do not depend on the axis; its size must divide them."""
    views = axis.grid.views
    filled = {
        other_axis.name for view in views for other_axis in view.axes if _is_filled(other_axis)
    }
    moving = {axis.name, *filled}
    return {
        prod(size for _, size in axis.grid.sizes(view))
        for view in views
        if moving.isdisjoint(other_axis.name for other_axis in view.axes)
    }


def _is_filled(axis: Axis) -> bool:
    """Whether the size of the axis is `_`."""
    size = axis.origin.fields.get("size") if axis.origin else None
    return size is not None and size.text == "_"


def _numbers(node: Node) -> Iterator[int]:
    """The integers of a node and its inner nodes that an axis may have to divide."""
    for field in cast("tuple[attrs.Attribute[Any], ...]", attrs.fields(type(node))):
        value: Any = getattr(node, field.name)
        if isinstance(value, Node):
            yield from _numbers(value)
        elif isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MAX_NUMBER:
            yield value


def _divisors(number: int) -> Iterator[int]:
    return (size for size in range(1, number + 1) if number % size == 0)


async def _sizes_with_change(
    axis: _Axis,
    legal: list[int],
    others: list[int],
    trial: _SizeTrial,
    common: frozenset[tuple[str, int]],
) -> AsyncIterator[LegalSize]:
    """Sizes that are legal if another axis changes so that the view keeps its number of ranks.

    That number is known only if all sizes that are legal alone give the same number.
    """
    targets = {axis.product(size) for size in legal}
    if len(targets) != 1:
        return
    target = targets.pop()
    for size in others:
        for name, edit in _balancing_changes(axis, size, target):
            if _error_places(await trial.check_size(size, edit)) == common:
                shift = len(trial.place.text) - 1 if edit.span.start > trial.place.start else 0
                span = Span(trial.source, edit.span.start + shift, edit.span.end + shift)
                yield LegalSize(
                    size=size,
                    changed=f"{name}:{edit.replacement}",
                    edits=(evolve(edit, span=span),),
                )
                break


def _balancing_changes(axis: _Axis, size: int, target: int) -> Iterator[tuple[str, Edit]]:
    """The changes of one other axis that give the view the target number of ranks."""
    for other in axis.view.axes:
        span = other.origin.fields.get("size") if other.origin else None
        if other.name == axis.name or span is None or not span.text.isdigit() or not other.size:
            continue
        rest = axis.product(size) // other.size
        if target % rest == 0:
            yield other.name, Edit(span, str(target // rest))
