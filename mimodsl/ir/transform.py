"""Functions that return a changed copy of a spec.

A changed node has no origin in a text, so diagnostics show its object path. Other nodes keep their
origins.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, cast

import attrs

from mimodsl.diagnostics.suggest import closest
from mimodsl.ir.grid import Grid, View
from mimodsl.ir.module import Module
from mimodsl.ir.node import Node
from mimodsl.ir.other_names import block_field_by_other_name, field_by_other_name
from mimodsl.ir.schema import schema
from mimodsl.ir.types import field_type

if TYPE_CHECKING:
    from mimodsl.ir.spec import Spec

_MODULE_FIELDS: Final = frozenset({"grid", "frozen", "kind"})


def with_grid(spec: Spec, name: str, views: Mapping[str, Any]) -> Spec:
    """The spec with some views of a grid changed, added, or (by `None`) removed."""
    grid = _named(spec.grids, "grid", name)
    views_by_name = {view.name: view for view in grid.views} | {
        view: None if axes is None else View(name=view, axes=axes) for view, axes in views.items()
    }
    remaining = tuple(view for view in views_by_name.values() if view is not None)
    if not remaining:
        raise ValueError(f"grid {name} needs a view")
    # `ranks` was stated for the old base view.
    ranks = grid.ranks if remaining[0] == grid.base else None
    changed = _copy_with(grid, views=remaining, ranks=ranks)
    return _copy_with(spec, grids=_with_replaced(spec.grids, grid, changed))


def with_module(spec: Spec, name: str, fields: Mapping[str, Any]) -> Spec:
    """The spec with some fields of a module or of its kind changed."""
    module = _named(spec.modules, "module", name)
    module_fields = {field: value for field, value in fields.items() if field in _MODULE_FIELDS}
    kind_fields = {field: value for field, value in fields.items() if field not in _MODULE_FIELDS}
    kind = module_fields.pop("kind", module.kind)
    changed = _copy_with(
        module, **module_fields, kind=merged(kind, kind_fields) if kind_fields else kind
    )
    return _copy_with(spec, modules=_with_replaced(spec.modules, module, changed))


def merged[N: Node](node: N, fields: Mapping[str, Any]) -> N:
    """The node with some fields changed.

    A mapping changes single fields of an existing block, or makes a new block. Raises `ValueError`
    for an unknown field, and for a value that a field does not accept.
    """
    for field in fields:
        if field not in (known.name for known in schema(type(node))):
            problem = f"{type(node).__name__} has no field {field!r}"
            raise ValueError(f"{problem}; {_hint(field, type(node))}")
    return _copy_with(node, **{field: _merged(node, field, new) for field, new in fields.items()})


def _hint(field: str, cls: type[Node]) -> str:
    """What an unknown field of a class may mean."""
    known = sorted(known_field.name for known_field in schema(cls))
    if known_name := field_by_other_name(field, schema(cls)):
        return f"did you mean {known_name!r}?"
    if place := block_field_by_other_name(field, schema(cls)):
        outer, _, name = place
        return f"it belongs in a block: {outer.name}={{{name!r}: …}}"
    closest_name = closest(field, known)
    return f"did you mean {closest_name!r}?" if closest_name else f"it has {', '.join(known)}"


def _merged(node: Node, field: str, new: Any) -> Any:
    if not isinstance(new, Mapping):
        return new
    values = cast("Mapping[str, Any]", new)
    old = getattr(node, field)
    if isinstance(old, Node):
        return merged(old, values)
    annotation = next(
        attribute.type for attribute in attrs.fields(type(node)) if attribute.name == field
    )
    blocks = [base for base in field_type(annotation).bases if issubclass(base, Node)]
    if len(blocks) != 1:
        raise ValueError(f"{type(node).__name__}.{field} takes no block")
    try:
        return blocks[0](**values)
    except TypeError as error:
        raise ValueError(f"{blocks[0].__name__}: {error}") from error


def substitute(spec: Spec, values: Mapping[str, Any]) -> Spec:
    """The spec with the value at each object path changed.

    A path such as `modules.language.moe.experts` has names of fields and, in lists, names of items,
    as in diagnostics. Raises `ValueError` for an unknown path.
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
        index = next(
            (position for position, item in enumerate(items) if item_name(item, position) == step),
            None,
        )
        if index is not None:
            changed = _substituted(items[index], rest, value, path)
            return (*items[:index], changed, *items[index + 1 :])
    elif isinstance(node, Node):
        # In a path, the fields of a kind look like fields of its module.
        if isinstance(node, Module) and step not in _field_names(node):
            return _copy_with(node, kind=_substituted(node.kind, steps, value, path))
        if step in _field_names(node):
            return _copy_with(node, **{step: _substituted(getattr(node, step), rest, value, path)})
    raise ValueError(f"there is no {step!r} in {path!r}")


def _field_names(node: Node) -> set[str]:
    return {field.name for field in attrs.fields(type(node)) if field.name != "origin"}


def item_name(item: object, index: int) -> str:
    """The name of an item in a list: its own name; for a flow, its encoder's name."""
    from mimodsl.ir.flow import Flow

    if isinstance(item, Flow) and item.path:
        return item.path[0]
    name = getattr(item, "name", None)
    return name if isinstance(name, str) else str(index)


def _copy_with[N: Node](node: N, **fields: Any) -> N:
    return cast(N, attrs.evolve(cast(Any, node), **fields, origin=None))


def _named[N: (Grid, Module)](nodes: tuple[N, ...], what: str, name: str) -> N:
    for node in nodes:
        if node.name == name:
            return node
    raise ValueError(f"there is no {what} {name!r}, only {', '.join(one.name for one in nodes)}")


def _with_replaced[N: Node](nodes: tuple[N, ...], old: N, new: N) -> tuple[N, ...]:
    return tuple(new if node is old else node for node in nodes)
