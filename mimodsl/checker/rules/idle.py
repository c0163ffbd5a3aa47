"""Settings that are well formed and have no effect, because what would read them is not there."""

from collections.abc import Iterator

from attrs import frozen

from mimodsl.checker.context import Context
from mimodsl.checker.phrases import code
from mimodsl.checker.rule import Cost, Finding, Findings, rule
from mimodsl.checker.scopes import SPEC, held
from mimodsl.diagnostics import Severity
from mimodsl.ir import Kind, Node
from mimodsl.ir.draft import Draft
from mimodsl.ir.facts import Needs
from mimodsl.ir.schema import FieldSchema, schema
from mimodsl.source import Span


@frozen(kw_only=True)
class Idle:
    """A field that has no effect in its node, which is part of the `owner`, without its needs."""

    node: Node
    field: FieldSchema
    needs: Needs
    owner: Node


@rule(
    "MIMO527",
    "a setting without effect",
    scope=SPEC,
    cost=Cost.WASTE,
    mirrors=(
        'models/gpt/gpt_model.py, "def __init__ … self.config.multi_latent_attention"',
        'transformer/moe/moe_utils.py, "if use_pre_softmax"',
        'distributed/distributed_data_parallel.py, "if not ddp_config.overlap_grad_reduce"',
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
        name, needs = idle.field.name, idle.needs
        if getattr(idle.node, name) == idle.field.default or _from_a_preset(spec, idle):
            continue
        missing = (idle.node, needs.field) if needs.field else (idle.owner, "name")
        yield Finding(
            message=f"{code(name)} has no effect without {needs.words}",
            primary=spec.label(idle.node, name, "without effect"),
            secondary=(spec.label(*missing, f"no {needs.words}"),),
            help=(f"leave {code(name)} out",),
        )


def _idle(spec: Context, draft: Draft) -> Iterator[Idle]:
    for module in held(spec, Kind):
        yield from _idle_fields(module.kind, module.module)
    if draft.train is not None:
        yield from _idle_fields(draft.train, draft.train)


def _idle_fields(node: Node, owner: Node) -> Iterator[Idle]:
    """The fields of a node, and of the blocks in use inside it, whose needs are not met."""
    in_use = node.in_use() if isinstance(node, Kind) else node
    for field in schema(type(node)):
        needs = field.facts.needs if field.facts else None
        if needs and not needs.met(node):
            yield Idle(node=node, field=field, needs=needs, owner=owner)
        block = getattr(in_use, field.name)
        if isinstance(block, Node):
            yield from _idle_fields(block, owner)


def _from_a_preset(spec: Context, idle: Idle) -> bool:
    where = spec.at(idle.node, idle.field.name)
    return (
        isinstance(where, Span) and spec.main_file is not None and where.file is not spec.main_file
    )
