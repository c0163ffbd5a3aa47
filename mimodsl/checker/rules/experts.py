"""Rules about experts on their ranks: the expert view, what it divides, and the dispatchers."""

from mimodsl.checker.arithmetic import division, divisors, nearest, next_multiple
from mimodsl.checker.context import Context
from mimodsl.checker.phrases import code, either
from mimodsl.checker.rule import Cost, Finding, Findings, rule
from mimodsl.checker.scopes import GRID, MOE, HeldMoe, is_sound
from mimodsl.ir import Dispatcher, Grid
from mimodsl.ir.axes import EDP, EP, ETP, PP, TP


def _stage_ranks(grid: Grid) -> int:
    """The ranks of one pipeline stage."""
    return grid.world // grid.size(PP)


@rule(
    "MIMO531",
    "experts that do not divide over expert parallelism",
    scope=MOE,
    cost=Cost.RAISES,
    mirrors=('transformer/moe/moe_layer.py, "assert self.config.num_moe_experts"',),
    seen="A bare assertion fails while a rank builds its first layer with experts.",
)
def experts_by_ep(spec: Context, held: HeldMoe) -> Findings:
    """Every rank along ep holds the same number of experts.

    Example:
        use "presets/nemotron_small.mimo"

        grid llm {
          dense  = tp:2  * dp:3
          expert = etp:1 * ep:3 * edp:2 * pp
        }

        module language : nemotron_small {
          grid = llm
        }
    """
    if held.expert is None or held.moe.experts % (ep := held.grid.size(EP)) == 0:
        return
    experts = held.moe.experts
    stage = _stage_ranks(held.grid) // held.grid.size(ETP)
    fits = nearest(ep, (size for size in divisors(experts) if stage % size == 0))
    options = [f"{code(f'ep:{size}')} with {code(f'edp:{stage // size}')}" for size in fits]
    yield Finding(
        message=f"{experts} experts do not divide over {code(f'ep:{ep}')}",
        primary=spec.axis_label(held.grid, EP, division(experts, ep)),
        secondary=(spec.label(held.moe, "experts", f"{experts} experts"),),
        help=(
            f"{either(options)} divides them",
            f"so does {code(f'experts = {next_multiple(experts, ep)}')}",
        ),
    )


@rule(
    "MIMO532",
    "experts on a grid without an expert view",
    scope=MOE,
    cost=Cost.SILENT,
    mirrors=(
        'process_groups_config.py, "return None"',
        'transformer/moe/moe_layer.py, "ep_size = utils.get_pg_size(self.ep_group)"',
    ),
    seen="Nothing at first. Gradients of experts are summed over ranks that hold different "
    "experts, and the loss falls less than it should.",
)
def no_expert_view(spec: Context, held: HeldMoe) -> Findings:
    """A model with experts needs a grid with an expert view, which says how the experts are spread.

    Without it there are no expert groups. In some places megatron-core reads a missing group as one
    rank, in others as the whole world, and it sums gradients of experts over ranks that do not
    share them.

    Example:
        use "presets/nemotron_small.mimo"

        grid llm {
          dense = tp:2 * dp:2
        }

        module language : nemotron_small {
          grid = llm
        }
    """
    if held.grid.expert is not None:
        return
    stage = _stage_ranks(held.grid)
    ep = max(size for size in divisors(stage) if held.moe.experts % size == 0)
    view = f"expert = etp:1 * ep:{ep} * edp:{stage // ep} * pp"
    yield Finding(
        message=f"{code(held.name)} has experts, but its grid "
        f"{code(held.grid.name)} has no expert view",
        primary=spec.label(held.grid, "name", "no expert view"),
        secondary=(spec.label(held.moe, "experts", f"{held.moe.experts} experts"),),
        help=(f"{code(view)} spreads them over the {stage} ranks of a stage",),
    )


@rule(
    "MIMO533",
    "expert parallelism without experts",
    scope=GRID,
    cost=Cost.WASTE,
    mirrors=('transformer/transformer_config.py, "if self.expert_model_parallel_size"',),
    seen="Nothing here. A config without experts stops: `num_moe_experts must be non None to use "
    "expert-parallel.`",
)
def idle_expert_view(spec: Context, grid: Grid) -> Findings:
    """An expert view with ep or etp above 1 is for a model with experts.

    megatron-core refuses expert parallelism in a config without experts. Here the view would have
    no effect, which is hardly intended.

    Example:
        grid llm {
          dense  = tp:2  * dp:2
          expert = etp:1 * ep:4 * edp:1 * pp
        }

        module language : gpt {
          grid       = llm
          layers     = 2
          hidden     = 64
          vocabulary = 512
          attention  = { heads = 4 }
        }
    """
    modules = [module for module in spec.draft.modules if module.grid == grid.name]
    axis = next((name for name in (EP, ETP) if grid.size(name) > 1), None)
    if grid.expert is None or axis is None or not modules or not is_sound(grid):
        return
    if any(held.grid is grid for held in MOE.subjects(spec)):
        return
    names = either((code(module.name) for module in modules), "and")
    yield Finding(
        message=f"no module on grid {code(grid.name)} has experts",
        primary=spec.axis_label(grid, axis, "spreads experts"),
        secondary=tuple(spec.label(module, "name", "no experts") for module in modules),
        help=(f"leave the expert view out, or give {names} a {code('moe')} block",),
    )


