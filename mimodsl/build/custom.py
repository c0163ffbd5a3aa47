"""Encoders of other packages in MIMO: any torch module, held to what its kind says of it."""

from typing import cast

from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.core.transformer.module import MegatronModule
from megatron.core.transformer.spec_utils import (
    ModuleSpec,
    build_module,  # pyright: ignore[reportUnknownVariableType]
)
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor, nn

from mimodsl.build.configs import custom_config
from mimodsl.ir import CustomEncoder, Module, Spec
from mimodsl.ir.custom import named


def custom_spec(spec: Spec, module: Module, groups: ProcessGroupCollection) -> ModuleSpec:
    """What megatron-core builds an encoder of another package from."""
    return ModuleSpec(
        module=Custom,
        params={
            "config": custom_config(spec, module),
            "kind": module.kind,
            "groups": groups,
        },
    )


class Custom(MegatronModule):
    """An encoder of another package, in the precision of the spec.

    Raises:
        ValueError: where the package cannot be had, or its module's weights are not those that
            its kind says.
    """

    def __init__(
        self, config: TransformerConfig, kind: CustomEncoder, groups: ProcessGroupCollection
    ) -> None:
        super().__init__(config=config)
        self.kind = kind
        self.inner = _built(kind).to(config.params_dtype)
        _compare(kind, self.inner)
        # MegatronModule.sharded_state_dict asks parallel_state where a module has no tp_group.
        self.tp_group = groups.tp

    def forward(self, x: Tensor) -> Tensor:
        """Inputs `[n, *kind.input_shape]` to tokens `[n, kind.tokens, kind.output_width]`."""
        tokens: Tensor = self.inner(x.to(self.config.params_dtype))
        expected = (len(x), self.kind.tokens, self.kind.output_width)
        if tuple(tokens.shape) != expected:
            raise ValueError(
                f"{self.kind.keyword} gave {list(tokens.shape)} for {len(x)} inputs, "
                f"and says {list(expected)}"
            )
        return tokens


def _built(kind: CustomEncoder) -> nn.Module:
    try:
        builder = named(kind.builder)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{kind.builder}, which builds {kind.keyword}: {error}") from error
    return cast(nn.Module, build_module(builder(kind)))


def _compare(kind: CustomEncoder, module: nn.Module) -> None:
    """Hold the weights that were made to those that memory was planned with."""
    made = {name: tuple(weight.shape) for name, weight in module.named_parameters()}
    said = {name: tuple(shape) for name, shape in kind.weights.items()}
    for name in dict.fromkeys([*said, *made]):
        if said.get(name) != made.get(name):
            raise ValueError(
                f"the weight {name} of {kind.keyword} is {made.get(name, 'not there')} as built "
                f"by {kind.builder}, and {said.get(name, 'not there')} as its kind says"
            )
