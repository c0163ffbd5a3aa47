"""The work of one stage of a module in a microbatch, on one of its ranks or on a single rank."""

from collections.abc import Iterable, Iterator

from attrs import frozen

from mimodsl.ir.module import Module
from mimodsl.planner.calls import Call
from mimodsl.planner.layers import Layer, Operation
from mimodsl.planner.module import ModulePlan
from mimodsl.planner.roles import ModuleRole
from mimodsl.planner.share import Share, whole_share
from mimodsl.planner.stack import module_layers, stage_layers
from mimodsl.planner.work.count import CountedOperation, Flops, count_operations


@frozen(kw_only=True)
class ModuleWork:
    """The operations of a rank for one stage of a module and one microbatch."""

    module: Module
    stage: int
    operations: tuple[CountedOperation, ...]

    @property
    def flops(self) -> Flops:
        return sum((operation.flops for operation in self.operations), Flops())

    @property
    def calls(self) -> Iterator[Call]:
        for operation in self.operations:
            yield from operation.calls

    def by_part(self) -> dict[str, Flops]:
        """Floating-point operations by the name of what computes them, in the order of layers."""
        parts: dict[str, Flops] = {}
        for operation in self.operations:
            if operation.flops.forward:
                total = parts.get(operation.name, Flops())
                parts[operation.name] = total + operation.flops
        return parts


def module_work(role: ModuleRole) -> ModuleWork:
    """The work of a rank with this role."""
    counted = _count(role.plan, stage_layers(role), role.share)
    return ModuleWork(module=role.module, stage=role.stage, operations=tuple(counted))


def whole_work(plan: ModulePlan) -> ModuleWork:
    """The work of a single rank that computes a whole module for a whole microbatch."""
    counted = _count(plan, module_layers(plan), whole_share(plan))
    return ModuleWork(module=plan.module, stage=0, operations=tuple(counted))


def _count(plan: ModulePlan, layers: Iterable[Layer], share: Share) -> Iterator[CountedOperation]:
    by_layer: dict[Layer, tuple[Operation, ...]] = {}
    operations: list[Operation] = []
    for layer in layers:
        if layer not in by_layer:
            by_layer[layer] = tuple(layer.operations(share))
        operations += by_layer[layer]
    return count_operations(
        operations, trained=share.trained, reached=share.reached, recompute=plan.recompute
    )
