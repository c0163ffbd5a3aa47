"""A smaller spec with the same disagreement: every field at its default that may be."""

from collections.abc import Iterator

import attrs

from mimodsl.ir import Spec
from mimodsl.ir.node import Node
from mimodsl.ir.schema import schema
from tests.differential.laws import Case, judged


def minimised(case: Case) -> Case:
    """The case with all taken from its spec that the disagreement does without."""
    while smaller := next(filter(case.is_like, _smaller(case)), None):
        case = smaller
    return case


def _smaller(case: Case) -> Iterator[Case]:
    for spec in _simpler(case.spec):
        try:
            yield judged(case.seed, spec)
        except KeyError:  # no language model, or a grid that nobody placed
            continue


def _simpler(spec: Spec) -> Iterator[Spec]:
    """Each spec with one flow fewer, one view fewer, or one field more at its default."""
    for flow in spec.flows:
        others = tuple(one for one in spec.flows if one is not flow)
        modules = tuple(one for one in spec.modules if one.name not in flow.path[:-1])
        if len(modules) == 1:
            grids = tuple(one for one in spec.grids if one.name == modules[0].grid)
            yield attrs.evolve(spec, flows=(), modules=modules, grids=grids, place=modules[0].grid)
        elif modules:
            yield attrs.evolve(spec, flows=others, modules=modules)
    for grid in spec.grids:
        for view in grid.views[1:]:
            left = tuple(one for one in grid.views if one is not view)
            yield _with(spec, "grids", grid, attrs.evolve(grid, views=left))
    for module in spec.modules:
        for kind in _plainer(module.kind):
            yield _with(spec, "modules", module, attrs.evolve(module, kind=kind))
    for part in ("schedule", "train"):
        yield from (attrs.evolve(spec, **{part: new}) for new in _plainer(getattr(spec, part)))


def _with(spec: Spec, part: str, old: Node, new: Node) -> Spec:
    nodes = tuple(new if node is old else node for node in getattr(spec, part))
    return attrs.evolve(spec, **{part: nodes})


def _plainer[N: Node](node: N) -> Iterator[N]:
    for field in schema(type(node)):
        value = getattr(node, field.name)
        if not field.required and field.name != "kernels":
            default = attrs.fields_dict(type(node))[field.name].default
            if not isinstance(default, attrs.Factory) and value != default:
                yield attrs.evolve(node, **{field.name: default})
        if isinstance(value, Node):
            yield from (attrs.evolve(node, **{field.name: new}) for new in _plainer(value))
