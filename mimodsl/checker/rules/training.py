"""Schedule, precision and kernels: how a step runs, and whether there is anything to train."""

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
from mimodsl.ir.draft import Draft
from mimodsl.planner.experts import ALIGNED, fit_torch


@rule(
    "MIMO701",
    "a pipeline that is not scheduled",
    scope=LANGUAGE,
    cost=Cost.WASTE,
    mirrors=("pipeline_parallel/schedules.py:149",),
    seen="Nothing: 1F1B runs.",
)
def no_pipelining(spec: Context, language: Held[TransformerLanguage]) -> Findings:
    """`no_pipelining` is for models of one stage, on the ranks of their encoders.

    Stages after one another run 1F1B whatever is asked for: those of a language model with pp, and
    an encoder before a language model on other ranks.

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
            message=f"{code(language.name)} is in a pipeline, the schedule has none",
            primary=spec.label(schedule, "kind", "no pipelining"),
            secondary=tuple(stages),
            help=(f"write {code('schedule 1f1b')}",),
            edits=spec.writing(schedule, "kind", "1f1b"),
        )


def _stages(spec: Context, language: Held[TransformerLanguage]) -> Iterator[Label]:
    """What makes several stages of a language model and its encoders."""
    if language.size("pp") > 1:
        yield spec.axis_label(language.grid, "pp", f"{language.size('pp')} stages")
    placed = spans_of(spec.draft)
    for route in ROUTE.subjects(spec):
        apart = route.encoder.grid.name in placed and not is_colocated(spec, route)
        if apart and route.language.name == language.name:
            yield spec.label(route.flow, "path", f"{code(route.encoder.name)} is on other ranks")


@rule(
    "MIMO702",
    "a sequence that does not divide into its parts",
    scope=LANGUAGE,
    cost=Cost.LATE,
    mirrors=("models/mimo/partition/utils.py:138",),
    seen="Every rank of the language model stops in the first forward pass: `Sequence length "
    "should be divisible by`.",
)
def sequence_length(spec: Context, language: Held[TransformerLanguage]) -> Findings:
    """A sequence divides by tp where it is split over tp, and by 2·cp with context parallelism.

    With both it divides by their product. megatron-core sees it at the first forward pass.

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
    product = "·".join(f"2·{axis}" if axis == "cp" else axis for axis in axes)
    lengths = [
        size for size in (sequence // shards * shards, next_multiple(sequence, shards)) if size
    ]
    options = [code(f"sequence = {size}") for size in lengths]
    yield Finding(
        message=f"a sequence of {sequence} does not divide into {shards} parts",
        primary=spec.label(schedule, "sequence", division(sequence, shards)),
        secondary=tuple(
            spec.axis_label(language.grid, axis, f"{product} = {shards}") for axis in axes
        ),
        help=(f"{either(options)} divides",),
    )


def _sharing(language: Held[TransformerLanguage]) -> tuple[tuple[str, bool], ...]:
    return (
        ("tp", language.splits_sequence and language.size("tp") > 1),
        ("cp", language.size("cp") > 1),
    )


@rule(
    "MIMO721",
    "nothing to train",
    scope=COMPLETE,
    cost=Cost.WASTE,
    seen="A loss that stays where it is, step after step, with a gradient norm of 0.",
)
def all_frozen(spec: Context, draft: Draft) -> Findings:
    """Some module is not frozen: otherwise a step computes gradients of nothing.

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
                spec.label(other, "frozen", f"{code(other.name)}, too") for other in others
            ),
            help=(f"leave {code('frozen = true')} out of a module",),
        )


@rule(
    "MIMO722",
    "fp16 over several modules",
    scope=SPEC,
    cost=Cost.SILENT,
    mirrors=("models/mimo/optimizer.py:134",),
    seen="Now and then a step is skipped, and a loss scale that was set does not adapt.",
    severity=Severity.WARNING,
)
def fp16(spec: Context, draft: Draft) -> Findings:
    """With flows, bf16 is the better choice: the modules cannot share a loss scale that adapts.

    Each module has an optimizer of its own with a scale of its own, but one loss. So the scale is
    fixed, and gradients that it makes overflow skip the step.

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
        primary=spec.label(draft.train, "precision", "no loss scale that adapts"),
        secondary=tuple(spec.label(flow, "path", "several modules") for flow in draft.flows),
        help=(f"write {code('precision = bf16')}",),
    )


@rule(
    "MIMO731",
    "a knob that the local kernels lack",
    scope=LANGUAGE,
    cost=Cost.RAISES,
    mirrors=(
        "models/backends.py:133",
        "transformer/transformer_config.py:2651",
        "transformer/transformer_config.py:2667",
        "transformer/dot_product_attention.py:57",
    ),
    seen="A rank stops as it builds the language model: `Context parallelism is only supported "
    "by TEDotProductAttention!`, `fused permutation is not available. Please install TE "
    ">= 2.1.0.`; experts are multiplied one by one without a word.",
)
def local_kernels(spec: Context, language: Held[TransformerLanguage]) -> Findings:
    """Fused permutation and context-parallel attention need Transformer Engine.

    So does a grouped product of experts, unless they are in bf16, without biases, and `hidden` and
    `moe.ffn / etp` are multiples of 8: torch has one for these.

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
    for label, what, advice in _beyond_local(spec, language, train.precision):
        yield Finding(
            message=f"the local kernels have no {what}",
            primary=label,
            secondary=(spec.label(train, "kernels", "local kernels"),),
            help=(
                f"{code('kernels = auto')} takes Transformer Engine where it is installed",
                *advice,
            ),
        )


def _beyond_local(
    spec: Context, language: Held[TransformerLanguage], precision: Precision
) -> Iterator[tuple[Label, str, tuple[str, ...]]]:
    """What is asked for, where, and what else would help."""
    kind, moe = language.kind, language.kind.used.moe
    if moe is not None:
        if moe.grouped_gemm and not fit_torch(kind, moe, precision, language.size("etp")):
            label = spec.label(moe, "grouped_gemm", "asked for here")
            advice = _fitting_help(kind, moe, precision, language.size("etp"))
            yield label, "grouped product of such experts", (advice,)
        if moe.permute_fusion:
            yield spec.label(moe, "permute_fusion", "asked for here"), "fused permutation", ()
    if kind.used.attention is not None and language.size("cp") > 1:
        label = spec.axis_label(language.grid, "cp", f"{language.size('cp')} ranks")
        yield label, "context-parallel attention", ()


def _fitting_help(kind: TransformerLanguage, moe: Moe, precision: Precision, etp: int) -> str:
    """With what torch's grouped product would take the experts, changed as little as can be."""
    hidden = next_multiple(kind.hidden, ALIGNED)
    ffn = next_multiple(moe.ffn, ALIGNED * etp)
    wanted = {
        "precision = bf16": precision is not Precision.BF16,
        "bias = false": kind.bias,
        f"hidden = {hidden}": hidden != kind.hidden,
        f"moe.ffn = {ffn}": ffn != moe.ffn,
    }
    changes = [code(field) for field, is_needed in wanted.items() if is_needed]
    return f"or {either(changes, 'and')}, for which torch has one"
