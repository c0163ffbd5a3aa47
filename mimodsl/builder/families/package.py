"""Modules of other packages in MIMO: any torch module, held to what its kind says of it."""

from typing import Any, cast, override

from megatron.core.models.backends import BackendSpecProvider
from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.core.transformer.module import MegatronModule
from megatron.core.transformer.spec_utils import (
    ModuleSpec,
    build_module,  # pyright: ignore[reportUnknownVariableType]
)
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor, nn

from mimodsl.ir.package import describe_error, package_line
from mimodsl.ir.registry import import_object
from mimodsl.planner.families.package import Claimed


def encoder_spec(
    config: TransformerConfig,
    kernels: BackendSpecProvider,  # noqa: ARG001 - the package has its own
    groups: ProcessGroupCollection,
    *,
    claimed: Claimed,
) -> ModuleSpec:
    """What megatron-core builds an encoder of another package from."""
    return ModuleSpec(module=Custom, params=_given(config, groups, claimed))


def projector_spec(
    config: TransformerConfig,
    kernels: BackendSpecProvider,  # noqa: ARG001 - the package has its own
    groups: ProcessGroupCollection,
    *,
    claimed: Claimed,
) -> ModuleSpec:
    """What megatron-core builds a projector of another package from."""
    return ModuleSpec(module=CustomProjection, params=_given(config, groups, claimed))


def _given(
    config: TransformerConfig, groups: ProcessGroupCollection, claimed: Claimed
) -> dict[str, Any]:
    return {"config": config, "groups": groups, "claimed": claimed}


class Custom(MegatronModule):
    """A module of another package, in the precision of the spec.

    Args:
        config: read for its precision.
        groups: read for `tp`.
        claimed: what the module is built from, and what its kind says of it.

    Raises:
        ValueError: where the package's builder fails, or what it builds has other weights, or
            gives other outputs, than its kind says.
    """

    def __init__(
        self, config: TransformerConfig, groups: ProcessGroupCollection, claimed: Claimed
    ) -> None:
        super().__init__(config=config)
        self.keyword = claimed.keyword
        self.inputs, self.outputs = claimed.inputs, claimed.outputs
        self.inner = _built(claimed).to(config.params_dtype)
        _compare(claimed, self.inner)
        # MegatronModule.sharded_state_dict asks parallel_state where a module has no tp_group.
        self.tp_group = groups.tp

    def forward(self, x: Tensor) -> Tensor:
        """Inputs `[n, *inputs]` to tokens `[n, *outputs]`, both as the kind says."""
        try:
            tokens: Any = self.inner(x.to(self.config.params_dtype))
        except Exception as error:
            error.add_note(
                f"in the module of {self.keyword}, given {list(x.shape)}{package_line(error)}"
            )
            raise
        expected = [len(x), *self.outputs]
        given = list(tokens.shape) if isinstance(tokens, Tensor) else f"a {type(tokens).__name__}"
        if given != expected:
            raise ValueError(
                f"{self.keyword} gave {given} for {len(x)} inputs, and says {expected}"
            )
        return tokens


class CustomProjection(Custom):
    """A projector, which MIMO hands the tokens of all inputs in one row."""

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Tokens `[n * t, width]` to `[n * u, hidden]`, of `n` inputs."""
        return super().forward(x.view(-1, *self.inputs)).flatten(0, 1)


def _built(claimed: Claimed) -> nn.Module:
    """The module that a package's function builds, perhaps by way of a ModuleSpec."""
    builder = f"{claimed.builder}, which builds {claimed.keyword}"
    try:
        spec: Any = import_object(claimed.builder)(*claimed.called_with)
        module = cast(object, build_module(spec)) if isinstance(spec, ModuleSpec) else None
    except Exception as error:
        # megatron-core makes its own exception of another, and loses its notes (spec_utils.py).
        raise ValueError(f"{builder}, fails: {describe_error(error)}") from error
    if not isinstance(module, nn.Module):
        raise ValueError(f"{builder}, gave {spec!r:.60}, no ModuleSpec of a torch module")  # noqa: TRY004
    return module


def _compare(claimed: Claimed, module: nn.Module) -> None:
    """Compare the weights that were made with the ones that memory was planned with."""
    keyword, builder, weights = claimed.keyword, claimed.builder, claimed.weights
    made = {name: tuple(weight.shape) for name, weight in module.named_parameters()}
    for name in dict.fromkeys([*weights, *made]):
        if weights.get(name) != made.get(name):
            raise ValueError(
                f"the weight {name} of {keyword} is {made.get(name, 'not there')} as built "
                f"by {builder}, and {weights.get(name, 'not there')} as its kind says"
            )
    if list(made) != list(weights):
        raise ValueError(
            f"the weights of {keyword} are {', '.join(made)} in the order of {builder}, "
            f"and {', '.join(weights)} in that of its kind"
        )
