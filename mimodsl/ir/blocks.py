"""The blocks inside language models: attention, Mamba and mixture of experts."""

from typing import ClassVar

from attrs import frozen

from mimodsl.ir.facts import FUNCTION, LAYOUT, SHAPES, TRAINING, Derived, Facts, needs_value
from mimodsl.ir.node import ABOVE_0, AT_LEAST_0, AT_LEAST_1, Keyword, Node, knob, node


def head_width(hidden: int, heads: int) -> int:
    """Channels of one head if `heads` heads share a width of `hidden`.

    Megatron-Core drops a remainder (transformer/transformer_config.py,
    "self.kv_channels = self.hidden_size").
    """
    return hidden // heads


@node
class Attention(Node):
    """Self-attention with grouped queries."""

    tag: ClassVar[str] = "attention"

    heads: int = knob(
        check=AT_LEAST_1,
        doc="query heads",
        facts=Facts(
            SHAPES, megatron="num_attention_heads", hf="num_attention_heads n_head num_heads"
        ),
    )
    kv_groups: int | None = knob(
        default=None,
        check=AT_LEAST_1,
        doc="key and value heads (GQA); as many as `heads` if unset",
        facts=Facts(
            SHAPES,
            megatron=Derived("num_query_groups"),
            flag=Derived("num-query-groups", "group-query-attention"),
            hf="num_key_value_heads num_kv_heads",
            also="kv_heads",
        ),
    )
    head_dim: int | None = knob(
        default=None,
        check=AT_LEAST_1,
        doc="width of a head; hidden / heads if unset",
        facts=Facts(SHAPES, megatron="kv_channels", hf="head_dim", also="head_size"),
    )
    qkv_bias: bool = knob(
        default=False,
        doc="a bias on queries, keys and values alone",
        facts=Facts(SHAPES, megatron="add_qkv_bias", hf="attention_bias qkv_bias"),
    )
    qk_norm: bool = knob(
        default=False,
        doc="normalise queries and keys, head by head",
        facts=Facts(SHAPES, megatron="qk_layernorm", hf="use_qk_norm qk_layernorm"),
    )

    @property
    def key_value_groups(self) -> int:
        """The number of key and value heads, also if `kv_groups` is unset."""
        return self.kv_groups or self.heads

    def width(self, hidden: int) -> int:
        """Channels of one head in a model of width `hidden`."""
        return self.head_dim or head_width(hidden, self.heads)


@node
class Mamba(Node):
    """A Mamba-2 mixer."""

    tag: ClassVar[str] = "mamba"

    heads: int | None = knob(
        default=None,
        check=AT_LEAST_1,
        doc="heads; 2 · hidden / head_dim if unset",
        facts=Facts(
            SHAPES,
            megatron="mamba_num_heads",
            hf="mamba_num_heads mamba_n_heads num_heads",
        ),
    )
    head_dim: int = knob(
        default=64,
        check=AT_LEAST_1,
        doc="width of a head",
        facts=Facts(
            SHAPES,
            megatron="mamba_head_dim",
            hf="mamba_head_dim mamba_d_head head_dim",
            also="head_size",
        ),
    )
    state: int = knob(
        default=128,
        check=AT_LEAST_1,
        doc="width of the recurrent state",
        facts=Facts(
            SHAPES,
            megatron="mamba_state_dim",
            hf="ssm_state_size mamba_d_state state_size",
            also="d_state",
        ),
    )
    groups: int = knob(
        default=8,
        check=AT_LEAST_1,
        doc="groups that share B and C",
        facts=Facts(SHAPES, megatron="mamba_num_groups", hf="n_groups mamba_n_groups"),
    )

    def head_count(self, hidden: int) -> int:
        """The number of heads of a mixer in a model of width `hidden`.

        If unset, the heads span twice that width (ssm/mamba_mixer.py,
        "assert self.d_inner % self.headdim"); a remainder is dropped.
        """
        return self.heads or 2 * hidden // self.head_dim

    def fits(self, hidden: int) -> bool:
        """Whether the heads fill a mixer in a model of width `hidden` without a remainder."""
        return self.heads is not None or 2 * hidden % self.head_dim == 0


class Score(Keyword):
    """How router logits become scores."""

    SOFTMAX = "softmax"
    SIGMOID = "sigmoid"
    SQRT_SOFTPLUS = "sqrtsoftplus"


class Balance(Keyword):
    """How the router spreads tokens over the experts."""

    NONE = "none"
    AUX_LOSS = "aux_loss"
    SEQ_AUX_LOSS = "seq_aux_loss"
    GLOBAL_AUX_LOSS = "global_aux_loss"
    SINKHORN = "sinkhorn"


class RouterPrecision(Keyword):
    """The precision of the router's product and scores."""

    MODEL = "model"
    FP32 = "fp32"
    FP64 = "fp64"

    @property
    def megatron(self) -> str | None:
        return None if self is RouterPrecision.MODEL else self.value


class Dispatcher(Keyword):
    """How tokens travel to the ranks of their experts."""

    ALLTOALL = "alltoall"
    ALLGATHER = "allgather"
    FLEX = "flex"


