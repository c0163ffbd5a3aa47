"""Projectors of linear layers: a TransformerConfig of one layer, as wide as the language model."""

from typing import Final

from mimodsl.ir.megatron_fields import megatron_fields
from mimodsl.ir.module import Module
from mimodsl.ir.projector import AffineProjector, LinearProjector, MlpProjector
from mimodsl.ir.spec import Spec
from mimodsl.planner.program import common
from mimodsl.planner.program.names import Fields, Name, merged
from mimodsl.planner.program.values import Part

_BUILDER: Final = "mimodsl.builder.families.projector"


def affine(spec: Spec, module: Module, kind: AffineProjector) -> Part:
    """One linear layer."""
    return common.part(
        module,
        Name(f"{_BUILDER}:affine_spec"),
        _linear(spec, module, kind),
        {"input_size": _input(spec, module)},
    )


def mlp(spec: Spec, module: Module, kind: MlpProjector) -> Part:
    """A norm and a two-layer MLP."""
    width = _input(spec, module)
    config = merged(
        _linear(spec, module, kind),
        {} if kind.norm is None else {"normalization": kind.norm.megatron},
        common.activation(kind.activation),
        {"ffn_hidden_size": kind.inner_width(width)},
    )
    arguments = {"input_size": width, "norm": kind.norm is not None}
    return common.part(module, Name(f"{_BUILDER}:mlp_spec"), config, arguments)


def _input(spec: Spec, module: Module) -> int:
    """The width of what a projector takes."""
    flow = spec.flow_through(module.name)
    assert flow is not None, "every projector is in a flow"
    return spec.encoder(flow).output_width


def _linear(spec: Spec, module: Module, kind: LinearProjector) -> Fields:
    grid = spec.grid_of(module)
    return merged(
        common.COMMON,
        common.precision(spec),
        common.kernels(spec),
        common.NO_EXPERTS,
        common.parallel(grid),
        {"num_layers": 1, "hidden_size": spec.language_kind.hidden},
        megatron_fields(kind),
        common.no_attention(grid),
    )
