"""Rules about the router of a mixture of experts: which settings fit together."""

from collections.abc import Iterator

from mimodsl.checker.arithmetic import divisors, nearest
from mimodsl.checker.context import Context
from mimodsl.checker.phrases import code, either
from mimodsl.checker.rule import Cost, Finding, Findings, rule
from mimodsl.checker.scopes import MOE, HeldMoe
from mimodsl.diagnostics import Severity
from mimodsl.ir import Balance, Moe, Score


@rule(
    "MIMO541",
    "more experts per token than exist",
    scope=MOE,
    cost=Cost.LATE,
    mirrors=('transformer/moe/moe_utils.py, "return torch.topk(scores, k=topk"',),
    seen="In the first forward pass, the router cannot take the largest scores: torch says "
    "'selected index k out of range'.",
)
def topk(spec: Context, held: HeldMoe) -> Findings:
    """A token goes to at most as many experts as there are.

    megatron-core does not check this: the first forward pass fails to take the largest scores.

    Example:
        use "presets/nemotron_small.mimo"

        grid llm {
          dense  = tp:2 * dp:1
          expert = ep:2 * pp
        }

        module language : nemotron_small {
          grid = llm
          moe  = { experts = 4, topk = 6 }
        }
    """
    moe = held.moe
    if moe.topk > moe.experts:
        yield Finding(
            message=f"a token cannot go to {moe.topk} of {moe.experts} experts",
            primary=spec.label(moe, "topk", f"{moe.topk} per token"),
            secondary=(spec.label(moe, "experts", f"{moe.experts} experts"),),
            help=(f"{code(f'topk = {moe.experts}')} sends every token to all of them",),
        )


@rule(
    "MIMO542",
    "an expert bias with softmax scores",
    scope=MOE,
    cost=Cost.RAISES,
    mirrors=('transformer/transformer_config.py, "if self.moe_router_enable_expert_bias"',),
    seen="Every rank stops: `Expert bias for aux-loss-free routing only supports`.",
)
def bias_score(spec: Context, held: HeldMoe) -> Findings:
    """Balancing by an expert bias needs scores that do not sum to one: sigmoid or sqrtsoftplus.

    Example:
        use "presets/nemotron_small.mimo"

        grid llm {
          dense  = tp:2 * dp:1
          expert = ep:2 * pp
        }

        module language : nemotron_small {
          grid = llm
          moe  = { score = softmax }
        }
    """
    moe = held.moe
    if moe.expert_bias and moe.score is Score.SOFTMAX:
        yield Finding(
            message=f"the router of {code(held.name)} combines an expert bias with softmax scores",
            primary=spec.label(moe, "score", "softmax"),
            secondary=(spec.label(moe, "expert_bias", "an expert bias"),),
            help=(f"write {code('score = sigmoid')} or {code('expert_bias = false')}",),
        )


@rule(
    "MIMO543",
    "a softmax over one score",
    scope=MOE,
    cost=Cost.RAISES,
    mirrors=('transformer/transformer_config.py, "self.moe_router_topk == 1"',),
    seen="Every rank stops: `Please use --moe-router-pre-softmax when topk is 1.`",
)
def lone_softmax(spec: Context, held: HeldMoe) -> Findings:
    """With one expert per token, the softmax is taken before the selection.

    After the selection one score is left, and its softmax is always 1: the router would never get a
    gradient.

    Example:
        use "presets/nemotron_small.mimo"

        grid llm {
          dense  = tp:2 * dp:1
          expert = ep:2 * pp
        }

        module language : nemotron_small {
          grid = llm
          moe  = { topk = 1, score = softmax, expert_bias = false }
        }
    """
    moe = held.moe
    one_score = moe.topk == 1 and moe.score is Score.SOFTMAX and not moe.pre_softmax
    if one_score and moe.balance is not Balance.SINKHORN:
        yield Finding(
            message=f"the router of {code(held.name)} takes the softmax of one score",
            primary=spec.label(moe, "topk", "one expert per token"),
            secondary=(spec.label(moe, "score", "softmax, after the selection"),),
            notes=("the softmax of one score is 1: the router would get no gradient",),
            help=(f"write {code('pre_softmax = true')} or {code('score = sigmoid')}",),
        )


@rule(
    "MIMO544",
    "incomplete group-limited routing",
    scope=MOE,
    cost=Cost.SILENT,
    mirrors=(
        'transformer/transformer_config.py, "if self.moe_router_group_topk"',
        'transformer/transformer_config.py, "if self.moe_router_group_topk … raise ValueError"',
        'transformer/moe/moe_utils.py, "if group_topk"',
    ),
    seen="With `groups` alone, nothing: tokens go to experts of all groups. With `group_topk` "
    "alone, `moe_router_num_groups must be specified.`",
)
def half_groups(spec: Context, held: HeldMoe) -> Findings:
    """`groups` and `group_topk` belong together: the number of groups, and how many of them a token
    may use.

    megatron-core refuses `group_topk` alone; `groups` alone has no effect.

    Example:
        use "presets/nemotron_small.mimo"

        grid llm {
          dense  = tp:2 * dp:1
          expert = ep:2 * pp
        }

        module language : nemotron_small {
          grid = llm
          moe  = { groups = 4 }
        }
    """
    moe = held.moe
    if (moe.groups is None) == (moe.group_topk is None):
        return
    given, other = ("groups", "group_topk") if moe.groups else ("group_topk", "groups")
    yield Finding(
        message=f"the router of {code(held.name)} has {code(given)} without {code(other)}",
        primary=spec.label(moe, given, "half of group-limited routing"),
        secondary=(spec.label(moe, "experts", f"{moe.experts} experts"),),
        help=(f"set {code(_other_half(moe))}, or leave {code(given)} out",),
    )


