"""The work of one stage of a module in a microbatch, on one of its ranks and as a whole."""

from collections.abc import Iterable, Iterator

from attrs import frozen

from mimodsl.ir.kinds import Recompute, TransformerKind
from mimodsl.ir.module import Module
from mimodsl.ir.spec import Spec
from mimodsl.planner.grids import GridPlan
from mimodsl.planner.layers import Layer, module_layers, stage_layers
from mimodsl.planner.roles import ModuleRole
from mimodsl.planner.traffic.call import Call
from mimodsl.planner.work.count import Counted, Flops, count
from mimodsl.planner.work.layers import pieces
from mimodsl.planner.work.piece import Piece
from mimodsl.planner.work.site import Site, site, whole_site


@frozen(kw_only=True)
class ModuleWork:
    """What a rank does of a module's stage for one microbatch."""

    module: Module
    stage: int
    counted: tuple[Counted, ...]

    @property
    def flops(self) -> Flops:
        return sum((one.flops for one in self.counted), Flops())

    @property
    def calls(self) -> Iterator[Call]:
        for one in self.counted:
            yield from one.calls

    def by_part(self) -> dict[str, Flops]:
        """Operations by what computes them, in the order of the layers."""
        parts: dict[str, Flops] = {}
        for one in self.counted:
            if one.flops.forward:
                parts[one.name] = parts.get(one.name, Flops()) + one.flops
        return parts


def module_work(spec: Spec, grid: GridPlan, role: ModuleRole) -> ModuleWork:
    """The work of a rank of this role, on the module's grid."""
    here = site(spec, role.module, grid)
    wanted = not role.first or _trains_before(spec, role.module)
    counted = _count(role.module, stage_layers(spec, role), here, wanted=wanted)
    return ModuleWork(module=role.module, stage=role.stage, counted=tuple(counted))


def whole_work(spec: Spec, module: Module) -> ModuleWork:
    """The work of a whole module for a whole microbatch, as a single rank would do it."""
    here = whole_site(spec, module)
    wanted = _trains_before(spec, module)
    counted = _count(module, module_layers(spec, module), here, wanted=wanted)
    return ModuleWork(module=module, stage=0, counted=tuple(counted))


def _count(
    module: Module, layers: Iterable[Layer], here: Site, *, wanted: bool
) -> Iterator[Counted]:
    kind = module.kind
    recompute = kind.recompute if isinstance(kind, TransformerKind) else Recompute.NONE
    known: dict[Layer, tuple[Piece, ...]] = {}
    found: list[Piece] = []
    for layer in layers:
        if layer not in known:
            known[layer] = tuple(pieces(layer, here))
        found += known[layer]
    return count(found, trains=not module.frozen, wanted=wanted, recompute=recompute)


def _trains_before(spec: Spec, module: Module) -> bool:
    """Whether a gradient has somewhere to go behind a module's input."""
    flows = [flow for flow in spec.flows if module.name in flow.path]
    names = {name for flow in flows for name in flow.path[: flow.path.index(module.name)]}
    return any(not spec.module(name).frozen for name in names)
