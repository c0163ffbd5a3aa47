"""Rules about balancing experts: capacities, balancing losses and sinkhorn routing."""

from collections.abc import Iterator
from typing import Final

from mimodsl.checker.context import Context
from mimodsl.checker.phrases import code
from mimodsl.checker.rule import Cost, Finding, Findings, rule
from mimodsl.checker.scopes import MOE, HeldMoe
from mimodsl.diagnostics import Severity
from mimodsl.ir import Balance, Dispatcher, Moe, Score


@rule(
    "MIMO547",
    "a router that cannot pad to its capacity",
    scope=MOE,
    cost=Cost.RAISES,
    mirrors=(
        'transformer/transformer_config.py, "if self.moe_expert_capacity_factor is None"',
        'transformer/transformer_config.py, "if self.moe_pad_expert_input_to_capacity and"',
    ),
    seen="Every rank stops: `moe_expert_capacity_factor must be set to use "
    "moe_pad_expert_input_to_capacity` or `Flex token dispatcher with deepep backend does "
    "not support`.",
)
def padding(spec: Context, held: HeldMoe) -> Findings:
    """`pad_to_capacity` needs a `capacity_factor`, and a dispatcher that pads.

    megatron-core pads the tokens of each expert up to its capacity. The `flex` dispatcher (its
    deepep backend) does not pad.

    Example:
        use "presets/nemotron_small.mimo"

        grid llm {
          dense  = tp:2 * dp:1
          expert = ep:2 * pp
        }

        module language : nemotron_small {
          grid = llm
          moe  = { pad_to_capacity = true }
        }
    """
    moe = held.moe
    if moe.pad_to_capacity and moe.capacity_factor is None:
        yield Finding(
            message=f"{code(held.name)} pads experts to a capacity, but sets no capacity factor",
            primary=spec.label(moe, "pad_to_capacity", "no capacity to pad to"),
            secondary=(spec.label(moe, "experts", f"{moe.experts} experts"),),
            help=(f"{code('capacity_factor = 1.0')} gives each expert an even share",),
        )
    if moe.pad_to_capacity and moe.dispatcher is Dispatcher.FLEX:
        yield Finding(
            message=f"the {code('flex')} dispatcher of {code(held.name)} does not pad tokens",
            primary=spec.label(moe, "pad_to_capacity", "padded to capacity"),
            secondary=(spec.label(moe, "dispatcher", "does not pad"),),
            help=(f"write {code('dispatcher = alltoall')} or {code('pad_to_capacity = false')}",),
        )


@rule(
    "MIMO540",
    "experts padded to more tokens than exist",
    scope=MOE,
    cost=Cost.LATE,
    mirrors=(
        'transformer/moe/moe_utils.py, "def permute … indices_dim1"',
        'transformer/moe/moe_utils.py, "def get_capacity"',
    ),
    seen="Every rank stops in its first forward pass: torch cannot reshape the probabilities to so "
    "many for each expert, such as 144 of 128.",
)
def overfull(spec: Context, held: HeldMoe) -> Findings:
    """With `pad_to_capacity`, the capacity of an expert is at most the number of tokens.

    The capacity is `capacity_factor` times an even share, tokens · topk / experts. For each expert,
    megatron-core selects that many tokens, and fails where there are fewer.

    Example:
        use "presets/nemotron_small.mimo"

        grid llm {
          dense  = tp:2 * dp:1
          expert = ep:2 * pp
        }

        module language : nemotron_small {
          grid = llm
          moe  = { capacity_factor = 4.5, pad_to_capacity = true }
        }
    """
    moe, factor = held.moe, held.moe.capacity_factor
    if not moe.pad_to_capacity or factor is None or moe.topk > moe.experts:
        return
    share = factor * moe.topk
    if share > moe.experts:
        enough = code(f"capacity_factor = {moe.experts // moe.topk}.0")
        yield Finding(
            message=f"each expert of {code(held.name)} is padded to {share:g} tokens of every "
            f"{moe.experts}",
            primary=spec.label(moe, "capacity_factor", f"{factor:g} · topk = {share:g}"),
            secondary=(spec.label(moe, "experts", f"{moe.experts} experts"),),
            help=(f"{enough} has room for every token", "or leave `pad_to_capacity` out"),
        )


