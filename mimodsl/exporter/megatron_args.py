"""`--to megatron-args`: the flags of Megatron-LM's MIMO example that come nearest to a spec."""

import shlex
from collections.abc import Iterator
from typing import Any, Final

from mimodsl._version import __version__
from mimodsl.exporter.beyond_flags import beyond_flags
from mimodsl.exporter.script import comment
from mimodsl.exporter.target import Launch, Target
from mimodsl.ir import (
    Activation,
    Attention,
    Gpt,
    Hybrid,
    Kernels,
    Mamba,
    MlpProjector,
    Norm,
    Precision,
    Radio,
    Recompute,
    RouterPrecision,
    Spec,
)
from mimodsl.ir.lr_decay import FallingLr, WsdLr
from mimodsl.planner.experts import can_be_weighted, is_permutation_fused, is_routing_fused
from mimodsl.planner.grids import grid_plans
from mimodsl.planner.nodes import NodePlan

type Flag = tuple[str, Any]
"""A flag and its value: one that is `True` is a switch, one that is `None` or `False` not there."""

_ACTIVATIONS: Final = {
    Activation.SQUARED_RELU: "squared-relu",
    Activation.SWIGLU: "swiglu",
    Activation.QUICK_GELU: "quick-geglu",
}
_NORMS: Final = {Norm.LAYERNORM: "LayerNorm", Norm.RMSNORM: "RMSNorm"}
_MEGATRON_SEED: Final = 1234
_MEGATRON_EPS: Final = 1e-5
_MEGATRON_ADAM_EPS: Final = 1e-8


def flags(spec: Spec, steps: int) -> dict[str, list[Flag]]:
    """The flags of a spec by what they are about, only those that are to be passed."""
    kind = spec.language_kind.in_use()
    assert isinstance(kind, Gpt | Hybrid)
    found: dict[str, list[Flag]] = {
        "What is trained": _program(spec),
        "The ranks": _ranks(spec),
        "The language model": [
            *_language(kind),
            ("max-position-embeddings", spec.schedule.sequence),
        ],
        "Attention": _attention(kind.attention),
        "Mamba": _mamba(kind.mamba) if isinstance(kind, Hybrid) else [],
        "Experts": _experts(kind, spec.train.kernels),
        "Samples": _samples(spec),
        "Training": _training(spec, steps),
        "The learning rate": _learning_rate(spec),
    }
    passed = {
        title: [(name, value) for name, value in rows if value is not None and value is not False]
        for title, rows in found.items()
    }
    return {title: rows for title, rows in passed.items() if rows}


def _program(spec: Spec) -> list[Flag]:
    rows: list[Flag] = [("model-provider", "nemotron-moe-vlm"), ("dataset-provider", "mock")]
    for flow in spec.flows[:1]:
        encoder = spec.module(flow.encoder)
        rows.append(("image-token-id", flow.token))
        if isinstance(encoder.kind, Radio):
            rows.append(("pixel-shuffle", encoder.kind.pixel_shuffle))
            rows.append(("disable-vision-class-token", encoder.kind.drop_class_tokens))
        rows.append(("freeze-vit", encoder.frozen))
        if flow.projector:
            projector = spec.module(flow.projector)
            is_mlp = isinstance(projector.kind, MlpProjector)
            rows.append(("vision-projection-type", "mlp" if is_mlp else None))
            rows.append(("freeze-projection", projector.frozen))
    return [*rows, ("freeze-lm", spec.language.frozen)]


def _ranks(spec: Spec) -> list[Flag]:
    rows: list[Flag] = []
    for flow in spec.flows[:1]:
        encoder = spec.grid_of(spec.module(flow.encoder))
        rows += [(f"encoder-{axis}", encoder.size(axis)) for axis in ("tp", "dp")]
    plans = {plan.name: plan for plan in grid_plans(spec)}
    grid = plans[spec.language.grid]
    rows += [("llm-only", not spec.flows), ("llm-offset", grid.offset)]
    rows += [(f"llm-{axis}", grid.axis(axis)) for axis in ("tp", "cp", "pp", "dp")]
    if not grid.expert_implied:
        expert = grid.expert
        rows += [("llm-ep", expert.axis("ep")), ("llm-expt-tp", expert.axis("etp"))]
    return rows


