"""The view of a spec that rules get: its declarations and their places in the text."""

from collections.abc import Iterator
from functools import cached_property

import attrs

from mimodsl.diagnostics import Edit, Label, ObjectPath, Where
from mimodsl.ir import Flow, Grid, Module, Node, View
from mimodsl.ir.draft import Draft
from mimodsl.ir.transform import item_name
from mimodsl.source import SourceFile, Span


@attrs.frozen(eq=False, slots=False)
class Context:
    """A draft as rules see it. Values that a broken declaration leaves unknown are `None`."""

    draft: Draft

    def at(self, node: Node, field: str | None = None) -> Where:
        """The place of a field, or of the whole node; an object path if Python made the node.

        A block that comes from defaults has the place of its nearest written parent.
        """
        span = node.span(field)
        if span is not None:
            return span
        place = self._places.get(id(node))
        if place is None:
            return ObjectPath(type(node).__name__)
        parent = place.parent
        while parent is not None:
            if parent.origin is not None:
                return parent.origin.span
            parent = self._places[id(parent)].parent
        return ObjectPath(place.path if field is None else f"{place.path}.{field}")

    def label(self, node: Node, field: str | None = None, text: str = "") -> Label:
        return Label(self.at(node, field), text)

    def part_label(self, node: Node, field: str, part: range, text: str = "") -> Label:
        """A label on some characters of a string; on the whole string if it has escapes."""
        where = self.at(node, field)
        value = getattr(node, field)
        if isinstance(where, Span) and part and where.text == f'"{value}"':
            start = where.start + 1
            where = Span(where.file, start + part.start, start + part.stop)
        return Label(where, text)

    def writing(self, node: Node, field: str, value: str) -> tuple[Edit, ...]:
        """The edit that sets a field to a value; none if the main file does not set the field."""
        span = node.origin.fields.get(field) if node.origin else None
        if span is None or self.main_file not in (None, span.file):
            return ()
        return (Edit(span, value),)

    def in_main_file(self, label: Label) -> bool:
        """Whether a label is in the main file, not in a file that it uses."""
        return isinstance(label.where, Span) and label.where.file is self.main_file

    def axis_label(self, grid: Grid, name: str, text: str = "") -> Label:
        """A label on an axis, in the view that gives its size; on the grid if no view does."""
        for view in grid.views:
            axis = view.axis(name)
            if axis is not None and axis.size is not None:
                return self.label(axis, None, text)
        return self.label(grid, "name", text)

    def view_label(self, view: View, text: str = "") -> Label:
        """A label on all axes of a view."""
        return self.label(view, "axes", text)

    def grid_of(self, module: Module) -> Grid | None:
        return self.draft.grid(module.grid)

    def flow_through(self, module: Module) -> Flow | None:
        """The flow of an encoder or a projector."""
        return next((flow for flow in self.draft.flows if module.name in flow.path[:-1]), None)

    @cached_property
    def main_file(self) -> SourceFile | None:
        """The main file of the spec, found by a declaration that used files cannot contain."""
        draft = self.draft
        for node in (draft.schedule, *draft.flows, draft.place, draft.train):
            if node is not None and node.origin is not None:
                return node.origin.span.file
        return None

    @cached_property
    def _places(self) -> dict[int, "_Place"]:
        """The object path and parent of every node, by identity."""
        draft = self.draft
        roots: list[tuple[str, object]] = [
            ("grids", draft.grids),
            ("place", draft.place),
            ("modules", draft.modules),
            ("flows", draft.flows),
            ("schedule", draft.schedule),
            ("train", draft.train),
        ]
        places: dict[int, _Place] = {}
        for path, value in roots:
            for node, place in _walk(value, path, None):
                places.setdefault(id(node), place)
        return places


@attrs.frozen
class _Place:
    path: str
    parent: Node | None


def _walk(value: object, path: str, parent: Node | None) -> Iterator[tuple[Node, _Place]]:
    if isinstance(value, tuple):
        for index, item in enumerate(value):  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
            yield from _walk(item, f"{path}.{item_name(item, index)}", parent)  # pyright: ignore[reportUnknownArgumentType]
    elif isinstance(value, Node):
        yield value, _Place(path, parent)
        for field in attrs.fields(type(value)):
            if field.name != "origin":
                yield from _walk(getattr(value, field.name), f"{path}.{field.name}", value)