def _other_half(moe: Moe) -> str:
    if moe.groups is not None:
        return f"group_topk = {min(moe.groups, moe.topk)}"
    fits = [size for size in divisors(moe.experts) if size >= (moe.group_topk or 1)]
    return f"groups = {min(fits, default=moe.experts)}"


@rule(
    "MIMO545",
    "expert groups that do not fit",
    scope=MOE,
    cost=Cost.SILENT,
    mirrors=(
        'transformer/transformer_config.py, "if not self.moe_router_num_groups"',
        'transformer/transformer_config.py, "assert self.num_moe_experts % self"',
        'transformer/moe/moe_utils.py, "scores.view(num_tokens, num_groups"',
    ),
    seen="Every rank stops: `should be divisible by` or `should be smaller than`. With too few "
    "experts in the groups, tokens go to fewer experts, or the router fails where `topk // "
    "group_topk` is 0.",
)
def group_sizes(spec: Context, held: HeldMoe) -> Findings:
    """Experts divide into groups, and the groups that a token may use hold enough experts for it.

    With too few experts, or with more groups than experts per token, megatron-core goes on: it
    ranks groups by a sum of no scores, or picks experts that it has just masked out.

    Example:
        use "presets/nemotron_small.mimo"

        grid llm {
          dense  = tp:2 * dp:1
          expert = ep:2 * pp
        }

        module language : nemotron_small {
          grid = llm
          moe  = { groups = 3, group_topk = 2 }
        }
    """
    moe = held.moe
    if moe.groups is None or moe.group_topk is None or moe.topk > moe.experts:
        return
    for field, message, help_line in _group_mistakes(moe, moe.groups, moe.group_topk):
        yield Finding(
            message=message,
            primary=spec.label(moe, field, f"{field} = {getattr(moe, field)}"),
            secondary=(
                spec.label(moe, "experts", f"{moe.experts} experts"),
                spec.label(moe, "topk", f"{moe.topk} per token"),
            ),
            help=(help_line,),
        )


def _group_mistakes(moe: Moe, groups: int, used: int) -> Iterator[tuple[str, str, str]]:
    """The field, what is wrong with it, and a value that is right."""
    if moe.experts % groups:
        fits = [code(f"groups = {d}") for d in nearest(groups, divisors(moe.experts))]
        message = f"{moe.experts} experts do not divide into {groups} groups"
        yield "groups", message, f"{either(fits)} divides them"
    elif used > groups or used > moe.topk:
        largest = min(groups, moe.topk)
        limit = f"there are only {groups}" if used > groups else f"it goes to {moe.topk} experts"
        message = f"a token cannot use {used} groups: {limit}"
        yield "group_topk", message, f"{code(f'group_topk = {largest}')} is the largest value"
    elif (size := moe.experts // groups) * used < moe.topk:
        smallest = -(-moe.topk // size)
        message = f"{used} groups of {size} experts hold fewer than the {moe.topk} of a token"
        yield "group_topk", message, f"{code(f'group_topk = {smallest}')} is the smallest value"


@rule(
    "MIMO546",
    "an overlap with shared experts that do not exist",
    scope=MOE,
    cost=Cost.WASTE,
    mirrors=('transformer/moe/moe_layer.py, "if self.use_shared_expert: assert"',),
    seen="Nothing: there is nothing to overlap.",
    severity=Severity.WARNING,
)
def lone_overlap(spec: Context, held: HeldMoe) -> Findings:
    """`shared_overlap` hides the time of shared experts, so it needs shared experts.

    Example:
        use "presets/nemotron_small.mimo"

        grid llm {
          dense  = tp:2 * dp:1
          expert = ep:2 * pp
        }

        module language : nemotron_small {
          grid = llm
          moe  = { shared_ffn = none, shared_overlap = true }
        }
    """
    moe = held.moe
    if moe.shared_overlap and moe.shared_ffn is None:
        yield Finding(
            message=f"{code(held.name)} overlaps shared experts, but has none",
            primary=spec.label(moe, "shared_overlap", "no effect"),
            secondary=(spec.label(moe, "experts", "only routed experts"),),
            help=(
                f"write {code('shared_overlap = false')}",
                f"or set their width, such as {code(f'shared_ffn = {moe.ffn}')}",
            ),
        )