def _language(kind: Gpt | Hybrid) -> Iterator[Flag]:
    hybrid = kind if isinstance(kind, Hybrid) else None
    yield "num-layers", len(hybrid.layers) if hybrid else getattr(kind, "layers", None)
    yield "hybrid-layer-pattern", hybrid and hybrid.pattern
    yield "hidden-size", kind.hidden
    yield "ffn-hidden-size", kind.mlp_width if hybrid is None or "-" in hybrid.layers else None
    yield "vocab-size", kind.vocabulary
    yield "position-embedding-type", _positions(kind)
    if flag := _ACTIVATIONS.get(kind.activation):
        yield flag, True
    yield "disable-bias-linear", not kind.bias
    yield "normalization", _NORMS[kind.norm]
    yield "norm-epsilon", kind.norm_eps if kind.norm_eps != _MEGATRON_EPS else None
    yield "init-method-std", kind.init_std
    yield "hidden-dropout", kind.dropout
    yield "attention-dropout", kind.attention_dropout
    yield "fp32-residual-connection", kind.residual_fp32
    if kind.recompute is not Recompute.NONE:
        yield "recompute-granularity", kind.recompute.value
    if kind.recompute is Recompute.FULL:
        yield "recompute-method", "uniform"
        yield "recompute-num-layers", 1


def _positions(kind: Gpt | Hybrid) -> str:
    word = kind.positions.value
    return "learned_absolute" if word == "learned" else word


def _attention(attention: Attention | None) -> list[Flag]:
    if attention is None:
        return []
    grouped = attention.key_value_groups < attention.heads
    return [
        ("num-attention-heads", attention.heads),
        ("group-query-attention", grouped),
        ("num-query-groups", attention.key_value_groups if grouped else None),
        ("kv-channels", attention.head_dim),
        ("add-qkv-bias", attention.qkv_bias),
        ("qk-layernorm", attention.qk_norm),
    ]


def _mamba(mamba: Mamba | None) -> list[Flag]:
    if mamba is None:
        return []
    return [
        ("mamba-num-heads", mamba.heads),
        ("mamba-head-dim", mamba.head_dim),
        ("mamba-num-groups", mamba.groups),
        ("mamba-state-dim", mamba.state),
    ]


def _experts(kind: Gpt | Hybrid, kernels: Kernels) -> list[Flag]:
    moe = kind.moe
    if moe is None:
        return []
    in_model = moe.router_dtype is RouterPrecision.MODEL
    # The example has Transformer Engine's layers, for which `auto` leaves room.
    theirs = Kernels.LOCAL if kernels is Kernels.LOCAL else Kernels.TRANSFORMER_ENGINE
    grouped = moe.grouped_gemm if moe.grouped_gemm is not None else theirs is not Kernels.LOCAL
    return [
        ("num-experts", moe.experts),
        ("moe-router-topk", moe.topk),
        ("moe-grouped-gemm", grouped),
        ("moe-ffn-hidden-size", moe.ffn),
        ("moe-router-score-function", moe.score.value),
        ("moe-router-pre-softmax", moe.pre_softmax),
        ("moe-router-topk-scaling-factor", moe.scaling),
        ("moe-router-enable-expert-bias", moe.expert_bias),
        ("moe-router-bias-update-rate", moe.bias_rate if moe.expert_bias else None),
        ("moe-router-num-groups", moe.groups),
        ("moe-router-group-topk", moe.group_topk),
        ("moe-router-dtype", None if in_model else moe.router_dtype.value),
        ("moe-router-load-balancing-type", moe.balance.value),
        ("moe-aux-loss-coeff", moe.aux_loss),
        ("moe-z-loss-coeff", moe.z_loss),
        ("moe-shared-expert-intermediate-size", moe.shared_ffn),
        ("moe-shared-expert-overlap", moe.shared_overlap),
        ("moe-token-dispatcher-type", moe.dispatcher.value),
        ("moe-permute-fusion", is_permutation_fused(moe, theirs)),
        ("moe-router-fusion", is_routing_fused(moe, theirs)),
        ("use-fused-weighted-squared-relu", grouped and can_be_weighted(kind)),
        ("moe-expert-capacity-factor", moe.capacity_factor),
        ("moe-pad-expert-input-to-capacity", moe.pad_to_capacity),
    ]