@node
class Moe(Node):
    """A mixture of experts in place of the MLP."""

    tag: ClassVar[str] = "moe"

    experts: int = knob(
        check=AT_LEAST_1,
        doc="routed experts",
        facts=Facts(
            SHAPES,
            megatron="num_moe_experts",
            flag="num-experts",
            hf="num_local_experts n_routed_experts num_experts",
        ),
    )
    topk: int = knob(
        check=AT_LEAST_1,
        doc="experts a token goes to",
        facts=Facts(FUNCTION, megatron="moe_router_topk", hf="num_experts_per_tok", also="top_k"),
    )
    ffn: int = knob(
        check=AT_LEAST_1,
        doc="inner width of one expert",
        facts=Facts(
            SHAPES,
            megatron="moe_ffn_hidden_size",
            hf="moe_intermediate_size intermediate_size",
            also="ffn_hidden_size",
        ),
    )
    shared_ffn: int | None = knob(
        default=None,
        check=AT_LEAST_1,
        doc="inner width of the experts that every token passes",
        facts=Facts(
            SHAPES,
            megatron="moe_shared_expert_intermediate_size",
            hf="shared_expert_intermediate_size moe_shared_expert_intermediate_size",
        ),
    )
    shared_overlap: bool = knob(
        default=False,
        doc="compute shared experts while routed tokens travel",
        facts=Facts(LAYOUT, megatron="moe_shared_expert_overlap", hf=None),
    )
    score: Score = knob(
        default=Score.SOFTMAX,
        doc="how router logits become scores",
        facts=Facts(FUNCTION, megatron="moe_router_score_function", hf="scoring_func"),
    )
    pre_softmax: bool = knob(
        default=False,
        doc="take the softmax before the top-k",
        facts=Facts(
            FUNCTION,
            megatron="moe_router_pre_softmax",
            hf=None,
            needs=needs_value("score", Score.SOFTMAX),
        ),
    )
    scaling: float | None = knob(
        default=None,
        check=ABOVE_0,
        doc="factor on the top-k scores",
        facts=Facts(
            FUNCTION, megatron="moe_router_topk_scaling_factor", hf="routed_scaling_factor"
        ),
    )
    expert_bias: bool = knob(
        default=False,
        doc="balance load by a learned bias, without a loss",
        facts=Facts(SHAPES, megatron="moe_router_enable_expert_bias", hf=None),
    )
    bias_rate: float = knob(
        default=1e-3,
        check=AT_LEAST_0,
        doc="step of the expert bias",
        facts=Facts(
            TRAINING,
            megatron="moe_router_bias_update_rate",
            hf=None,
            needs=needs_value("expert_bias", True),
        ),
    )
    groups: int | None = knob(
        default=None,
        check=AT_LEAST_1,
        doc="expert groups, for group-limited routing",
        facts=Facts(FUNCTION, megatron="moe_router_num_groups", hf="n_group"),
    )
    group_topk: int | None = knob(
        default=None,
        check=AT_LEAST_1,
        doc="groups a token may go to",
        facts=Facts(FUNCTION, megatron="moe_router_group_topk", hf="topk_group"),
    )
    balance: Balance = knob(
        default=Balance.AUX_LOSS,
        doc="the load-balancing loss",
        facts=Facts(TRAINING, megatron="moe_router_load_balancing_type", hf=None),
    )
    aux_loss: float = knob(
        default=0.0,
        check=AT_LEAST_0,
        doc="coefficient of that loss",
        facts=Facts(
            TRAINING, megatron="moe_aux_loss_coeff", hf="router_aux_loss_coef aux_loss_alpha"
        ),
    )
    z_loss: float | None = knob(
        default=None,
        check=ABOVE_0,
        doc="coefficient of the router z-loss",
        facts=Facts(TRAINING, megatron="moe_z_loss_coeff", hf="router_z_loss_coef"),
    )
    router_dtype: RouterPrecision = knob(
        default=RouterPrecision.MODEL,
        doc="precision of the router",
        facts=Facts(FUNCTION, megatron="moe_router_dtype", hf="router_dtype"),
    )
    dispatcher: Dispatcher = knob(
        default=Dispatcher.ALLTOALL,
        doc="how tokens travel to the ranks of their experts",
        facts=Facts(LAYOUT, megatron="moe_token_dispatcher_type", hf=None),
    )
    grouped_gemm: bool | None = knob(
        default=None,
        doc="one product for all local experts; where the kernels have it if unset",
        facts=Facts(
            LAYOUT, megatron=Derived("moe_grouped_gemm"), flag=Derived("moe-grouped-gemm"), hf=None
        ),
    )
    permute_fusion: bool | None = knob(
        default=None,
        doc="tokens permuted by one kernel; where Transformer Engine is if unset",
        facts=Facts(
            LAYOUT,
            megatron=Derived("moe_permute_fusion"),
            flag=Derived("moe-permute-fusion"),
            hf=None,
        ),
    )
    capacity_factor: float | None = knob(
        default=None,
        check=ABOVE_0,
        doc="drop the tokens that exceed this share of an expert's",
        facts=Facts(TRAINING, megatron="moe_expert_capacity_factor", hf=None),
    )
    pad_to_capacity: bool = knob(
        default=False,
        doc="pad every expert's tokens to its capacity",
        facts=Facts(TRAINING, megatron="moe_pad_expert_input_to_capacity", hf=None),
    )


@frozen(kw_only=True)
class Blocks:
    """The blocks that describe layers of a language model; `None` for a block without layers."""

    attention: Attention | None = None
    mamba: Mamba | None = None
    moe: Moe | None = None
