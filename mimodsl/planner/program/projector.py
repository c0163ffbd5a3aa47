"""Projectors of linear layers: a TransformerConfig of one layer, as wide as the language model."""

from typing import Final

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
        {} if kind.norm is None else {"normalization": common.NORMS[kind.norm]},
        common.activation(kind.activation),
        {
            "ffn_hidden_size": kind.inner_width(width),
            "layernorm_epsilon": kind.norm_eps,
        },
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
        {
            "num_layers": 1,
            "hidden_size": spec.language_kind.hidden,
            "add_bias_linear": kind.bias,
            "init_method_std": kind.init_std,
        },
        common.no_attention(grid),
    )
