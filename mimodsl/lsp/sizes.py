"""The sizes that an axis may have: asked of the rules, by trying."""

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

_MOST: Final = 32
"""Sizes that are tried: a trial takes some milliseconds, and nobody reads a longer list."""

_LARGEST: Final = 4096
"""Numbers of a spec whose divisors are tried: heads, experts and layers, but no vocabulary."""

_FIRST: Final = tuple(2**power for power in range(7))


@frozen(kw_only=True)
class Legal:
    """A size with which no rule objects to the axis, perhaps after a change of another axis."""

    size: int
    changed: str = ""
    edits: tuple[Edit, ...] = ()


@frozen(kw_only=True)
class _Axis:
    """The axis whose size is wanted, in a text in which its size is 1."""

    grid: Grid
    view: View
    name: str

    def product(self, size: int) -> int:
        """The ranks of the view when the axis has a size."""
        return size * prod(one for name, one in self.grid.sizes(self.view) if name != self.name)


async def legal_sizes(source: SourceFile, place: Span, check: Recheck) -> tuple[Legal, ...]:
    """The sizes that may stand at a place, where one is about to be written; smallest first.

    Those that are legal as everything else is come before those that want another axis of the view
    changed. Mistakes that no size changes do not count. Empty where the grid cannot be read.
    Between two trials others have their turn, and the search can be cancelled.
    """
    trial = _Trial(source=source, place=place, check=check)
    one = await trial.of(1)
    axis = _axis(one, place.start)
    if axis is None:
        return ()
    sizes = _candidates(one.loaded.draft, axis)
    blames = {size: _blame(one if size == 1 else await trial.of(size)) for size in sizes}
    common = frozenset[tuple[str, int]].intersection(*blames.values())
    legal = [size for size in sizes if blames[size] == common]
    others = [size for size in sizes if size not in legal]
    balanced = [one async for one in _with_another(axis, legal, others, trial, common)]
    return (*(Legal(size=size) for size in legal), *balanced)


@frozen(kw_only=True)
class _Trial:
    source: SourceFile
    place: Span
    check: Recheck

    async def of(self, size: int, *edits: Edit) -> CheckedFile:
        """What becomes of the text with a size at the place; edits lie in the text with a 1 there.

        They keep their line, and so does every mistake.
        """
        text = self.source.text
        changed = f"{text[: self.place.start]}{size}{text[self.place.end :]}"
        for edit in edits:
            grown = len(str(size)) - 1 if edit.span.start > self.place.start else 0
            start, end = edit.span.start + grown, edit.span.end + grown
            changed = f"{changed[:start]}{edit.replacement}{changed[end:]}"
        await asyncio.sleep(0)
        return self.check(evolve(self.source, text=changed))


def _blame(found: CheckedFile) -> frozenset[tuple[str, int]]:
    """Errors by code and line, which stay what they are when a number changes."""
    errors = (one for one in found.diagnostics if one.is_error)
    return frozenset((one.code, _line(one.primary.where)) for one in errors)


def _line(where: object) -> int:
    return where.line if isinstance(where, Span) else 0


def _axis(found: CheckedFile, offset: int) -> _Axis | None:
    """The axis whose size stands at an offset of the checked text."""
    for grid in found.loaded.draft.grids:
        for view in grid.views:
            for axis in view.axes:
                size = axis.origin.fields.get("size") if axis.origin else None
                if size is not None and size.start == offset and size.file is found.source:
                    return _Axis(grid=grid, view=view, name=axis.name)
    return None


def _candidates(draft: Draft, axis: _Axis) -> list[int]:
    """Divisors of what the grid and its modules are made of, and small powers of two."""
    own = axis.product(1)
    products = {prod(size for _, size in axis.grid.sizes(view)) for view in axis.grid.views}
    exact = {product // own for product in products if product % own == 0}
    held = [one for one in draft.modules if one.grid == axis.grid.name]
    numbers = {number for one in held for number in _numbers(one)}
    found = {*_FIRST, *(size for number in (*numbers, *products) for size in _divisors(number))}
    fixed = _fixed(axis)
    few = [size for size in sorted(found | exact) if all(one % size == 0 for one in fixed)]
    return sorted({1, *few[:_MOST], *exact})


def _fixed(axis: _Axis) -> set[int]:
    """The ranks that other views cover, whatever the axis's size: it has to divide them."""
    views = axis.grid.views
    filled = {one.name for view in views for one in view.axes if _is_filled(one)}
    moving = {axis.name, *filled}
    return {
        prod(size for _, size in axis.grid.sizes(view))
        for view in views
        if moving.isdisjoint(one.name for one in view.axes)
    }


def _is_filled(axis: Axis) -> bool:
    """Whether the axis is what the others leave, `_`."""
    size = axis.origin.fields.get("size") if axis.origin else None
    return size is not None and size.text == "_"


def _numbers(node: Node) -> Iterator[int]:
    """The integers of a node and of what is in it, as far as an axis may have to divide them."""
    for field in cast("tuple[attrs.Attribute[Any], ...]", attrs.fields(type(node))):
        value: Any = getattr(node, field.name)
        if isinstance(value, Node):
            yield from _numbers(value)
        elif isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _LARGEST:
            yield value


def _divisors(number: int) -> Iterator[int]:
    return (size for size in range(1, number + 1) if number % size == 0)


async def _with_another(
    axis: _Axis,
    legal: list[int],
    others: list[int],
    trial: _Trial,
    common: frozenset[tuple[str, int]],
) -> AsyncIterator[Legal]:
    """Sizes that are legal where another axis makes the view cover as many ranks as before.

    That is known where all sizes that are legal by themselves cover the same ranks.
    """
    targets = {axis.product(size) for size in legal}
    if len(targets) != 1:
        return
    target = targets.pop()
    for size in others:
        for name, edit in _balanced(axis, size, target):
            if _blame(await trial.of(size, edit)) == common:
                shift = len(trial.place.text) - 1 if edit.span.start > trial.place.start else 0
                span = Span(trial.source, edit.span.start + shift, edit.span.end + shift)
                yield Legal(
                    size=size,
                    changed=f"{name}:{edit.replacement}",
                    edits=(evolve(edit, span=span),),
                )
                break


def _balanced(axis: _Axis, size: int, target: int) -> Iterator[tuple[str, Edit]]:
    """The changes of one other axis that make the view cover the target."""
    for other in axis.view.axes:
        span = other.origin.fields.get("size") if other.origin else None
        if other.name == axis.name or span is None or not span.text.isdigit() or not other.size:
            continue
        rest = axis.product(size) // other.size
        if target % rest == 0:
            yield other.name, Edit(span, str(target // rest))