@rule(
    "MIMO534",
    "experts and tensor parallelism without sequence parallelism",
    scope=MOE,
    cost=Cost.LATE,
    mirrors=('transformer/moe/moe_layer.py, "if self.training and self.attn_tp_group"',),
    seen="Every rank stops in the first step: `performance may degrade if MoE and tensor "
    "parallelism`.",
)
def experts_unsplit_sequence(spec: Context, held: HeldMoe) -> Findings:
    """With tp above 1, a model with experts splits its sequence over tp.

    Otherwise every tp rank would route the same tokens. megatron-core builds such a model, but
    refuses its first forward pass in training.

    Example:
        use "presets/nemotron_small.mimo"

        grid llm {
          dense  = tp:2 * dp:1
          expert = ep:2 * pp
        }

        module language : nemotron_small {
          grid              = llm
          sequence_parallel = false
        }
    """
    if held.grid.size(TP) > 1 and not held.language.splits_sequence:
        yield Finding(
            message=f"{code(held.name)} has experts and tensor parallelism, "
            "but does not split its sequence",
            primary=spec.label(held.language.kind, "sequence_parallel", "not split over tp"),
            secondary=(
                spec.axis_label(held.grid, TP, f"{held.grid.size('tp')} tp ranks"),
                spec.label(held.moe, "experts", "experts"),
            ),
            notes=("every tp rank would route the same tokens",),
            help=("leave `sequence_parallel` out: it is on when tp is above 1",),
            edits=spec.writing(held.language.kind, "sequence_parallel", "none"),
        )


@rule(
    "MIMO535",
    "expert tensor parallelism that does not divide an expert",
    scope=MOE,
    cost=Cost.RAISES,
    mirrors=(
        'tensor_parallel/layers.py, "self.output_size_per_partition ="',
        'tensor_parallel/layers.py, "self.input_size_per_partition ="',
    ),
    seen="A rank stops while it builds its experts: an assertion says that one number is not "
    "divisible by another.",
)
def expert_width(spec: Context, held: HeldMoe) -> Findings:
    """Each rank along etp holds an equal part of every expert's width.

    Example:
        use "presets/nemotron_small.mimo"

        grid llm {
          dense  = tp:2  * dp:3
          expert = etp:3 * ep:2 * pp
        }

        module language : nemotron_small {
          grid = llm
        }
    """
    etp, ffn = held.grid.size(ETP), held.moe.ffn
    if held.expert is None or ffn % etp == 0:
        return
    stage = _stage_ranks(held.grid) // held.grid.size(EP)
    fits = nearest(etp, (size for size in divisors(ffn) if stage % size == 0))
    options = [f"{code(f'etp:{size}')} with {code(f'edp:{stage // size}')}" for size in fits]
    yield Finding(
        message=f"experts of width {ffn} do not divide over {code(f'etp:{etp}')}",
        primary=spec.axis_label(held.grid, ETP, division(ffn, etp)),
        secondary=(spec.label(held.moe, "ffn", f"{ffn} wide"),),
        help=(
            f"{either(options)} divides them",
            f"so does {code(f'ffn = {next_multiple(ffn, etp)}')}",
        ),
    )


@rule(
    "MIMO536",
    "biases in experts that tensor parallelism splits",
    scope=MOE,
    cost=Cost.RAISES,
    mirrors=('transformer/transformer_config.py, "is not None and self.add_bias_linear"',),
    seen="Every rank stops: `Bias in Moe is only supported when ETP==1`.",
)
def bias_with_etp(spec: Context, held: HeldMoe) -> Findings:
    """Experts with biases are not split: etp is 1.

    Example:
        use "presets/nemotron_small.mimo"

        grid llm {
          dense  = tp:2  * dp:1
          expert = etp:2 * pp
        }

        module language : nemotron_small {
          grid = llm
          bias = true
          moe  = { shared_ffn = none }
        }
    """
    etp = held.grid.size(ETP)
    if held.language.kind.bias and held.expert is not None and etp > 1:
        edp = etp * held.grid.size(EDP)
        yield Finding(
            message=f"the experts of {code(held.name)} have biases and are split over "
            f"{code(f'etp:{etp}')}",
            primary=spec.axis_label(held.grid, ETP, "splits every expert"),
            secondary=(spec.label(held.language.kind, "bias", "biases in linear layers"),),
            help=(f"use {code('bias = false')}, or {code('etp:1')} with {code(f'edp:{edp}')}",),
        )


