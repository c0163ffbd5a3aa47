"""`--to megatron-args`: the flags of Megatron-LM's MIMO example that come nearest to a spec."""

import shlex
from collections.abc import Iterable, Iterator
from typing import Any, Final

from mimodsl._version import __version__
from mimodsl.exporter.beyond_flags import beyond_flags
from mimodsl.exporter.script import comment
from mimodsl.exporter.target import Launch, Target
from mimodsl.ir import (
    Activation,
    Attention,
    CustomLanguage,
    Gpt,
    Hybrid,
    Kernels,
    MlpProjector,
    Moe,
    Node,
    Precision,
    Radio,
    Recompute,
    Spec,
)
from mimodsl.ir.lr_decay import WsdLr
from mimodsl.ir.megatron_fields import megatron_value
from mimodsl.ir.schema import schema
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
_DEFAULTS: Final[dict[str, object]] = {
    "norm-epsilon": 1e-5,
    "seed": 1234,
    "adam-eps": 1e-8,
    "moe-layer-freq": 1,
}
"""Values of Megatron-LM's that need no flag."""

_ORDER: Final = (
    *("num-layers", "hybrid-layer-pattern", "hidden-size", "ffn-hidden-size", "vocab-size"),
    *("position-embedding-type", *_ACTIVATIONS.values(), "disable-bias-linear", "normalization"),
    *("norm-epsilon", "init-method-std", "hidden-dropout", "attention-dropout"),
    *("fp32-residual-connection", "recompute-granularity", "recompute-method"),
    *("recompute-num-layers", "max-position-embeddings"),
    *("num-attention-heads", "group-query-attention", "num-query-groups"),
    *("mamba-num-heads", "mamba-head-dim", "mamba-num-groups", "mamba-state-dim"),
    *("num-experts", "moe-router-topk", "moe-grouped-gemm", "moe-ffn-hidden-size"),
    *("moe-router-score-function", "moe-router-pre-softmax", "moe-router-topk-scaling-factor"),
    *("moe-router-enable-expert-bias", "moe-router-bias-update-rate", "moe-router-num-groups"),
    *("moe-router-group-topk", "moe-router-dtype", "moe-router-load-balancing-type"),
    *("moe-aux-loss-coeff", "moe-z-loss-coeff", "moe-shared-expert-intermediate-size"),
    *("moe-shared-expert-overlap", "moe-token-dispatcher-type", "moe-permute-fusion"),
    *("moe-router-fusion", "use-fused-weighted-squared-relu"),
    *("train-iters", "bf16", "fp16", "seed", "calculate-per-token-loss", "weight-decay"),
    *("adam-beta1", "adam-beta2", "adam-eps", "clip-grad", "use-distributed-optimizer"),
    *("overlap-grad-reduce", "overlap-param-gather", "encoder-ddp-overlap", "ddp-bucket-size"),
    *("eval-interval", "eval-iters", "log-interval"),
    *("lr", "min-lr", "lr-decay-style", "lr-warmup-iters", "lr-warmup-init", "lr-decay-iters"),
)
"""The order in which flags read well. Flags that are not listed come after these."""


def flags(spec: Spec, steps: int) -> dict[str, list[Flag]]:
    """The flags of a spec by what they are about, only those that must be passed.

    Raises:
        ValueError: for a language model of another package, which no flag describes.
    """
    kind = spec.language_kind.in_use()
    if isinstance(kind, CustomLanguage):
        raise ValueError(  # noqa: TRY004
            f"{spec.language.name} is {kind.keyword}, of another package, and no flag of "
            "Megatron-LM's MIMO example describes it"
        )
    assert isinstance(kind, Gpt | Hybrid)
    mamba = kind.mamba if isinstance(kind, Hybrid) else None
    sections: dict[str, Iterable[Flag]] = {
        "What is trained": _program(spec),
        "The ranks": _ranks(spec),
        "The language model": _language(kind, spec.schedule.sequence),
        "Attention": _attention(kind.attention) if kind.attention else (),
        "Mamba": row_flags(mamba) if mamba else (),
        "Experts": _experts(kind, kind.moe, spec.train.kernels) if kind.moe else (),
        "Samples": _samples(spec),
        "Training": _training(spec, steps),
        "The learning rate": _learning_rate(spec),
    }
    passed = {title: _passed(rows) for title, rows in sections.items()}
    return {title: rows for title, rows in passed.items() if rows}


