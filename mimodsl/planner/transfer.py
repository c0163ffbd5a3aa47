"""Which modules of a spec can take weights that were trained under another, and why not."""

from collections.abc import Iterator

from attrs import frozen

from mimodsl.ir.grid import BASE_AXES, EXPERT_AXES, Grid
from mimodsl.ir.kinds import Role
from mimodsl.ir.module import Module
from mimodsl.ir.spec import Spec
from mimodsl.planner.difference import plain
from mimodsl.planner.weights import weights_of


@frozen(kw_only=True)
class Transfer:
    """Whether one module's weights load.

    `reason` says why not, with the first field that stands against it. `resharded` are the axes
    that differ (`tp 2 → 4`), over which the weights and the optimizer's state are dealt anew.
    """

    module: str
    reason: str | None = None
    resharded: tuple[str, ...] = ()

    @property
    def loads(self) -> bool:
        return self.reason is None


def transfers(a: Spec, b: Spec) -> tuple[Transfer, ...]:
    """For every module of `b`, in order, whether it can take its weights from `a`.

    Encoders are known by name, projectors by their encoder, and there is one language model.
    """
    return tuple(_transfer(a, b, module) for module in b.modules)


def left_out(a: Spec, b: Spec) -> tuple[str, ...]:
    """The modules of `a` whose weights no module of `b` takes."""
    taken = {found.name for module in b.modules if (found := _counterpart(a, b, module))}
    return tuple(module.name for module in a.modules if module.name not in taken)


def _transfer(a: Spec, b: Spec, module: Module) -> Transfer:
    source = _counterpart(a, b, module)
    if source is None:
        return Transfer(module=module.name, reason=_missing(b, module))
    before, after = weights_of(a, source), weights_of(b, module)
    # A field that only one of the two has follows from another one.
    common = [field for field in after if field in before]
    for field in dict.fromkeys([*common, *after, *before]):
        if before.get(field) != after.get(field):
            change = f"{plain(before.get(field))} → {plain(after.get(field))}"
            return Transfer(module=module.name, reason=f"{field}: {change}")
    return Transfer(
        module=module.name, resharded=tuple(_axes(a.grid_of(source), b.grid_of(module)))
    )


def _missing(b: Spec, module: Module) -> str:
    if module.role is Role.ENCODER:
        return f"there is no encoder of the name {module.name}"
    flow = b.flow_through(module.name)
    return f"there is no projector behind {flow.encoder if flow else 'it'}"


def _counterpart(a: Spec, b: Spec, module: Module) -> Module | None:
    if module.role is Role.LANGUAGE:
        return a.language
    name: str | None = module.name
    if module.role is Role.PROJECTOR:
        flow = b.flow_through(module.name)
        there = a.flow_through(flow.encoder) if flow else None
        name = there.projector if there else None
    wanted = (one for one in a.modules if one.name == name and one.role is module.role)
    return next(wanted, None)


def _axes(a: Grid, b: Grid) -> Iterator[str]:
    for axis in (*BASE_AXES, *EXPERT_AXES):
        before, after = a.size(axis), b.size(axis)
        if before != after:
            yield f"{axis} {before} → {after}"
