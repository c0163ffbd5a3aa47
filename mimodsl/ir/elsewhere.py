"""Fields that are looked for under another name, or in another place, than they have here."""

from collections.abc import Iterable, Mapping
from typing import Final

from mimodsl.ir.schema import FieldSchema, schema

# As Megatron-Core and Hugging Face call them.
_NAMES: Final[Mapping[str, str]] = {
    "activation": "hidden_act activation_func activation_function",
    "aux_loss": "moe_aux_loss_coeff router_aux_loss_coef",
    "balance": "moe_router_load_balancing_type",
    "beta1": "adam_beta1",
    "beta2": "adam_beta2",
    "capacity_factor": "moe_expert_capacity_factor",
    "clip": "clip_grad grad_clip gradient_clipping max_grad_norm",
    "dispatcher": "moe_token_dispatcher_type",
    "dropout": "hidden_dropout",
    "eps": "adam_eps adam_epsilon",
    "experts": "num_experts num_moe_experts num_local_experts n_routed_experts",
    "expert_bias": "moe_router_enable_expert_bias",
    "ffn": "ffn_hidden_size intermediate_size moe_ffn_hidden_size moe_intermediate_size",
    "group_topk": "moe_router_group_topk topk_group",
    "grouped_gemm": "moe_grouped_gemm",
    "head_dim": "kv_channels head_size mamba_head_dim",
    "heads": "num_attention_heads num_heads n_head mamba_num_heads",
    "hidden": "hidden_size d_model n_embd",
    "image": "image_size img_size",
    "init_std": "init_method_std initializer_range",
    "kv_groups": "num_query_groups num_key_value_heads num_kv_heads kv_heads",
    "layers": "num_layers num_hidden_layers n_layer",
    "lr": "learning_rate",
    "micro_batch": "micro_batch_size mbs",
    "microbatches": "num_microbatches gradient_accumulation_steps",
    "norm": "normalization",
    "norm_eps": "layernorm_epsilon layer_norm_eps rms_norm_eps",
    "patch": "patch_size patch_dim",
    "pattern": "hybrid_override_pattern hybrid_layer_pattern",
    "permute_fusion": "moe_permute_fusion",
    "positions": "position_embedding_type",
    "precision": "dtype torch_dtype params_dtype",
    "qk_norm": "qk_layernorm",
    "qkv_bias": "add_qkv_bias attention_bias",
    "recompute": "recompute_granularity",
    "rope_base": "rotary_base rope_theta",
    "rope_fraction": "rotary_percent partial_rotary_factor",
    "router_dtype": "moe_router_dtype",
    "score": "moe_router_score_function",
    "sequence": "seq_length seq_len max_seq_len sequence_length",
    "shared_ffn": "moe_shared_expert_intermediate_size",
    "state": "mamba_state_dim ssm_state_size d_state",
    "tie_embeddings": "tie_word_embeddings share_embeddings_and_output_weights",
    "token": "image_token_id image_token_index special_token_id",
    "topk": "top_k moe_router_topk num_experts_per_tok",
    "vocabulary": "vocab_size padded_vocab_size",
    "z_loss": "moe_z_loss_coeff",
}
_MEANT: Final = {name: field for field, names in _NAMES.items() for name in names.split()}


def field_meant(name: str, known: Iterable[str]) -> str | None:
    """The one of the `known` fields that has this name elsewhere."""
    field = _MEANT.get(name.lower(), "")
    return field if field in known else None


def place_meant(name: str, known: Iterable[FieldSchema]) -> tuple[FieldSchema, str, str] | None:
    """The one of the `known` fields whose block has a field of this name, here or elsewhere, the
    block's tag, and what the field is called in it."""
    for outer in known:
        for tag, cls in outer.blocks.items():
            names = [field.name for field in schema(cls)]
            if found := name if name in names else field_meant(name, names):
                return outer, tag, found
    return None


def derived(name: str) -> str | None:
    """From what follows here that which has a field elsewhere."""
    if name.lower() in ("global_batch_size", "train_batch_size", "gbs"):
        return "a step has `micro_batch * microbatches` samples a replica of the language model"
    return None