def _samples(spec: Spec) -> list[Flag]:
    return [
        ("seq-length", spec.schedule.sequence),
        ("micro-batch-size", spec.schedule.micro_batch),
        ("global-batch-size", spec.batch),
    ]


def _training(spec: Spec, steps: int) -> list[Flag]:
    train, adamw, ddp = spec.train, spec.train.optimizer, spec.train.ddp
    return [
        ("train-iters", steps),
        ("bf16", train.precision is Precision.BF16),
        ("fp16", train.precision is Precision.FP16),
        ("seed", train.seed if train.seed != _MEGATRON_SEED else None),
        ("calculate-per-token-loss", True),
        ("weight-decay", adamw.weight_decay),
        ("adam-beta1", adamw.beta1),
        ("adam-beta2", adamw.beta2),
        ("adam-eps", adamw.eps if adamw.eps != _MEGATRON_ADAM_EPS else None),
        ("clip-grad", adamw.clip),
        ("use-distributed-optimizer", True),
        ("overlap-grad-reduce", ddp.overlap_grad_reduce),
        ("overlap-param-gather", ddp.overlap_param_gather),
        ("encoder-ddp-overlap", ddp.overlap_grad_reduce and bool(spec.flows)),
        ("ddp-bucket-size", ddp.bucket),
        ("eval-interval", 1),
        ("eval-iters", 0),
        ("log-interval", 1),
    ]


def _learning_rate(spec: Spec) -> list[Flag]:
    decay = spec.train.lr_decay
    falling = decay if isinstance(decay, FallingLr) else None
    annealed = decay if isinstance(decay, WsdLr) else None
    style = "WSD" if annealed else decay.tag.replace("_", "-")
    return [
        ("lr", spec.train.optimizer.lr),
        ("min-lr", falling and falling.min_lr),
        ("lr-decay-style", style),
        ("lr-warmup-iters", decay.warmup),
        ("lr-warmup-init", decay.init_lr if decay.warmup else None),
        ("lr-decay-iters", falling and falling.steps),
        ("lr-wsd-decay-iters", annealed and annealed.anneal),
        ("lr-wsd-decay-style", annealed and annealed.anneal_style.value),
    ]


def _write(nodes: NodePlan, launch: Launch) -> str:
    return "\n".join(_lines(nodes.plan.spec, launch)) + "\n"


def _lines(spec: Spec, launch: Launch) -> Iterator[str]:
    source = f" from {launch.source}" if launch.source else ""
    yield "#!/usr/bin/env bash"
    yield from comment(
        f"{launch.name} as flags of Megatron-LM's examples/mimo/pretrain_mimo.py, as near as they "
        f"come. Written by mimodsl {__version__}{source}; what no flag can say stands at the end."
    )
    yield "set -euo pipefail"
    yield ""
    yield "mimo_args=("
    for title, rows in flags(spec, launch.steps).items():
        yield f"  # {title}"
        for name, value in rows:
            yield f"  --{name}" if value is True else f"  --{name} {shlex.quote(str(value))}"
    yield ")"
    yield ""
    yield "# In a checkout of Megatron-LM:"
    yield f"torchrun --nproc-per-node {spec.world} \\"
    yield '  examples/mimo/pretrain_mimo.py "${mimo_args[@]}" "$@"'
    yield ""
    yield "# What no flag can say:"
    for missing in beyond_flags(spec):
        yield from comment(f"- {missing}")


MEGATRON_ARGS: Final = Target(
    name="megatron-args",
    help="the nearest flags of Megatron-LM's MIMO example",
    options=frozenset({"steps", "name"}),
    launches=False,
    write=_write,
)
