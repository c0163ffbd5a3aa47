"""The order of axes of an expert view, where megatron-core takes one for granted."""

from mimodsl.checker.context import Context
from mimodsl.checker.phrases import code
from mimodsl.checker.rule import Cost, Finding, Findings, rule
from mimodsl.checker.scopes import MOE, GridView, HeldMoe


@rule(
    "MIMO313",
    "expert parallelism that varies faster than expert tensor parallelism",
    scope=MOE,
    cost=Cost.LATE,
    mirrors=("transformer/moe/token_dispatcher.py:568", "transformer/moe/token_dispatcher.py:1843"),
    seen="The first forward pass hangs or fails in an all-to-all: ranks send other numbers of "
    "tokens than are received.",
)
def parts_first(spec: Context, held: HeldMoe) -> Findings:
    """Where an expert view has etp and ep, etp stands before ep: the ranks of an expert come first.

    Ranks tell each other how many tokens they send, over etp and ep together, and megatron-core
    reads what it gets in this order alone.

    Example:
        use "presets/nemotron_small.mimo"

        grid llm {
          dense  = tp:2 * dp:2
          expert = ep:2 * etp:2 * pp
        }

        module language : nemotron_small {
          grid = llm
        }
    """
    one = held.expert
    if one is None or min(held.grid.size("etp"), held.grid.size("ep")) == 1:
        return
    ep = one.stride("ep")
    if one.stride("etp") < ep:
        return
    order = one.ordered("etp", ep)
    assert order is not None, "etp has the place that ep has"
    yield Finding(
        message=f"{code('ep')} varies faster than {code('etp')} in the expert view of "
        f"{code(held.grid.name)}",
        primary=spec.axis_label(held.grid, "ep", "spreads experts over neighbours"),
        secondary=(spec.axis_label(held.grid, "etp", "splits each of them"),),
        help=(f"order the view as {code(order)}",),
        edits=spec.writing(one.view, "axes", order),
    )


@rule(
    "MIMO314",
    "experts split over other ranks than everything else",
    scope=MOE,
    cost=Cost.SILENT,
    mirrors=("tensor_parallel/layers.py:1379", "extensions/transformer_engine.py:982"),
    seen="Nothing. Gradients of experts are summed over ranks that hold other parts of them, and "
    "the loss falls less than it should.",
)
def same_parts(spec: Context, held: HeldMoe) -> Findings:
    """Where ep is 1 and etp equals tp, experts are split over the very ranks of tp.

    megatron-core then takes experts for weights like all others, and sums their gradients over dp
    and cp. These ranks hold the same part of an expert only where etp joins the ranks that tp does.

    Example:
        use "presets/nemotron_small.mimo"

        grid llm {
          dense  = dp:2  * tp:2
          expert = etp:2 * edp:2 * pp
        }

        module language : nemotron_small {
          grid = llm
        }
    """
    one, tp = held.expert, held.grid.size("tp")
    if one is None or held.grid.size("ep") > 1 or held.grid.size("etp") != tp or tp == 1:
        return
    wanted, found = GridView(held.grid, held.grid.base).stride("tp"), one.stride("etp")
    if wanted == found:
        return
    order = one.ordered("etp", wanted)
    yield Finding(
        message=f"{code(held.name)} splits experts over other ranks than the rest of its weights",
        primary=spec.axis_label(held.grid, "etp", f"joins ranks {found} apart"),
        secondary=(spec.axis_label(held.grid, "tp", f"joins ranks {wanted} apart"),),
        help=(
            f"order the view as {code(order)}"
            if order
            else f"begin both views, with {code('tp')} and with {code('etp')}",
        ),
        edits=() if order is None else spec.writing(one.view, "axes", order),
    )