@rule(
    "MIMO537",
    "biases in shared experts",
    scope=MOE,
    cost=Cost.RAISES,
    mirrors=('transformer/moe/shared_experts.py, "assert config.add_bias_linear"',),
    seen="A rank stops while it builds its first layer with experts: `bias is not supported in the "
    "shared experts`.",
)
def bias_with_shared(spec: Context, held: HeldMoe) -> Findings:
    """Shared experts have no biases.

    Example:
        use "presets/nemotron_small.mimo"

        grid llm {
          dense  = tp:2 * dp:1
          expert = ep:2 * pp
        }

        module language : nemotron_small {
          grid = llm
          bias = true
        }
    """
    if held.language.kind.bias and held.moe.shared_ffn is not None:
        yield Finding(
            message=f"the shared experts of {code(held.name)} cannot have biases",
            primary=spec.label(held.language.kind, "bias", "biases in linear layers"),
            secondary=(spec.label(held.moe, "shared_ffn", "shared experts"),),
            help=(f"write {code('bias = false')} or {code('shared_ffn = none')}",),
        )


@rule(
    "MIMO538",
    "a flex dispatcher with only one rank",
    scope=MOE,
    cost=Cost.RAISES,
    mirrors=('transformer/moe/token_dispatcher.py, "DeepEP dispatcher requires TPxEP"',),
    seen="A rank stops while it builds its first layer with experts: `DeepEP dispatcher requires "
    "TPxEP > 1`.",
)
def lone_flex(spec: Context, held: HeldMoe) -> Findings:
    """The `flex` dispatcher sends tokens between etp·ep ranks, so there must be several.

    Example:
        use "presets/nemotron_small.mimo"

        grid llm {
          dense  = tp:2  * dp:1
          expert = edp:2 * pp
        }

        module language : nemotron_small {
          grid = llm
          moe  = { dispatcher = flex }
        }
    """
    flex = held.moe.dispatcher is Dispatcher.FLEX
    if flex and held.expert and held.grid.size(ETP) * held.grid.size(EP) == 1:
        yield Finding(
            message=f"the {code('flex')} dispatcher of {code(held.name)} has only one rank",
            primary=spec.label(held.moe, "dispatcher", "needs etp·ep above 1"),
            secondary=(spec.view_label(held.expert.view, "etp·ep = 1"),),
            help=(f"{code('dispatcher = alltoall')} also works on one rank",),
            edits=spec.writing(held.moe, "dispatcher", "alltoall"),
        )


@rule(
    "MIMO539",
    "a dispatcher that needs sequences of equal length",
    scope=MOE,
    cost=Cost.RAISES,
    mirrors=(
        'transformer/transformer_config.py, "must be a non-negative … allgather"',
        'transformer/transformer_config.py, "moe_shared_expert_overlap only"',
        'pipeline_parallel/schedules.py, "if not config.variable_seq_lengths"',
    ),
    seen="Every rank stops: `variable sequence length, please use alltoall dispatcher instead.`",
)
def allgather(spec: Context, held: HeldMoe) -> Findings:
    """The `allgather` dispatcher is not available: every model is built for sequences of varying
    length.

    The schedule over several modules sets `variable_seq_lengths`, and megatron-core refuses the
    allgather dispatcher with it.

    Example:
        use "presets/nemotron_small.mimo"

        grid llm {
          dense  = tp:2 * dp:1
          expert = ep:2 * pp
        }

        module language : nemotron_small {
          grid = llm
          moe  = { dispatcher = allgather }
        }
    """
    if held.moe.dispatcher is Dispatcher.ALLGATHER:
        yield Finding(
            message=f"the {code('allgather')} dispatcher needs sequences of equal length",
            primary=spec.label(held.moe, "dispatcher", "refused by megatron-core"),
            notes=("the schedule over several modules allows sequences of any length",),
            help=(f"write {code('dispatcher = alltoall')}",),
            edits=spec.writing(held.moe, "dispatcher", "alltoall"),
        )
