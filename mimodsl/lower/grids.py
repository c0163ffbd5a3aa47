"""Lowers grids: computes axis sizes, and fills `_` with the ranks that the other axes leave."""

from collections.abc import Mapping
from math import prod
from typing import Final

from attrs import evolve, frozen

from mimodsl.diagnostics import Diagnostic, Label, codes
from mimodsl.diagnostics.suggest import corrected
from mimodsl.ir.grid import Axis, Grid, View
from mimodsl.ir.node import Origin
from mimodsl.limits import MAX_INTEGER
from mimodsl.lower.blocks import field_set_twice
from mimodsl.lower.constants import Environment
from mimodsl.lower.evaluate import Failed, value_words
from mimodsl.syntax import ast

_FILL: Final = "_"


@frozen(kw_only=True, eq=False)
class _Size:
    """The size of an axis; `None` for a shared axis, and for `_` until it is filled."""

    axis: ast.Axis
    value: int | None

    @property
    def to_fill(self) -> bool:
        size = self.axis.size
        return isinstance(size, ast.Word) and size.text == _FILL


@frozen(kw_only=True, eq=False)
class GridReader:
    """Makes grids from their declarations."""

    environment: Environment

    def read(self, declaration: ast.Grid) -> Grid | None:
        """The grid, or `None` after a report."""
        fields = [self._as_meant(field, declaration) for field in declaration.fields]
        views = [field for field in fields if isinstance(field, ast.View)]
        ranks = [field for field in fields if isinstance(field, ast.Ranks)]
        if not views:
            self._report(
                codes.EMPTY_GRID.at(
                    declaration.name.span,
                    f"the grid `{declaration.name}` has no view",
                    help=("write its base view, such as `dense = tp:2 * dp:4`",),
                )
            )
            return None
        sound = self._each_once(views, ranks)
        stated = ranks[0].value if ranks else None
        total = self._size(stated, "ranks") if stated else None
        sizes = [self._sizes(view) for view in views]
        if not sound or isinstance(total, Failed):
            return None
        filled = self._fill(sizes, total, stated)
        if filled is None:
            return None
        return Grid(
            name=declaration.name.text,
            views=tuple(map(_view, views, filled)),
            ranks=total,
            origin=Origin(
                span=declaration.span,
                name=declaration.name.span,
                fields={"ranks": stated.span} if stated else {},
            ),
        )

    def _report(self, diagnostic: Diagnostic) -> None:
        self.environment.report(diagnostic)

    def _as_meant(self, field: ast.View | ast.Ranks, grid: ast.Grid) -> ast.View | ast.Ranks:
        """Read `rnks = world` as `ranks = world` after a report: it has the form of a view."""
        if isinstance(field, ast.Ranks):
            return field
        first, *others = field.axes
        if others or first.size is not None:
            return field
        name = first.name
        word = ast.Word(text=name.text, span=name.span)
        if not self.environment.knows(word) or name.text in _axes_of_other_views(field, grid):
            return field
        edits = corrected(field.name.span, ("ranks",))
        if not edits:
            return field
        self._report(
            codes.UNKNOWN_FIELD.at(
                field.name.span,
                f"`grid` has no field `{field.name}`",
                help=("did you mean `ranks`?",),
                edits=edits,
            )
        )
        return ast.Ranks(value=word, span=field.span)

    def _each_once(self, views: list[ast.View], ranks: list[ast.Ranks]) -> bool:
        """Whether each view, each axis of a view, and `ranks` is given only once."""
        names = [view.name for view in views]
        lists = [names, *([axis.name for axis in view.axes] for view in views)]
        lists.append([ast.Name(text="ranks", span=field.span) for field in ranks])
        sound = True
        for keys in lists:
            first: dict[str, ast.Name] = {}
            for key in keys:
                earlier = first.setdefault(key.text, key)
                if earlier is not key:
                    self._report(field_set_twice(key, earlier))
                    sound = False
        return sound

    def _sizes(self, view: ast.View) -> list[_Size] | None:
        sizes: list[_Size] = []
        sound = True
        for axis in view.axes:
            size = _Size(axis=axis, value=None)
            if axis.size is not None and not size.to_fill:
                value = self._size(axis.size, axis.name.text)
                if isinstance(value, Failed):
                    sound = False
                else:
                    size = _Size(axis=axis, value=value)
            sizes.append(size)
        return sizes if sound else None

    def _size(self, value: ast.Value, name: str) -> int | Failed:
        size = self.environment.evaluator.evaluate(value)
        if isinstance(size, Failed):
            return size
        if not isinstance(size, int) or isinstance(size, bool):
            self._report(
                codes.WRONG_TYPE.at(
                    value.span,
                    f"`{name}` takes an integer, found {value_words(size)}",
                    secondary=self.environment.definition(value),
                )
            )
            return Failed.FAILED
        if size < 1:
            self._report(
                codes.OUT_OF_BOUNDS.at(
                    value.span,
                    f"`{name}` must be at least 1, found {size}",
                    secondary=self.environment.definition(value, size),
                )
            )
            return Failed.FAILED
        return size

    def _fill(
        self, views: list[list[_Size] | None], total: int | None, stated: ast.Value | None
    ) -> list[list[_Size]] | None:
        """Fill `_` in every view; `None` after a report, or if a view is `None`."""
        base = self._filled(views[0], {}, total, stated) if views[0] is not None else None
        if base is None:
            return None
        shared = {size.axis.name.text: size.value or 1 for size in base}
        world = total or prod(shared.values())
        rest = [self._filled(view, shared, world, stated) for view in views[1:] if view is not None]
        filled = [base, *(view for view in rest if view is not None)]
        return filled if len(filled) == len(views) else None

    def _filled(
        self,
        sizes: list[_Size],
        shared: Mapping[str, int],
        total: int | None,
        stated: ast.Value | None,
    ) -> list[_Size] | None:
        blanks = [size for size in sizes if size.to_fill]
        if not blanks:
            return sizes
        known = prod(
            size.value or shared.get(size.axis.name.text, 1) for size in sizes if not size.to_fill
        )
        rest, remainder = divmod(total or 1, known)
        if len(blanks) == 1 and total is not None and not remainder and rest <= MAX_INTEGER:
            return [evolve(size, value=rest) if size.to_fill else size for size in sizes]
        if len(blanks) > 1:
            problem = "a view can have only one `_`"
        elif total is None:
            problem = "the number of ranks to fill is unknown"
        elif not remainder:
            problem = "the size that fills the view does not fit into 64 bits"
        else:
            problem = f"the other axes cover {known} ranks, which do not divide {total}"
        self._report(
            codes.BAD_FILL.at(
                blanks[-1].axis.span,
                problem,
                secondary=(Label(stated.span, f"{total} ranks"),) if stated else (),
                help=("give the grid `ranks = N`",) if total is None else (),
            )
        )
        return None


def _axes_of_other_views(view: ast.View, grid: ast.Grid) -> set[str]:
    """The axes of all other views of a grid."""
    others = (other for other in grid.fields if isinstance(other, ast.View) and other is not view)
    return {axis.name.text for other in others for axis in other.axes}


def _view(view: ast.View, sizes: list[_Size]) -> View:
    axes = tuple(_axis(size) for size in sizes)
    first, last = view.axes[0].span, view.axes[-1].span
    fields = {"axes": first.to(last)}
    return View(
        name=view.name.text,
        axes=axes,
        origin=Origin(span=view.span, name=view.name.span, fields=fields),
    )


def _axis(size: _Size) -> Axis:
    axis = size.axis
    fields = {"size": axis.size.span} if axis.size else {}
    return Axis(
        name=axis.name.text,
        size=size.value,
        origin=Origin(span=axis.span, name=axis.name.span, fields=fields),
    )
