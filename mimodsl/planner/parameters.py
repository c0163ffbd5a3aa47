"""How many parameters a rank holds of each module, and how many the model has."""

from collections.abc import Iterable

from attrs import frozen

from mimodsl.planner.layers import Weight
from mimodsl.planner.module import ModulePlan
from mimodsl.planner.roles import ModuleRole
from mimodsl.planner.share import Sharding
from mimodsl.planner.stack import module_layers, stage_layers


@frozen(kw_only=True)
class Parameters:
    """A count of parameters: `dense` and those of routed experts.

    `replicated` of the dense ones lie on every tp rank alike. `trainable` are all of them or none.
    """

    dense: int
    experts: int
    replicated: int
    trainable: int

    @property
    def total(self) -> int:
        return self.dense + self.experts


def rank_parameters(role: ModuleRole) -> Parameters:
    """What a rank holds of one module."""
    sharding = Sharding.of_grid(role.plan.declared)
    weights = [weight for layer in stage_layers(role) for weight in layer.weights()]
    return _counted(role.plan, weights, sharding)


def module_parameters(plan: ModulePlan) -> Parameters:
    """What a module has as a whole: every expert, every stage, each weight once."""
    weights = [weight for layer in module_layers(plan) for weight in layer.weights()]
    return _counted(plan, weights, Sharding())


def _counted(plan: ModulePlan, weights: Iterable[Weight], sharding: Sharding) -> Parameters:
    dense = experts = replicated = 0
    for weight in weights:
        held = weight.held(sharding)
        if weight.experts:
            experts += held
        else:
            dense += held
            replicated += held if weight.split is None else 0
    return Parameters(
        dense=dense,
        experts=experts,
        replicated=replicated,
        trainable=dense + experts if plan.trained else 0,
    )
