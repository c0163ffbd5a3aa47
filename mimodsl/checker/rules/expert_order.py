"""Rules about the order of axes in an expert view, where megatron-core expects one order."""

from mimodsl.checker.context import Context
from mimodsl.checker.phrases import code
from mimodsl.checker.rule import Cost, Finding, Findings, rule
from mimodsl.checker.scopes import MOE, GridView, HeldMoe
from mimodsl.ir.axes import EP, ETP, TP


@rule(
    "MIMO313",
    "ep before etp in an expert view",
    scope=MOE,
    cost=Cost.LATE,
    mirrors=(
        'transformer/moe/token_dispatcher.py, "self.ep_size, self.tp_size, self"',
        'transformer/moe/token_dispatcher.py, "routing_map.reshape(num_local_tokens"',
    ),
    seen="The first forward pass hangs or fails in an all-to-all: ranks send other numbers of "
    "tokens than the receivers expect.",
)
def parts_first(spec: Context, held: HeldMoe) -> Findings:
    """Where an expert view has etp and ep, etp stands before ep: the ranks that share an expert are
    neighbours.

    Ranks exchange their numbers of tokens over etp and ep together, and megatron-core reads the
    result in this order only.

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
    view = held.expert
    if view is None or min(held.grid.size(ETP), held.grid.size(EP)) == 1:
        return
    ep = view.stride(EP)
    if view.stride(ETP) < ep:
        return
    order = view.ordered(ETP, ep)
    assert order is not None, "etp can take the place of ep"
    yield Finding(
        message=f"{code('ep')} varies faster than {code('etp')} in the expert view of "
        f"{code(held.grid.name)}",
        primary=spec.axis_label(held.grid, EP, "spreads experts over neighbours"),
        secondary=(spec.axis_label(held.grid, ETP, "splits each expert"),),
        help=(f"order the view as {code(order)}",),
        edits=spec.writing(view.view, "axes", order),
    )


@rule(
    "MIMO314",
    "experts and other weights split over different ranks",
    scope=MOE,
    cost=Cost.SILENT,
    mirrors=(
        'tensor_parallel/layers.py, "class RowParallelLinear … use_expert_pgs"',
        'extensions/transformer_engine.py, "class TELinear … use_expert_pgs"',
    ),
    seen="Nothing. Gradients of experts are summed over ranks that hold different parts of them, "
    "and the loss falls less than it should.",
)
def same_parts(spec: Context, held: HeldMoe) -> Findings:
    """Where ep is 1 and etp equals tp, experts are split over the same ranks as tp.

    megatron-core then treats experts like all other weights, and sums their gradients over dp and
    cp. These ranks hold the same part of an expert only if etp joins the same ranks as tp.

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
    view, tp = held.expert, held.grid.size(TP)
    if view is None or held.grid.size(EP) > 1 or held.grid.size(ETP) != tp or tp == 1:
        return
    tp_stride, etp_stride = GridView(held.grid, held.grid.base).stride(TP), view.stride(ETP)
    if tp_stride == etp_stride:
        return
    order = view.ordered(ETP, tp_stride)
    yield Finding(
        message=f"{code(held.name)} does not split experts over the ranks of its other weights",
        primary=spec.axis_label(held.grid, ETP, f"joins ranks {etp_stride} apart"),
        secondary=(spec.axis_label(held.grid, TP, f"joins ranks {tp_stride} apart"),),
        help=(
            f"order the view as {code(order)}"
            if order
            else f"begin the base view with {code('tp')} and the expert view with {code('etp')}",
        ),
        edits=() if order is None else spec.writing(view.view, "axes", order),
    )