def row_flags(node: Node) -> Iterator[Flag]:
    """The flags that take the values of a node's fields as they are.

    A field that needs the value of another one has no flag where the other has another value.
    """
    for field in schema(type(node)):
        flag, needs = (field.facts.flag, field.facts.needs) if field.facts else (None, None)
        without_effect = needs and needs.field and not needs.met(node)
        if isinstance(flag, str) and not without_effect:
            yield flag, megatron_value(getattr(node, field.name))


def _passed(rows: Iterable[Flag]) -> list[Flag]:
    """The flags that must be passed, in order."""
    places = {name: place for place, name in enumerate(_ORDER)}
    passed = [
        (name, value)
        for name, value in rows
        if value is not None and value is not False and value != _DEFAULTS.get(name)
    ]
    return sorted(passed, key=lambda flag: places.get(flag[0], len(places)))


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


def _language(kind: Gpt | Hybrid, sequence: int) -> Iterator[Flag]:
    yield from row_flags(kind)
    yield "max-position-embeddings", sequence
    if isinstance(kind, Hybrid):
        yield "num-layers", len(kind.layers)
    if isinstance(kind, Gpt) or kind.has_dense_mlp:
        yield "ffn-hidden-size", kind.mlp_width
    if flag := _ACTIVATIONS.get(kind.activation):
        yield flag, True
    yield "disable-bias-linear", not kind.bias
    if kind.recompute is not Recompute.NONE:
        yield "recompute-granularity", kind.recompute.value
    if kind.recompute is Recompute.FULL:
        yield "recompute-method", "uniform"
        yield "recompute-num-layers", 1


def _attention(attention: Attention) -> Iterator[Flag]:
    yield from row_flags(attention)
    if attention.key_value_groups < attention.heads:
        yield "group-query-attention", True
        yield "num-query-groups", attention.key_value_groups


def _experts(kind: Gpt | Hybrid, moe: Moe, kernels: Kernels) -> Iterator[Flag]:
    yield from row_flags(moe)
    # The example has Transformer Engine's layers, which `auto` allows.
    theirs = Kernels.LOCAL if kernels is Kernels.LOCAL else Kernels.TRANSFORMER_ENGINE
    grouped = moe.grouped_gemm if moe.grouped_gemm is not None else theirs is not Kernels.LOCAL
    yield "moe-grouped-gemm", grouped
    yield "moe-permute-fusion", is_permutation_fused(moe, theirs)
    yield "moe-router-fusion", is_routing_fused(moe, theirs)
    yield "use-fused-weighted-squared-relu", grouped and can_be_weighted(kind)


def _samples(spec: Spec) -> list[Flag]:
    return [*row_flags(spec.schedule), ("global-batch-size", spec.batch)]


def _training(spec: Spec, steps: int) -> Iterator[Flag]:
    train, ddp = spec.train, spec.train.ddp
    yield from (
        ("train-iters", steps),
        ("bf16", train.precision is Precision.BF16),
        ("fp16", train.precision is Precision.FP16),
        ("calculate-per-token-loss", True),
        ("use-distributed-optimizer", True),
        ("encoder-ddp-overlap", ddp.overlap_grad_reduce and bool(spec.flows)),
        ("eval-interval", 1),
        ("eval-iters", 0),
        ("log-interval", 1),
    )
    yield from row_flags(train)
    yield from row_flags(ddp)
    yield from (flag for flag in row_flags(train.optimizer) if flag[0] != "lr")


def _learning_rate(spec: Spec) -> Iterator[Flag]:
    decay = spec.train.lr_decay
    yield "lr", spec.train.optimizer.lr
    yield "lr-decay-style", "WSD" if isinstance(decay, WsdLr) else decay.tag.replace("_", "-")
    yield "lr-warmup-init", decay.init_lr if decay.warmup else None
    yield from row_flags(decay)


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
