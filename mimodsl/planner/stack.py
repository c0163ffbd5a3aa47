"""The layers of a module, and those of one of its pipeline stages."""

from mimodsl.planner.families import Block, family_of
from mimodsl.planner.layers import Layer
from mimodsl.planner.module import ModulePlan
from mimodsl.planner.roles import ModuleRole


def stage_layers(role: ModuleRole) -> tuple[Layer, ...]:
    """What a rank with this role runs of its module, in order."""
    return tuple(layer for block in stage_blocks(role) for layer in block)


def stage_blocks(role: ModuleRole) -> tuple[Block, ...]:
    """The same, block by block."""
    kind = role.plan.kind
    return tuple(family_of(kind).blocks(kind, role.plan, role.place))


def module_layers(plan: ModulePlan) -> tuple[Layer, ...]:
    """All layers of a module, each weight once: tied embeddings are one weight."""
    family = family_of(plan.kind)
    kind = family.on_one_rank(plan.kind)
    whole = family.stage(kind, 0, 1)
    return tuple(layer for block in family.blocks(kind, plan, whole) for layer in block)
