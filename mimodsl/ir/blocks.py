"""The blocks inside language models: attention, Mamba and mixture of experts."""

from typing import ClassVar

from attrs import frozen

from mimodsl.ir.node import ABOVE_0, AT_LEAST_0, AT_LEAST_1, Keyword, Node, knob, node


def head_width(hidden: int, heads: int) -> int:
    """Channels of one of the `heads` that share a width of `hidden`.

    Megatron-Core drops a remainder (transformer/transformer_config.py:1333).
    """
    return hidden // heads


@node
class Attention(Node):
    """Self-attention with grouped queries."""

    tag: ClassVar[str] = "attention"

    heads: int = knob(check=AT_LEAST_1, doc="query heads")
    kv_groups: int | None = knob(
        default=None, check=AT_LEAST_1, doc="key and value heads (GQA); as many as `heads` if unset"
    )
    head_dim: int | None = knob(
        default=None, check=AT_LEAST_1, doc="width of a head; hidden / heads if unset"
    )
    qkv_bias: bool = knob(default=False, doc="a bias on queries, keys and values alone")
    qk_norm: bool = knob(default=False, doc="normalise queries and keys, head by head")

    @property
    def key_value_groups(self) -> int:
        """Key and value heads, also where `kv_groups` is unset."""
        return self.kv_groups or self.heads

    def width(self, hidden: int) -> int:
        """Channels of one head in a model `hidden` wide."""
        return self.head_dim or head_width(hidden, self.heads)


@node
class Mamba(Node):
    """A Mamba-2 mixer."""

    tag: ClassVar[str] = "mamba"

    heads: int | None = knob(
        default=None, check=AT_LEAST_1, doc="heads; 2 · hidden / head_dim if unset"
    )
    head_dim: int = knob(default=64, check=AT_LEAST_1, doc="width of a head")
    state: int = knob(default=128, check=AT_LEAST_1, doc="width of the recurrent state")
    groups: int = knob(default=8, check=AT_LEAST_1, doc="groups that share B and C")

    def head_count(self, hidden: int) -> int:
        """Heads of a mixer in a model `hidden` wide.

        Unset, they span twice that width (ssm/mamba_mixer.py:247); a remainder is dropped.
        """
        return self.heads or 2 * hidden // self.head_dim

    def fits(self, hidden: int) -> bool:
        """Whether heads of that width fill a mixer in a model `hidden` wide exactly."""
        return self.heads is not None or 2 * hidden % self.head_dim == 0


class Score(Keyword):
    """How router logits become scores."""

    SOFTMAX = "softmax"
    SIGMOID = "sigmoid"
    SQRT_SOFTPLUS = "sqrtsoftplus"


class Balance(Keyword):
    """How the router is kept from favouring few experts."""

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


class Dispatcher(Keyword):
    """How tokens travel to the ranks of their experts."""

    ALLTOALL = "alltoall"
    ALLGATHER = "allgather"
    FLEX = "flex"


@node
class Moe(Node):
    """A mixture of experts in place of the MLP."""

    tag: ClassVar[str] = "moe"

    experts: int = knob(check=AT_LEAST_1, doc="routed experts")
    topk: int = knob(check=AT_LEAST_1, doc="experts a token goes to")
    ffn: int = knob(check=AT_LEAST_1, doc="inner width of one expert")
    shared_ffn: int | None = knob(
        default=None, check=AT_LEAST_1, doc="inner width of the experts that every token passes"
    )
    shared_overlap: bool = knob(
        default=False, doc="compute shared experts while routed tokens travel"
    )
    score: Score = knob(default=Score.SOFTMAX, doc="how router logits become scores")
    pre_softmax: bool = knob(default=False, doc="take the softmax before the top-k")
    scaling: float | None = knob(default=None, check=ABOVE_0, doc="factor on the top-k scores")
    expert_bias: bool = knob(default=False, doc="balance load by a learned bias, without a loss")
    bias_rate: float = knob(default=1e-3, check=AT_LEAST_0, doc="step of the expert bias")
    groups: int | None = knob(
        default=None, check=AT_LEAST_1, doc="expert groups, for group-limited routing"
    )
    group_topk: int | None = knob(default=None, check=AT_LEAST_1, doc="groups a token may go to")
    balance: Balance = knob(default=Balance.AUX_LOSS, doc="the load-balancing loss")
    aux_loss: float = knob(default=0.0, check=AT_LEAST_0, doc="coefficient of that loss")
    z_loss: float | None = knob(default=None, check=ABOVE_0, doc="coefficient of the router z-loss")
    router_dtype: RouterPrecision = knob(
        default=RouterPrecision.MODEL, doc="precision of the router"
    )
    dispatcher: Dispatcher = knob(
        default=Dispatcher.ALLTOALL, doc="how tokens travel to the ranks of their experts"
    )
    grouped_gemm: bool | None = knob(
        default=None, doc="one product for all local experts; where the kernels have it if unset"
    )
    permute_fusion: bool | None = knob(
        default=None, doc="tokens permuted by one kernel; where Transformer Engine is if unset"
    )
    capacity_factor: float | None = knob(
        default=None, check=ABOVE_0, doc="drop the tokens that exceed this share of an expert's"
    )
    pad_to_capacity: bool = knob(default=False, doc="pad every expert's tokens to its capacity")


@frozen(kw_only=True)
class Blocks:
    """The blocks that describe some layer of a language model; `None` for any other block."""

    attention: Attention | None = None
    mamba: Mamba | None = None
    moe: Moe | None = None
