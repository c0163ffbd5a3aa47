"""Modules of other packages in MIMO: any torch module, held to what its kind says of it."""

from typing import Any, cast, override

import torch
from megatron.core.models.backends import BackendSpecProvider
from megatron.core.models.common.language_module.language_module import LanguageModule
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
from mimodsl.megatron.cross_entropy import cross_entropy
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


def language_spec(
    config: TransformerConfig,
    kernels: BackendSpecProvider,  # noqa: ARG001 - the package has its own
    groups: ProcessGroupCollection,
    *,
    claimed: Claimed,
) -> ModuleSpec:
    """What megatron-core builds a language model of another package from."""
    return ModuleSpec(module=CustomDecoder, params=_given(config, groups, claimed))


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
        inputs = x.to(self.config.params_dtype)
        return _called(self.keyword, self.inner, inputs, (len(x), *self.outputs))


class CustomProjection(Custom):
    """A projector, which MIMO hands the tokens of all inputs in one row."""

    @override
    def forward(self, x: Tensor) -> Tensor:
        """Tokens `[n * t, width]` to `[n * u, hidden]`, of `n` inputs."""
        return super().forward(x.view(-1, *self.inputs)).flatten(0, 1)


class CustomDecoder(LanguageModule):
    """A language model of another package, with the methods that MimoModel and a schedule call.

    Each rank holds all of it. The package's module is `inner`, in the precision of the spec.

    Args:
        config: read for its precision.
        groups: the groups of the module's grid, where tp, cp and pp have one rank.
        claimed: what the module is built from, and what its kind says of it.

    Raises:
        ValueError: where the package's builder fails, or what it builds has other weights, or
            gives other outputs, than its kind says.
    """

    def __init__(
        self, config: TransformerConfig, groups: ProcessGroupCollection, claimed: Claimed
    ) -> None:
        super().__init__(config, pg_collection=groups)
        self.keyword = claimed.keyword
        (_, self.hidden), (_, self.vocabulary) = claimed.inputs, claimed.outputs
        # megatron-core asks each stage. This model has one, and ties no weights for it.
        self.pre_process, self.post_process = True, True
        self.share_embeddings_and_output_weights = False
        self.inner = _built(claimed).to(config.params_dtype)
        if not callable(getattr(self.inner, "embed", None)):
            name = type(self.inner).__name__
            raise ValueError(f"{name}, which {claimed.builder} gave, has no method `embed`")  # noqa: TRY004
        _compare(claimed, self.inner)

    def embedding(self, *, input_ids: Tensor, position_ids: Tensor | None = None) -> Tensor:  # noqa: ARG002
        """Token ids `[b, s]` to embeddings `[s, b, h]`.

        MimoModel passes the text of all samples in one row, without the images between. So each
        token is a sample of length 1 to the package, which adds positions in `forward`.
        """
        ids = input_ids.reshape(-1, 1)
        embed = cast(Any, self.inner).embed
        rows = _called(f"embed of {self.keyword}", embed, ids, (len(ids), 1, self.hidden))
        return rows.view(*input_ids.shape, self.hidden).transpose(0, 1).contiguous()

    def forward(
        self,
        *,
        decoder_input: Tensor,
        labels: Tensor | None = None,
        **_: Any,
    ) -> Tensor:
        """Embeddings `[s, b, h]` to the losses `[b, s]` of labels, without labels to logits
        `[b, s, v]`."""
        embeddings = decoder_input.transpose(0, 1).to(self.config.params_dtype)
        expected = (*embeddings.shape[:2], self.vocabulary)
        logits = _called(self.keyword, self.inner, embeddings, expected)
        if labels is None:
            return logits
        # A copy, which the backward pass overwrites: the package's own pass may read its logits.
        own = logits.transpose(0, 1).clone(memory_format=torch.contiguous_format)
        return self.compute_language_model_loss(labels, own)

    @override
    def compute_language_model_loss(self, labels: Tensor, logits: Tensor) -> Tensor:
        """Losses `[b, s]` in fp32 of labels `[b, s]` and logits `[s, b, v]`."""
        return cross_entropy(logits, labels, self.pg_collection.tp)

    @override
    def sharded_state_dict(
        self,
        prefix: str = "",
        sharded_offsets: Any = (),
        metadata: dict[str, Any] | None = None,
    ) -> Any:
        """All weights as each rank has them; the original looks for an `output_layer`."""
        plain: Any = MegatronModule
        return plain.sharded_state_dict(self, prefix, sharded_offsets, metadata)


def _called(keyword: str, module: Any, inputs: Tensor, expected: tuple[int, ...]) -> Tensor:
    """What a package's module gives for inputs `[n, ...]`, which has the `expected` shape."""
    try:
        outputs: Any = module(inputs)
    except Exception as error:
        error.add_note(
            f"in the module of {keyword}, given {list(inputs.shape)}{package_line(error)}"
        )
        raise
    given = list(outputs.shape) if isinstance(outputs, Tensor) else f"a {type(outputs).__name__}"
    if given != list(expected):
        raise ValueError(
            f"{keyword} gave {given} for {len(inputs)} inputs, and says {list(expected)}"
        )
    return outputs


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
