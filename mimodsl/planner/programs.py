"""The program of a plan: the values from which a rank builds and trains the spec."""

from typing import Final

from mimodsl.ir.flow import Flow
from mimodsl.ir.spec import Spec
from mimodsl.ir.train import Kernels
from mimodsl.planner.families import family_of
from mimodsl.planner.plan import Plan
from mimodsl.planner.program.common import DTYPES
from mimodsl.planner.program.names import Call, Name
from mimodsl.planner.program.samples import batches, samples
from mimodsl.planner.program.topology import rank_grid
from mimodsl.planner.program.training import ddp_fields, optimizer_fields, scheduler_fields
from mimodsl.planner.program.values import Modality, Part, Program

LANGUAGE_KEY: Final = "language"
"""megatron-core's key of the language model (models/mimo/config/role.py)."""

_KERNELS: Final = {
    Kernels.LOCAL: Call(Name("mimodsl.builder.kernels:LocalKernels")),
    Kernels.TRANSFORMER_ENGINE: Call(Name("mimodsl.builder.kernels:TransformerEngineKernels")),
}


def program(plan: Plan) -> Program:
    """The program that trains a plan's spec. The plan has resolved kernels, not `auto`."""
    spec = plan.spec
    return Program(
        world=spec.world,
        seed=spec.train.seed,
        dtype=DTYPES[spec.train.precision],
        grids={grid.name: rank_grid(grid) for grid in plan.grids},
        modalities={flow.encoder: _modality(plan, flow) for flow in spec.flows},
        language=_part(plan, spec.language.name),
        kernels=_KERNELS[spec.train.kernels],
        batches=batches(spec),
        loss_per=spec.train.loss_per.value,
        ddp=ddp_fields(spec.train.ddp),
        optimizer=optimizer_fields(spec),
        scheduler=scheduler_fields(spec.train),
        seed_names=_seed_names(spec),
        samples=samples(spec),
    )


def _part(plan: Plan, name: str) -> Part:
    module = plan.modules[name]
    return family_of(module.kind).part(module.kind, module)


def _modality(plan: Plan, flow: Flow) -> Modality:
    projector = _part(plan, flow.projector) if flow.projector else None
    return Modality(token=flow.token, encoder=_part(plan, flow.encoder), projector=projector)


def _seed_names(spec: Spec) -> dict[str, str]:
    """The module that seeds a grid's ranks, by megatron-core's key: the language model where it
    shares the grid, else the grid's first module."""
    first: dict[str, str] = {}
    for module in spec.modules:
        first.setdefault(module.grid, module.name)
    encoders = {flow.encoder: first[spec.module(flow.encoder).grid] for flow in spec.flows}
    return {LANGUAGE_KEY: spec.language.name} | encoders
