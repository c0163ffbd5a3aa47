"""Grids: axis sizes worked out, and `_` filled with what the other axes leave."""

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
from mimodsl.lower.constants import Context
from mimodsl.lower.evaluate import Failed, described
from mimodsl.syntax import ast

_FILL: Final = "_"


@frozen(kw_only=True)
class _Size:
    """An axis's size: a number, `None` where it is shared, and the axis to fill where it is `_`."""

    axis: ast.Axis
    value: int | None

    @property
    def to_fill(self) -> bool:
        size = self.axis.size
        return isinstance(size, ast.Word) and size.text == _FILL


@frozen(kw_only=True)
class GridReader:
    """Makes grids of their declarations."""

    context: Context

    def read(self, declaration: ast.Grid) -> Grid | None:
        """The grid, or `None` after a report."""
        fields = [self._as_meant(one, declaration) for one in declaration.fields]
        views = [one for one in fields if isinstance(one, ast.View)]
        ranks = [one for one in fields if isinstance(one, ast.Ranks)]
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
        self.context.report(diagnostic)

    def _as_meant(self, field: ast.View | ast.Ranks, grid: ast.Grid) -> ast.View | ast.Ranks:
        """The `ranks` that a view of a constant, `rnks = world`, must be, after a report of it."""
        if isinstance(field, ast.Ranks):
            return field
        first, *others = field.axes
        if others or first.size is not None:
            return field
        name = first.name
        word = ast.Word(text=name.text, span=name.span)
        if not self.context.knows(word) or name.text in _axes_beside(field, grid):
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
        """Whether no view, no axis of a view and no `ranks` is given twice."""
        names = [one.name for one in views]
        lists = [names, *([axis.name for axis in view.axes] for view in views)]
        lists.append([ast.Name(text="ranks", span=one.span) for one in ranks])
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
        found = self.context.evaluator.evaluate(value)
        if isinstance(found, Failed):
            return found
        if not isinstance(found, int) or isinstance(found, bool):
            self._report(
                codes.WRONG_TYPE.at(
                    value.span,
                    f"`{name}` takes an integer, found {described(found)}",
                    secondary=self.context.definition(value),
                )
            )
            return Failed.FAILED
        if found < 1:
            self._report(
                codes.OUT_OF_BOUNDS.at(
                    value.span,
                    f"`{name}` must be at least 1, found {found}",
                    secondary=self.context.definition(value, found),
                )
            )
            return Failed.FAILED
        return found

    def _fill(
        self, views: list[list[_Size] | None], total: int | None, stated: ast.Value | None
    ) -> list[list[_Size]] | None:
        """Every view with `_` worked out; `None` after a report, of a view that is `None` too."""
        base = self._filled(views[0], {}, total, stated) if views[0] is not None else None
        if base is None:
            return None
        shared = {size.axis.name.text: size.value or 1 for size in base}
        world = total or prod(shared.values())
        rest = [self._filled(one, shared, world, stated) for one in views[1:] if one is not None]
        found = [base, *(view for view in rest if view is not None)]
        return found if len(found) == len(views) else None

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
            return [evolve(one, value=rest) if one.to_fill else one for one in sizes]
        if len(blanks) > 1:
            problem = "a view has one `_`"
        elif total is None:
            problem = "nothing says how many ranks there are to fill"
        elif not remainder:
            problem = "what the other axes leave does not fit into 64 bits"
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


def _axes_beside(view: ast.View, grid: ast.Grid) -> set[str]:
    """The axes of all other views of a grid."""
    others = (one for one in grid.fields if isinstance(one, ast.View) and one is not view)
    return {axis.name.text for one in others for axis in one.axes}


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
