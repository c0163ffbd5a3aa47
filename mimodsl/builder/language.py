"""Language models, a pipeline stage at a time: a decoder of like layers, and one of a pattern."""

from typing import Any, Final, cast, override

from megatron.core.models.common.language_module.language_module import LanguageModule
from megatron.core.models.gpt.gpt_model import GPTModel
from megatron.core.models.hybrid.hybrid_model import HybridModel
from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.core.transformer.spec_utils import ModuleSpec
from megatron.core.utils import (
    make_tp_sharded_tensor_for_checkpoint,  # pyright: ignore[reportUnknownVariableType]
)
from torch import Tensor, nn

from mimodsl.builder.configs import language_config
from mimodsl.builder.layer_specs import gpt_block, hybrid_stack, resolve
from mimodsl.ir import Gpt, Hybrid, Positions, Spec, TransformerLanguage
from mimodsl.megatron.cross_entropy import cross_entropy

POSITIONS: Final = {
    Positions.NONE: "none",
    Positions.ROPE: "rope",
    Positions.LEARNED: "learned_absolute",
}


def language_spec(spec: Spec, groups: ProcessGroupCollection) -> ModuleSpec:
    """What MimoModel builds the language model from, on a rank with the model's groups.

    The rank's place in `groups.pp` says which layers it builds and whether it embeds tokens
    (`pre_process`) and computes the loss (`post_process`).
    """
    kind = spec.language_kind
    assert isinstance(kind, TransformerLanguage)
    config = language_config(spec)
    kernels = resolve(spec.train.kernels)
    stage, stages = groups.pp.rank(), groups.pp.size()
    params: dict[str, Any] = {
        "config": config,
        "vocab_size": kind.vocabulary,
        "max_sequence_length": spec.schedule.sequence,
        "pre_process": stage == 0,
        "post_process": stage == stages - 1,
        "share_embeddings_and_output_weights": kind.tie_embeddings,
        # The loss is taken over the split vocabulary.
        "parallel_output": True,
        # MimoModel splits the merged sequence itself (models/mimo/model/base.py:381).
        "scatter_embedding_sequence_parallel": False,
        "pg_collection": groups,
        **_positions(kind),
    }
    if isinstance(kind, Gpt):
        params["transformer_layer_spec"] = gpt_block(config, kernels, stage)
        return ModuleSpec(module=GptDecoder, params=params)
    assert isinstance(kind, Hybrid)
    params["hybrid_stack_spec"] = hybrid_stack(config, kernels)
    params["hybrid_layer_pattern"] = kind.pattern
    return ModuleSpec(module=HybridDecoder, params=params)


def _positions(kind: TransformerLanguage) -> dict[str, Any]:
    return {
        "position_embedding_type": POSITIONS[kind.positions],
        "rotary_base": kind.rope_base,
        "rotary_percent": kind.rope_fraction,
    }


class _Decoder(LanguageModule):
    """What ours have in place of megatron-core 0.19.2's: a loss that takes less memory, and nothing
    that comes from elsewhere than their arguments."""

    def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        embedding = getattr(self, "embedding", None)
        if embedding is not None and embedding.add_position_embedding:
            # A plain torch embedding, made in fp32 (language_model_embedding.py:70).
            cast(nn.Module, embedding.position_embeddings).to(config.params_dtype)

    @override
    def compute_language_model_loss(self, labels: Tensor, logits: Tensor) -> Tensor:
        """Losses `[b, s]` in fp32 of labels `[b, s]` and logits `[s, b, v/tp]`."""
        return cross_entropy(logits, labels, self.pg_collection.tp)

    @override
    def tie_embeddings_and_output_weights_state_dict(
        self,
        sharded_state_dict: dict[str, Any],
        output_layer_weight_key: str,
        first_stage_word_emb_key: str,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """As the original, which asks parallel_state for its data-parallel rank
        (language_module.py:503)."""
        if self.pre_process or not self.post_process:
            return
        assert metadata is not None, "LanguageModule.sharded_state_dict passes its metadata on"
        sharded_state_dict[output_layer_weight_key] = make_tp_sharded_tensor_for_checkpoint(
            tensor=self.shared_embedding_or_output_weight(),
            key=first_stage_word_emb_key,
            replica_id=(1, 0, metadata["dp_cp_group"].rank()),
            allow_shape_mismatch=True,
            tp_group=self.pg_collection.tp,
            dp_cp_group=metadata["dp_cp_group"],
        )


class GptDecoder(_Decoder, GPTModel):
    """A decoder of like layers: token ids `[b, s]` or embeddings `[s, b, h]` to losses `[b, s]`."""


class HybridDecoder(_Decoder, HybridModel):
    """A decoder of a pattern: token ids `[b, s]` or embeddings `[s, b, h]` to losses `[b, s]`."""
