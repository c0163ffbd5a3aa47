"""The program of a plan: what a rank is told to build and train the spec."""

from collections.abc import Callable
from typing import Any, Final

from mimodsl.ir.decoder import Gpt
from mimodsl.ir.hybrid import Hybrid
from mimodsl.ir.kinds import Kind
from mimodsl.ir.module import Module
from mimodsl.ir.package import CustomKind
from mimodsl.ir.projector import AffineProjector, MlpProjector
from mimodsl.ir.spec import Spec
from mimodsl.ir.train import Kernels
from mimodsl.ir.vision import Radio, Vit
from mimodsl.planner.plan import Plan
from mimodsl.planner.program.common import DTYPES
from mimodsl.planner.program.decoder import gpt
from mimodsl.planner.program.hybrid import hybrid
from mimodsl.planner.program.names import Call, Name
from mimodsl.planner.program.package import package
from mimodsl.planner.program.projector import affine, mlp
from mimodsl.planner.program.samples import batches, samples
from mimodsl.planner.program.topology import rank_grid
from mimodsl.planner.program.training import ddp_fields, optimizer_fields, scheduler_fields
from mimodsl.planner.program.values import Modality, Part, Program
from mimodsl.planner.program.vision import radio, vit

LANGUAGE_KEY: Final = "language"
"""megatron-core's key of the language model (models/mimo/config/role.py)."""

_PARTS: Final[dict[type[Kind], Callable[[Spec, Module, Any], Part]]] = {
    Radio: radio,
    Vit: vit,
    AffineProjector: affine,
    MlpProjector: mlp,
    Gpt: gpt,
    Hybrid: hybrid,
    CustomKind: package,
}
"""How a module is described, by the nearest of its kind's classes."""

_KERNELS: Final = {
    Kernels.LOCAL: Call(Name("mimodsl.builder.kernels:LocalKernels")),
    Kernels.TRANSFORMER_ENGINE: Call(Name("mimodsl.builder.kernels:TransformerEngineKernels")),
}


def program(plan: Plan) -> Program:
    """What trains a plan's spec, whose kernels are local or Transformer Engine's."""
    spec = plan.spec
    return Program(
        world=spec.world,
        seed=spec.train.seed,
        dtype=DTYPES[spec.train.precision],
        grids={grid.name: rank_grid(grid) for grid in plan.grids},
        modalities={flow.encoder: _modality(spec, flow.path, flow.token) for flow in spec.flows},
        language=part(spec, spec.language),
        kernels=_KERNELS[spec.train.kernels],
        batches=batches(spec),
        loss_per=spec.train.loss_per.value,
        ddp=ddp_fields(spec.train.ddp),
        optimizer=optimizer_fields(spec),
        scheduler=scheduler_fields(spec.train),
        seed_names=_seed_names(spec),
        samples=samples(spec),
    )


def part(spec: Spec, module: Module) -> Part:
    """One module of a spec."""
    describe = next(_PARTS[cls] for cls in type(module.kind).__mro__ if cls in _PARTS)
    return describe(spec, module, module.kind)


def _modality(spec: Spec, path: tuple[str, ...], token: int) -> Modality:
    encoder, *projectors = (part(spec, spec.module(name)) for name in path[:-1])
    return Modality(token=token, encoder=encoder, projector=next(iter(projectors), None))


def _seed_names(spec: Spec) -> dict[str, str]:
    """Of colocated modules the language model has the say, else the first one of the grid."""
    first: dict[str, str] = {}
    for module in spec.modules:
        first.setdefault(module.grid, module.name)
    encoders = {flow.encoder: first[spec.module(flow.encoder).grid] for flow in spec.flows}
    return {LANGUAGE_KEY: spec.language.name} | encoders
