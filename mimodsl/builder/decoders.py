"""What language models of every form share: a loss that takes less memory, and their arguments."""

from typing import Any, cast, override

from megatron.core.models.common.language_module.language_module import LanguageModule
from megatron.core.process_groups_config import ProcessGroupCollection
from megatron.core.transformer.transformer_config import TransformerConfig
from megatron.core.utils import (
    make_tp_sharded_tensor_for_checkpoint,  # pyright: ignore[reportUnknownVariableType]
)
from torch import Tensor, nn

from mimodsl.megatron.cross_entropy import cross_entropy


def decoder_arguments(config: TransformerConfig, groups: ProcessGroupCollection) -> dict[str, Any]:
    """Arguments of megatron-core's language models that follow from a rank's place.

    Its place in `groups.pp` says whether it embeds tokens (`pre_process`) and computes the loss
    (`post_process`).
    """
    return {
        "config": config,
        "pre_process": groups.pp.rank() == 0,
        "post_process": groups.pp.rank() == groups.pp.size() - 1,
        # The loss is taken over the split vocabulary.
        "parallel_output": True,
        # MimoModel splits the merged sequence itself (models/mimo/model/base.py,
        # "None and self.partition_adapter.cfg.seq_").
        "scatter_embedding_sequence_parallel": False,
        "pg_collection": groups,
    }


class Decoder(LanguageModule):
    """What our decoders have in place of megatron-core's: a loss that takes less memory, and
    no value that comes from outside their arguments."""

    def __init__(self, config: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        embedding = getattr(self, "embedding", None)
        if embedding is not None and embedding.add_position_embedding:
            # A plain torch embedding, made in fp32
            # (models/common/embeddings/language_model_embedding.py,
            # "self.position_embeddings = torch.nn.Embedding(").
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
        (models/common/language_module/language_module.py, "last_stage_word_emb_replica_id =")."""
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
