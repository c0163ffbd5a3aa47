"""Modules of other packages: what they are built from, and what their kinds say of them."""

from typing import Any, Final, NamedTuple

from mimodsl.ir.kinds import Role
from mimodsl.ir.module import Module
from mimodsl.ir.package import Claims, CustomKind
from mimodsl.ir.spec import Spec
from mimodsl.planner.program import common
from mimodsl.planner.program.names import Fields, Name, merged
from mimodsl.planner.program.values import Part


class Claimed(NamedTuple):
    """What a kind of another package says of its module.

    `builder` is the function that builds it, as `package.module:function`, and `called_with` what
    it is called with. `inputs` is the shape of what the module takes of one input, `outputs` the
    tokens that it gives for it and their width, and `weights` the shape of every parameter by name,
    in order.
    """

    keyword: str
    builder: str
    called_with: tuple[Any, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, int]
    weights: dict[str, tuple[int, ...]]


_BUILDER: Final = "mimodsl.builder.families.package"


def package(spec: Spec, module: Module, kind: CustomKind) -> Part:
    """A module that a package's own function builds."""
    claimed = Claims.of(spec, module)
    build = {Role.ENCODER: "encoder_spec", Role.PROJECTOR: "projector_spec"}[module.role]
    return common.part(
        module,
        Name(f"{_BUILDER}:{build}"),
        _config(spec, module, claimed.outputs[1]),
        {
            "claimed": Claimed(
                keyword=kind.keyword,
                builder=kind.builder,
                called_with=(kind, *claimed.place),
                inputs=claimed.inputs,
                outputs=claimed.outputs,
                weights=claimed.weights,
            )
        },
    )


def _config(spec: Spec, module: Module, width: int) -> Fields:
    """The fields that DDP and gradient finalisation read."""
    grid = spec.grid_of(module)
    return merged(
        common.COMMON,
        common.precision(spec),
        # A weight with other gradients, too, would lose them (distributed_data_parallel.py:490).
        common.kernels(spec, fuse_gradients=False),
        common.NO_EXPERTS,
        common.parallel(grid),
        {"num_layers": 1, "hidden_size": width},
        common.no_attention(grid),
    )
