"""Names of other programs lead to the field that is meant, block by block."""

import pytest

from mimodsl.ir import Attention, Gpt, Hybrid, Mamba, Moe, Radio, Schedule, Train
from mimodsl.ir.node import Node
from mimodsl.ir.other_names import block_field_by_other_name, field_by_other_name
from mimodsl.ir.schema import schema
from mimodsl.ir.train import AdamW, Ddp


@pytest.mark.parametrize(
    ("cls", "name", "field"),
    [
        (Moe, "n_group", "groups"),
        (Mamba, "n_groups", "groups"),
        (Moe, "mamba_num_groups", None),
        (Mamba, "moe_router_num_groups", None),
        (Gpt, "intermediate_size", "ffn"),
        (Moe, "moe_intermediate_size", "ffn"),
        (Gpt, "moe_ffn_hidden_size", None),
        (Attention, "mamba_head_dim", None),
        (Mamba, "mamba_head_dim", "head_dim"),
        (Attention, "kv_heads", "kv_groups"),
        (Gpt, "HIDDEN_SIZE", "hidden"),
        (Gpt, "rope_theta", "rope_base"),
        (Hybrid, "hybrid_override_pattern", "pattern"),
        (Radio, "image_size", "image"),
        (Schedule, "seq_length", "sequence"),
        (Schedule, "global_batch_size", None),
        (Train, "torch_dtype", "precision"),
        (AdamW, "learning_rate", "lr"),
        (Ddp, "ddp_bucket_size", "bucket"),
    ],
)
def test_a_name_is_that_of_a_field_of_its_class(
    cls: type[Node], name: str, field: str | None
) -> None:
    assert field_by_other_name(name, schema(cls)) == field


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("num_experts", ("moe", "moe", "experts")),
        ("topk", ("moe", "moe", "topk")),
        ("mamba_num_groups", ("mamba", "mamba", "groups")),
        ("moe_ffn_hidden_size", ("moe", "moe", "ffn")),
        ("num_attention_heads", ("attention", "attention", "heads")),
        ("nothing", None),
    ],
)
def test_a_name_is_found_in_a_block(name: str, place: tuple[str, str, str] | None) -> None:
    found = block_field_by_other_name(name, schema(Hybrid))
    assert (found and (found[0].name, *found[1:])) == place
