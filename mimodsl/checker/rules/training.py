"""Rules about training: schedule, sequence length, precision, kernels and frozen modules."""

from collections.abc import Iterator

from mimodsl.checker.arithmetic import division, next_multiple
from mimodsl.checker.context import Context
from mimodsl.checker.phrases import code, either
from mimodsl.checker.rule import Cost, Finding, Findings, rule
from mimodsl.checker.rules.edges import is_colocated
from mimodsl.checker.scopes import (
    COMPLETE,
    LANGUAGE,
    ROUTE,
    SPEC,
    Held,
    sequence_shards,
    spans_of,
)
from mimodsl.diagnostics import Label, Severity
from mimodsl.ir import Kernels, Moe, Precision, ScheduleKind, TransformerLanguage
from mimodsl.ir.axes import CP, ETP, PP, TP
from mimodsl.ir.draft import Draft
from mimodsl.planner.experts import ALIGNED, fit_torch


@rule(
    "MIMO701",
    "a pipeline without a pipeline schedule",
    scope=LANGUAGE,
    cost=Cost.WASTE,
    mirrors=('pipeline_parallel/schedules.py, "if isinstance(schedule_pg_collection"',),
    seen="Nothing: 1F1B runs.",
)
def no_pipelining(spec: Context, language: Held[TransformerLanguage]) -> Findings:
    """`no_pipelining` is for models with one stage that share the ranks of their encoders.

    Several stages always run 1F1B, whatever the schedule says: the stages of a language model with
    pp, and an encoder before a language model on other ranks.

    Example:
        use "presets/nemotron_small.mimo"

        grid llm {
          dense  = tp:2 * dp:1 * pp:2
          expert = ep:2 * pp
        }

        module language : nemotron_small {
          pattern = "MEM|*EM"
        }

        schedule no_pipelining {
          sequence = 64
        }
    """
    schedule = spec.draft.schedule
    if schedule is None or schedule.kind is not ScheduleKind.NO_PIPELINING:
        return
    stages = list(_stages(spec, language))
    if stages:
        yield Finding(
            message=f"{code(language.name)} is in a pipeline, but the schedule has none",
            primary=spec.label(schedule, "kind", "no pipelining"),
            secondary=tuple(stages),
            help=(f"write {code('schedule 1f1b')}",),
            edits=spec.writing(schedule, "kind", "1f1b"),
        )


def _stages(spec: Context, language: Held[TransformerLanguage]) -> Iterator[Label]:
    """The reasons why a language model and its encoders have several stages."""
    if language.size(PP) > 1:
        yield spec.axis_label(language.grid, PP, f"{language.size('pp')} stages")
    placed = spans_of(spec.draft)
    for route in ROUTE.subjects(spec):
        apart = route.encoder.grid.name in placed and not is_colocated(spec, route)
        if apart and route.language.name == language.name:
            yield spec.label(route.flow, "path", f"{code(route.encoder.name)} is on other ranks")


