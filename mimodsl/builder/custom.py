"""Modules of other packages in MIMO: any torch module, held to what its kind says of it."""

from typing import Any, cast, override

from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.core.transformer.module import MegatronModule
from megatron.core.transformer.spec_utils import (
    ModuleSpec,
    build_module,  # pyright: ignore[reportUnknownVariableType]
)
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor, nn

from mimodsl.builder.configs import custom_config
from mimodsl.ir import Module, Role, Spec
from mimodsl.ir.package import Claims, theirs, told_of
from mimodsl.ir.registry import named


def custom_spec(spec: Spec, module: Module, groups: ProcessGroupCollection) -> ModuleSpec:
    """What megatron-core builds an encoder or a projector of another package from."""
    return ModuleSpec(
        module=CustomProjection if module.role is Role.PROJECTOR else Custom,
        params={
            "config": custom_config(spec, module),
            "claims": Claims.of(spec, module),
            "groups": groups,
        },
    )


class Custom(MegatronModule):
    """A module of another package, in the precision of the spec.

    Raises:
        ValueError: where the package's builder fails, or what it builds has other weights, or
            gives other outputs, than its kind says.
    """

    def __init__(
        self, config: TransformerConfig, claims: Claims, groups: ProcessGroupCollection
    ) -> None:
        super().__init__(config=config)
        self.keyword = claims.kind.keyword
        self.inputs, self.outputs = claims.inputs, claims.outputs
        self.inner = _built(claims).to(config.params_dtype)
        _compare(claims, self.inner)
        # MegatronModule.sharded_state_dict asks parallel_state where a module has no tp_group.
        self.tp_group = groups.tp

    def forward(self, x: Tensor) -> Tensor:
        """Inputs `[n, *inputs]` to tokens `[n, *outputs]`, both as the kind says."""
        try:
            tokens: Any = self.inner(x.to(self.config.params_dtype))
        except Exception as error:
            error.add_note(f"in the module of {self.keyword}, given {list(x.shape)}{theirs(error)}")
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


def _built(claims: Claims) -> nn.Module:
    kind = claims.kind
    builder = f"{kind.builder}, which builds {kind.keyword}"
    try:
        build = named(kind.builder)
        spec: Any = build(kind, *claims.place)
        module = cast(object, build_module(spec)) if isinstance(spec, ModuleSpec) else None
    except Exception as error:
        # megatron-core makes its own exception of another, and loses its notes (spec_utils.py).
        raise ValueError(f"{builder}, fails: {told_of(error)}") from error
    if not isinstance(module, nn.Module):
        raise ValueError(f"{builder}, gave {spec!r:.60}, no ModuleSpec of a torch module")  # noqa: TRY004
    return module


def _compare(claims: Claims, module: nn.Module) -> None:
    """Hold the weights that were made to those that memory was planned with."""
    kind, said = claims.kind, claims.weights
    made = {name: tuple(weight.shape) for name, weight in module.named_parameters()}
    for name in dict.fromkeys([*said, *made]):
        if said.get(name) != made.get(name):
            raise ValueError(
                f"the weight {name} of {kind.keyword} is {made.get(name, 'not there')} as built "
                f"by {kind.builder}, and {said.get(name, 'not there')} as its kind says"
            )
    if list(made) != list(said):
        raise ValueError(
            f"the weights of {kind.keyword} are {', '.join(made)} in the order of {kind.builder}, "
            f"and {', '.join(said)} in that of its kind"
        )
