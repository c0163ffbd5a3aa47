"""Settings that are well formed and have no effect, because what would read them is not there."""

from collections.abc import Iterator

from attrs import fields, frozen

from mimodsl.checker.context import Context
from mimodsl.checker.phrases import code
from mimodsl.checker.rule import Cost, Finding, Findings, rule
from mimodsl.checker.scopes import SPEC, Held, held
from mimodsl.diagnostics import Severity
from mimodsl.ir import Gpt, Node, Positions, Score, TransformerLanguage
from mimodsl.ir.draft import Draft
from mimodsl.source import Span


@frozen
class Idle:
    """A field without effect, what it would need, and where that is missing."""

    node: Node
    field: str
    needs: str
    missing: Node
    missing_field: str


@rule(
    "MIMO527",
    "a setting without effect",
    scope=SPEC,
    cost=Cost.WASTE,
    mirrors=(
        "models/gpt/gpt_model.py:177",
        "transformer/moe/moe_utils.py:840",
        "distributed/distributed_data_parallel.py:71",
    ),
    seen="Nothing: the run is the same without the line.",
    severity=Severity.WARNING,
)
def idle_setting(spec: Context, draft: Draft) -> Findings:
    """A setting that is written in the spec itself is read by something.

    The bases of rotary frequencies need rotary positions, these need attention; the width of a
    dense MLP needs a layer that has one; the step of an expert bias needs the bias; and a bucket
    size needs gradients that are reduced while the backward pass runs. What a preset brings along
    is not complained of.

    Example:
        use "presets/nemotron_small.mimo"

        grid llm {
          dense  = tp:2 * dp:1
          expert = ep:2 * pp
        }

        module language : nemotron_small {
          grid      = llm
          rope_base = 500000
        }

        schedule no_pipelining {
          sequence = 64
        }
    """
    for idle in _idle(spec, draft):
        if getattr(idle.node, idle.field) == _default(idle.node, idle.field):
            continue
        if _from_a_preset(spec, idle):
            continue
        yield Finding(
            message=f"{code(idle.field)} has no effect without {idle.needs}",
            primary=spec.label(idle.node, idle.field, "without effect"),
            secondary=(spec.label(idle.missing, idle.missing_field, f"no {idle.needs}"),),
            help=(f"leave {code(idle.field)} out",),
        )


def _idle(spec: Context, draft: Draft) -> Iterator[Idle]:
    for language in held(spec, TransformerLanguage):
        yield from _idle_in_language(language)
    if draft.train is not None and not draft.train.ddp.overlap_grad_reduce:
        ddp = draft.train.ddp
        yield Idle(ddp, "bucket", code("overlap_grad_reduce = true"), ddp, "overlap_grad_reduce")


def _idle_in_language(language: Held[TransformerLanguage]) -> Iterator[Idle]:
    kind, name = language.kind, language.module
    if kind.positions is not Positions.ROPE:
        for field in ("rope_base", "rope_fraction"):
            yield Idle(kind, field, code("positions = rope"), kind, "positions")
    elif kind.used.attention is None:
        yield Idle(kind, "positions", "attention layers", name, "name")
    if not kind.has_dense_mlp:
        yield Idle(kind, "ffn", "a layer with a dense MLP", name, "name")
    moe = kind.used.moe
    if isinstance(kind, Gpt) and moe is None:
        yield Idle(kind, "moe_every", "experts", name, "name")
    if moe is not None and not moe.expert_bias:
        yield Idle(moe, "bias_rate", code("expert_bias = true"), moe, "expert_bias")
    if moe is not None and moe.score is not Score.SOFTMAX:
        yield Idle(moe, "pre_softmax", code("score = softmax"), moe, "score")


def _default(node: Node, field: str) -> object:
    return getattr(fields(type(node)), field).default


def _from_a_preset(spec: Context, idle: Idle) -> bool:
    where = spec.at(idle.node, idle.field)
    return (
        isinstance(where, Span) and spec.main_file is not None and where.file is not spec.main_file
    )