@rule(
    "MIMO702",
    "a sequence that does not divide into equal parts",
    scope=LANGUAGE,
    cost=Cost.LATE,
    mirrors=('models/mimo/partition/utils.py, "assert embeddings.shape[0] %"',),
    seen="Every rank of the language model stops in the first forward pass: `Sequence length "
    "should be divisible by`.",
)
def sequence_length(spec: Context, language: Held[TransformerLanguage]) -> Findings:
    """A sequence divides by tp where it is split over tp, and by 2·cp with context parallelism.

    With both, it divides by their product. megatron-core notices in the first forward pass.

    Example:
        use "presets/nemotron_small.mimo"

        grid llm {
          dense  = tp:4 * dp:1
          expert = ep:4 * pp
        }

        module language : nemotron_small {
          attention = { heads = 4, kv_groups = 4 }
          mamba     = { groups = 4 }
        }

        schedule no_pipelining {
          sequence = 66
        }
    """
    schedule, shards = spec.draft.schedule, sequence_shards(language)
    if schedule is None or schedule.sequence % shards == 0:
        return
    sequence = schedule.sequence
    axes = [axis for axis, used in _sharing(language) if used]
    product = "·".join(f"2·{axis}" if axis == CP else axis for axis in axes)
    lengths = [
        size for size in (sequence // shards * shards, next_multiple(sequence, shards)) if size
    ]
    options = [code(f"sequence = {size}") for size in lengths]
    yield Finding(
        message=f"a sequence of {sequence} tokens does not divide into {shards} equal parts",
        primary=spec.label(schedule, "sequence", division(sequence, shards)),
        secondary=tuple(
            spec.axis_label(language.grid, axis, f"{product} = {shards}") for axis in axes
        ),
        help=(f"{either(options)} divides evenly",),
    )


def _sharing(language: Held[TransformerLanguage]) -> tuple[tuple[str, bool], ...]:
    return (
        (TP, language.splits_sequence and language.size(TP) > 1),
        (CP, language.size(CP) > 1),
    )


@rule(
    "MIMO721",
    "nothing to train",
    scope=COMPLETE,
    cost=Cost.WASTE,
    seen="A loss that stays where it is, step after step, with a gradient norm of 0.",
)
def all_frozen(spec: Context, draft: Draft) -> Findings:
    """At least one module is not frozen; otherwise a step computes no gradients.

    Example:
        use "presets/nemotron_small.mimo"

        grid llm {
          dense  = tp:2 * dp:1
          expert = ep:2 * pp
        }

        module language : nemotron_small {
          frozen = true
        }

        schedule no_pipelining {
          sequence = 64
        }
    """
    if draft.modules and all(module.frozen for module in draft.modules):
        first, *others = draft.modules
        yield Finding(
            message="every module is frozen, so there is nothing to train",
            primary=spec.label(first, "frozen", f"{code(first.name)} is frozen"),
            secondary=tuple(
                spec.label(other, "frozen", f"{code(other.name)} is frozen, too")
                for other in others
            ),
            help=(f"leave {code('frozen = true')} out of a module",),
        )


@rule(
    "MIMO722",
    "fp16 with several modules",
    scope=SPEC,
    cost=Cost.SILENT,
    mirrors=('models/mimo/optimizer.py, "return self._active_optimizers"',),
    seen="Now and then a step is skipped, and a configured loss scale does not adapt.",
    severity=Severity.WARNING,
)
def fp16(spec: Context, draft: Draft) -> Findings:
    """With flows, bf16 is the better choice: the modules cannot share a loss scale that adapts.

    Each module has its own optimizer with its own scale, but there is one loss. So the scale is
    fixed, and a step is skipped where gradients overflow.

    Example:
        use "presets/nemotron_small.mimo"

        grid llm {
          dense  = dp:2
          expert = ep:2 * pp
        }

        module vision : radio_small {}

        module projector : mlp_projector {}

        module language : nemotron_small {}

        flow vision -> projector -> language {
          token = 511
        }

        train {
          precision = fp16
        }
    """
    if draft.train is None or draft.train.precision is not Precision.FP16 or not draft.flows:
        return
    yield Finding(
        message="several modules are trained in fp16 with one fixed loss scale",
        primary=spec.label(draft.train, "precision", "the loss scale does not adapt"),
        secondary=tuple(spec.label(flow, "path", "several modules") for flow in draft.flows),
        help=(f"write {code('precision = bf16')}",),
    )


@rule(
    "MIMO731",
    "a feature that the local kernels lack",
    scope=LANGUAGE,
    cost=Cost.RAISES,
    mirrors=(
        'models/backends.py, "class LocalSpecProvider … moe_use_grouped_gemm"',
        'transformer/transformer_config.py, "if self.moe_permute_fusion"',
        'transformer/transformer_config.py, "fused permutation is not available"',
        'transformer/dot_product_attention.py, "self.config.context_parallel_size == 1"',
    ),
    seen="A rank stops while it builds the language model: `Context parallelism is only supported "
    "by TEDotProductAttention!`, `fused permutation is not available. Please install TE >= "
    "2.1.0.`; experts are silently multiplied one by one.",
)
def local_kernels(spec: Context, language: Held[TransformerLanguage]) -> Findings:
    """Fused permutation and context-parallel attention need Transformer Engine.

    So does a grouped product of experts, unless they are in bf16, without biases, and `hidden` and
    `moe.ffn / etp` are multiples of 8: torch has a grouped product for these.

    Example:
        use "presets/nemotron_small.mimo"

        grid llm {
          dense  = tp:2 * dp:1
          expert = ep:2 * pp
        }

        module language : nemotron_small {
          moe = { grouped_gemm = true }
        }

        train {
          precision = fp32
          kernels   = local
        }
    """
    train = spec.draft.train
    if train is None or train.kernels is not Kernels.LOCAL:
        return
    for label, feature, advice in _beyond_local(spec, language, train.precision):
        yield Finding(
            message=f"the local kernels have no {feature}",
            primary=label,
            secondary=(spec.label(train, "kernels", "local kernels"),),
            help=(
                f"{code('kernels = auto')} uses Transformer Engine where it is installed",
                *advice,
            ),
        )


def _beyond_local(
    spec: Context, language: Held[TransformerLanguage], precision: Precision
) -> Iterator[tuple[Label, str, tuple[str, ...]]]:
    """Where the spec asks for a feature, the feature, and more help."""
    kind, moe = language.kind, language.kind.used.moe
    if moe is not None:
        if moe.grouped_gemm and not fit_torch(kind, moe, precision, language.size(ETP)):
            label = spec.label(moe, "grouped_gemm", "requested here")
            advice = _fitting_help(kind, moe, precision, language.size(ETP))
            yield label, "grouped product of such experts", (advice,)
        if moe.permute_fusion:
            yield spec.label(moe, "permute_fusion", "requested here"), "fused permutation", ()
    if kind.used.attention is not None and language.size(CP) > 1:
        label = spec.axis_label(language.grid, CP, f"{language.size('cp')} ranks")
        yield label, "context-parallel attention", ()


def _fitting_help(kind: TransformerLanguage, moe: Moe, precision: Precision, etp: int) -> str:
    """The smallest changes with which torch's grouped product takes the experts."""
    hidden = next_multiple(kind.hidden, ALIGNED)
    ffn = next_multiple(moe.ffn, ALIGNED * etp)
    wanted = {
        "precision = bf16": precision is not Precision.BF16,
        "bias = false": kind.bias,
        f"hidden = {hidden}": hidden != kind.hidden,
        f"moe.ffn = {ffn}": ffn != moe.ffn,
    }
    changes = [code(field) for field, is_needed in wanted.items() if is_needed]
    return f"or {either(changes, 'and')}, for which torch has a grouped product"
