"""Functions that return a spec with another grid, module or value.

A changed node has no place in a text: diagnostics point at its object path. The other nodes keep
their places.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, cast

import attrs

from mimodsl.diagnostics.suggest import closest
from mimodsl.ir.grid import Grid, View
from mimodsl.ir.module import Module
from mimodsl.ir.node import Node
from mimodsl.ir.other_names import field_meant, place_meant
from mimodsl.ir.schema import schema
from mimodsl.ir.types import field_type

if TYPE_CHECKING:
    from mimodsl.ir.spec import Spec

_MODULE_FIELDS: Final = frozenset({"grid", "frozen", "kind"})


def with_grid(spec: Spec, name: str, views: Mapping[str, Any]) -> Spec:
    """The spec with some views of a grid replaced, added, or (by `None`) taken away."""
    grid = _named(spec.grids, "grid", name)
    left = {view.name: view for view in grid.views} | {
        view: None if axes is None else View(name=view, axes=axes) for view, axes in views.items()
    }
    kept = tuple(view for view in left.values() if view is not None)
    if not kept:
        raise ValueError(f"grid {name} needs a view")
    # The number of ranks was stated of another base view.
    ranks = grid.ranks if kept[0] == grid.base else None
    changed = _changed(grid, views=kept, ranks=ranks)
    return _changed(spec, grids=_replaced(spec.grids, grid, changed))


def with_module(spec: Spec, name: str, fields: Mapping[str, Any]) -> Spec:
    """The spec with some fields of a module, of its kind or its own, set anew."""
    module = _named(spec.modules, "module", name)
    own = {field: value for field, value in fields.items() if field in _MODULE_FIELDS}
    inner = {field: value for field, value in fields.items() if field not in _MODULE_FIELDS}
    kind = own.pop("kind", module.kind)
    changed = _changed(module, **own, kind=merged(kind, inner) if inner else kind)
    return _changed(spec, modules=_replaced(spec.modules, module, changed))


def merged[N: Node](node: N, fields: Mapping[str, Any]) -> N:
    """The node with some fields set anew. A mapping merges into the block that is there, field by
    field, as a module's block does with its preset's, or makes one where there is none.

    Raises `ValueError` for a field that there is not, and for a value that it doesn't take.
    """
    for field in fields:
        if field not in (one.name for one in schema(type(node))):
            problem = f"{type(node).__name__} has no field {field!r}"
            raise ValueError(f"{problem}; {_hint(field, type(node))}")
    return _changed(node, **{field: _merged(node, field, new) for field, new in fields.items()})


def _hint(field: str, cls: type[Node]) -> str:
    """What may have been meant by a field that the class has not."""
    known = sorted(one.name for one in schema(cls))
    if meant := field_meant(field, schema(cls)):
        return f"did you mean {meant!r}?"
    if place := place_meant(field, schema(cls)):
        outer, _, name = place
        return f"it belongs in a block: {outer.name}={{{name!r}: …}}"
    near = closest(field, known)
    return f"did you mean {near!r}?" if near else f"it has {', '.join(known)}"


def _merged(node: Node, field: str, new: Any) -> Any:
    if not isinstance(new, Mapping):
        return new
    values = cast("Mapping[str, Any]", new)
    old = getattr(node, field)
    if isinstance(old, Node):
        return merged(old, values)
    annotation = next(one.type for one in attrs.fields(type(node)) if one.name == field)
    blocks = [base for base in field_type(annotation).bases if issubclass(base, Node)]
    if len(blocks) != 1:
        raise ValueError(f"{type(node).__name__}.{field} takes no fields of its own")
    try:
        return blocks[0](**values)
    except TypeError as error:
        raise ValueError(f"{blocks[0].__name__}: {error}") from error


def substitute(spec: Spec, values: Mapping[str, Any]) -> Spec:
    """The spec with the value at each object path set anew.

    Paths are those that diagnostics point at: `modules.language.moe.experts` is a field by names of
    fields and, in lists, of items. Raises `ValueError` for a path that leads nowhere.
    """
    for path, value in values.items():
        spec = cast("Spec", _substituted(spec, path.split("."), value, path))
    return spec


def _substituted(node: object, steps: list[str], value: Any, path: str) -> object:
    if not steps:
        return value
    step, *rest = steps
    if isinstance(node, tuple):
        items = cast("tuple[object, ...]", node)
        index = next((at for at, item in enumerate(items) if item_name(item, at) == step), None)
        if index is not None:
            changed = _substituted(items[index], rest, value, path)
            return (*items[:index], changed, *items[index + 1 :])
    elif isinstance(node, Node):
        # Of a module, the fields of its kind are its own to a reader.
        if isinstance(node, Module) and step not in _own(node):
            return _changed(node, kind=_substituted(node.kind, steps, value, path))
        if step in _own(node):
            return _changed(node, **{step: _substituted(getattr(node, step), rest, value, path)})
    raise ValueError(f"there is no {step!r} in {path!r}")


def _own(node: Node) -> set[str]:
    return {field.name for field in attrs.fields(type(node)) if field.name != "origin"}


def item_name(item: object, index: int) -> str:
    """How an item of a list is called: by its own name, a flow by its encoder's."""
    from mimodsl.ir.flow import Flow

    if isinstance(item, Flow) and item.path:
        return item.path[0]
    name = getattr(item, "name", None)
    return name if isinstance(name, str) else str(index)


def _changed[N: Node](node: N, **fields: Any) -> N:
    return cast(N, attrs.evolve(cast(Any, node), **fields, origin=None))


def _named[N: (Grid, Module)](nodes: tuple[N, ...], what: str, name: str) -> N:
    for node in nodes:
        if node.name == name:
            return node
    raise ValueError(f"there is no {what} {name!r}, only {', '.join(one.name for one in nodes)}")


def _replaced[N: Node](nodes: tuple[N, ...], old: N, new: N) -> tuple[N, ...]:
    return tuple(new if node is old else node for node in nodes)
