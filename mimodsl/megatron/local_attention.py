"""Flash attention of the local kernel set, by torch's scaled dot product attention.

Megatron does: attention outside Transformer Engine holds all scores
(transformer/dot_product_attention.py, "matmul_input_buffer = parallel_state").
Why it hurts: memory grows with the square of the sequence.
Goes when: megatron-core's local attention uses a fused kernel.
"""

from contextlib import nullcontext
from typing import Any, override

import torch
import torch.nn.functional as F
from megatron.core.tensor_parallel.random import get_cuda_rng_tracker
from megatron.core.transformer.dot_product_attention import DotProductAttention
from megatron.core.transformer.enums import AttnMaskType
from torch import Tensor


class FlashAttention(DotProductAttention):
    """Attention that never holds its scores, in place of megatron-core's own.

    n heads and g key-value groups on a tp rank, of d channels each. The softmax is in fp32 inside,
    as `attention_softmax_in_fp32` has it. What no spec asks for is not here: windows, sinks,
    a scale by layer, packed sequences, a bias.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        config = self.config
        assert config.softmax_type == "vanilla", config.softmax_type
        assert config.window_size is None
        assert not config.apply_query_key_layer_scaling

    @override
    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        attn_mask_type: AttnMaskType | None = None,
        attention_bias: Tensor | None = None,
        packed_seq_params: Any = None,
    ) -> Tensor:
        """Attend.

        Args:
            query: `[s, b, n, d]`.
            key: `[s, b, g, d]`, as `value`.
            value: `[s, b, g, d]`.
            attention_mask: True where a query must not look, broadcast to `[b, n, s, s]`. It stands
                in the place of a causal mask (fusions/fused_softmax.py,
                "AttnMaskType.causal and mask is None and").
            attn_mask_type: not used, as in DotProductAttention: the layer's own holds.
            attention_bias: refused.
            packed_seq_params: refused.

        Returns:
            `[s, b, n * d]`.
        """
        assert packed_seq_params is None, "packed sequences need Transformer Engine"
        assert attention_bias is None, "an attention bias needs Transformer Engine"
        query, key, value = (x.permute(1, 2, 0, 3) for x in (query, key, value))
        # Each tp rank drops out of its own heads; with a split sequence megatron-core draws from
        # the generator that all ranks share (transformer/dot_product_attention.py,
        # "if not self.config.sequence_parallel").
        shared = self.config.sequence_parallel or not self._dropout
        tracker: Any = get_cuda_rng_tracker()
        with nullcontext() if shared else tracker.fork():
            context = F.scaled_dot_product_attention(
                query,
                *self._for_heads(query, key, value),
                attn_mask=None if attention_mask is None else ~attention_mask,
                dropout_p=self._dropout,
                is_causal=attention_mask is None and self.attn_mask_type is AttnMaskType.causal,
                scale=self.softmax_scale,
                enable_gqa=_takes_groups(query),
            )
        return context.permute(2, 0, 1, 3).flatten(2)

    @property
    def _dropout(self) -> float:
        return self.attention_dropout.p if self.training else 0.0

    def _for_heads(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        each = query.size(1) // key.size(1)
        if each == 1 or _takes_groups(query):
            return key, value
        return key.repeat_interleave(each, 1), value.repeat_interleave(each, 1)


def _takes_groups(query: Tensor) -> bool:
    """Whether a fused kernel reads a group's keys once for all its heads.

    On CUDA the flash kernels do, in bf16 and fp16; the one for fp32 (aten/src/ATen/native/
    transformers/cuda/sdp_utils.cpp of torch 2.11) would give way to scores in full.
    """
    return query.is_cuda and query.dtype in (torch.bfloat16, torch.float16)
