"""Decoders that follow a pattern of layers."""

from typing import Final

from mimodsl.ir.hybrid import Hybrid
from mimodsl.ir.megatron_fields import megatron_fields
from mimodsl.ir.module import Module
from mimodsl.ir.spec import Spec
from mimodsl.ir.train import Kernels
from mimodsl.planner.program import common
from mimodsl.planner.program.language import language_arguments, language_config
from mimodsl.planner.program.names import Name
from mimodsl.planner.program.values import Part

_STACKS: Final = {
    Kernels.LOCAL: Name("mimodsl.megatron.local_layers:LocalHybridStack"),
    Kernels.TRANSFORMER_ENGINE: Name("megatron.core.models.hybrid.hybrid_block:HybridStack"),
}


def hybrid(spec: Spec, module: Module, kind: Hybrid) -> Part:
    """A hybrid."""
    kind = kind.in_use()
    mamba = {} if kind.mamba is None else megatron_fields(kind.mamba)
    stack = {"num_layers": len(kind.layers), "is_hybrid_model": True} | mamba
    return common.part(
        module,
        Name("mimodsl.builder.families.hybrid:hybrid_spec"),
        language_config(spec, module, kind, stack),
        language_arguments(spec, kind)
        | {"pattern": kind.pattern, "stack": _STACKS[spec.train.kernels]},
    )