@rule(
    "MIMO548",
    "a capacity together with sinkhorn balancing",
    scope=MOE,
    cost=Cost.RAISES,
    mirrors=(
        'transformer/transformer_config.py, "elif self.moe_router_load_balancing_type"',
        'transformer/transformer_config.py, "if load_balancing_type not in … raise ValueError"',
    ),
    seen="Every rank stops: `moe_expert_capacity_factor only works with aux_loss`.",
)
def capacity_balance(spec: Context, held: HeldMoe) -> Findings:
    """A router drops tokens by capacity only with an auxiliary loss or without balancing.

    Example:
        use "presets/nemotron_small.mimo"

        grid llm {
          dense  = tp:2 * dp:1
          expert = ep:2 * pp
        }

        module language : nemotron_small {
          grid = llm
          moe  = {
            capacity_factor = 1.5
            balance         = sinkhorn
            score           = softmax
            expert_bias     = false
            scaling         = none
          }
        }
    """
    moe = held.moe
    if moe.capacity_factor is not None and moe.balance is Balance.SINKHORN:
        yield Finding(
            message=f"the router of {code(held.name)} combines a capacity with sinkhorn balancing",
            primary=spec.label(moe, "capacity_factor", "drops tokens"),
            secondary=(spec.label(moe, "balance", "sinkhorn"),),
            help=(f"write {code('capacity_factor = none')} or {code('balance = aux_loss')}",),
        )


@rule(
    "MIMO549",
    "a coefficient for a loss that does not exist",
    scope=MOE,
    cost=Cost.LATE,
    mirrors=(
        'transformer/moe/router.py, "assert self.config.moe_aux_loss_coeff"',
        'transformer/moe/router.py, "def get_aux_loss_coeff"',
    ),
    seen="With sinkhorn, the first forward pass stops: `Sinkhorn routing does not support aux "
    "loss.` Without a balancing loss, nothing: the coefficient is read as 0.",
)
def lone_coefficient(spec: Context, held: HeldMoe) -> Findings:
    """`aux_loss` scales the balancing loss, so `balance` must select one.

    With `sinkhorn`, megatron-core refuses the first forward pass; with `none`, the coefficient has
    no effect.

    Example:
        use "presets/nemotron_small.mimo"

        grid llm {
          dense  = tp:2 * dp:1
          expert = ep:2 * pp
        }

        module language : nemotron_small {
          grid = llm
          moe  = { aux_loss = 1e-4, balance = none }
        }
    """
    moe = held.moe
    if moe.aux_loss > 0 and moe.balance in (Balance.NONE, Balance.SINKHORN):
        yield Finding(
            message=f"{code(held.name)} has a coefficient for a balancing loss, but no such loss",
            primary=spec.label(moe, "aux_loss", f"{moe.aux_loss}, but no loss"),
            secondary=(spec.label(moe, "balance", f"{moe.balance}: no loss"),),
            help=(f"write {code('balance = seq_aux_loss')} or {code('aux_loss = 0')}",),
        )


@rule(
    "MIMO550",
    "router settings that sinkhorn balancing ignores",
    scope=MOE,
    cost=Cost.SILENT,
    mirrors=(
        'transformer/moe/router.py, "# Apply Z-Loss … self.routing_type"',
        'transformer/moe/router.py, "def _sinkhorn_activation"',
    ),
    seen="Nothing. The router uses other scores than the spec says.",
    severity=Severity.WARNING,
)
def beside_sinkhorn(spec: Context, held: HeldMoe) -> Findings:
    """Sinkhorn balancing computes its own scores: a sigmoid for one expert per token, a softmax for
    several.

    It silently ignores another score, an expert bias, a scaling factor and expert groups. So the
    run trains a router with other scores than the spec says.

    Example:
        use "presets/nemotron_small.mimo"

        grid llm {
          dense  = tp:2 * dp:1
          expert = ep:2 * pp
        }

        module language : nemotron_small {
          grid = llm
          moe  = { balance = sinkhorn, scaling = none, expert_bias = false }
        }
    """
    moe = held.moe
    if moe.balance is not Balance.SINKHORN:
        return
    for field, neutral in _ignored_by_sinkhorn(moe):
        value = _written(getattr(moe, field))
        yield Finding(
            message=f"sinkhorn balancing ignores {code(field)} of {code(held.name)}",
            primary=spec.label(moe, field, f"{value}: ignored"),
            secondary=(spec.label(moe, "balance", "sinkhorn"),),
            help=(f"write {code(f'{field} = {neutral}')}, or {code('balance = none')} to keep it",),
        )


def _ignored_by_sinkhorn(moe: Moe) -> Iterator[tuple[str, str]]:
    """Fields that sinkhorn ignores, and the value that states the same."""
    sinkhorn_score = Score.SIGMOID if moe.topk == 1 else Score.SOFTMAX
    if moe.score is not sinkhorn_score:
        yield "score", sinkhorn_score.value
    for field, neutral in _NEUTRAL.items():
        if getattr(moe, field) not in (None, False):
            yield field, neutral


_NEUTRAL: Final = {"expert_bias": "false", "scaling": "none", "groups": "none"}


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
