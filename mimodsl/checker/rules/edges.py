"""Rules about bridges: how replicas of an encoder and of the language model exchange data."""

from collections.abc import Iterable, Iterator

from mimodsl.checker.arithmetic import divides_one_way, divisors, nearest, next_multiple
from mimodsl.checker.context import Context
from mimodsl.checker.phrases import code, either
from mimodsl.checker.rule import Cost, Finding, Findings, rule
from mimodsl.checker.scopes import ROUTE, Held, Route, spans_of
from mimodsl.ir import Precision
from mimodsl.ir.axes import CP, DP, PP, TP
from mimodsl.ir.kinds import Kind
from mimodsl.planner.families import family_of


def is_colocated(spec: Context, route: Route) -> bool:
    """Whether a flow's encoder and language model share ranks, as far as the spec is sound."""
    a, b = route.encoder.grid.name, route.language.grid.name
    spans = spans_of(spec.draft)
    return a == b or (a in spans and b in spans and _overlap(spans[a], spans[b]))


def _overlap(a: range, b: range) -> bool:
    return max(a.start, b.start) < min(a.stop, b.stop)


@rule(
    "MIMO621",
    "context parallelism at a bridge",
    scope=ROUTE,
    cost=Cost.RAISES,
    mirrors=(
        'pipeline_parallel/bridge_communicator.py, "assert self.src_grid.shape[self"',
        'pipeline_parallel/bridge_communicator.py, "assert self.dest_grid.shape[self"',
        'models/mimo/comm/colocated_communicator.py, "if size != 1"',
    ),
    seen="Every rank stops while bridges are built: `Source grid CP size must be 1, got`, or `must "
    "be 1 for`.",
)
def context_parallel(spec: Context, route: Route) -> Findings:
    """With images, cp is 1 on the grid of the encoder and on the grid of the language model.

    megatron-core cannot bridge grids with context parallelism; a language model alone may
    have cp.

    Example:
        use "presets/nemotron_small.mimo"

        grid encoder {
          dense = dp:2
        }

        grid llm {
          dense  = tp:2 * cp:2  * dp:2
          expert = ep:2 * edp:4 * pp
        }

        place encoder | llm

        module vision : radio_small {
          grid = encoder
        }

        module projector : mlp_projector {
          grid = encoder
        }

        module language : nemotron_small {
          grid = llm
        }

        flow vision -> projector -> language {
          token = 511
        }
    """
    for held in _ends(route):
        cp, dp, tp = (held.size(axis) for axis in (CP, DP, TP))
        if cp > 1:
            yield Finding(
                message=f"the flow of {code(route.encoder.name)} cannot cross a bridge with "
                f"{code(f'cp:{cp}')}",
                primary=spec.axis_label(held.grid, CP, "context parallelism"),
                secondary=(spec.label(route.flow, "path", "a bridge"),),
                help=(
                    f"use {code('cp:1')} with {code(f'dp:{dp * cp}')} or {code(f'tp:{tp * cp}')}",
                ),
            )


def _ends(route: Route) -> Iterator[Held[Kind]]:
    yield Held(route.encoder.module, route.encoder.kind, route.encoder.grid)
    if route.language.grid is not route.encoder.grid:
        yield Held(route.language.module, route.language.kind, route.language.grid)


@rule(
    "MIMO622",
    "a pipeline on the encoder's ranks",
    scope=ROUTE,
    cost=Cost.RAISES,
    mirrors=(
        'models/mimo/comm/colocated_communicator.py, "if size != 1"',
        'models/mimo/config/role.py, "def _all_grids_colocated"',
    ),
    seen="Every rank stops while bridges are built: `must be 1 for`, `ColocatedBridgeCommunicator, "
    "got`.",
)
def colocated_pipeline(spec: Context, route: Route) -> Findings:
    """A language model that shares ranks with its encoder has one pipeline stage.

    Example:
        use "presets/nemotron_small.mimo"

        grid encoder {
          dense = dp:4
        }

        grid llm {
          dense  = tp:2 * dp:1 * pp:2
          expert = ep:2 * pp
        }

        place encoder & llm

        module vision : radio_small {
          grid = encoder
        }

        module projector : mlp_projector {
          grid = encoder
        }

        module language : nemotron_small {
          grid    = llm
          pattern = "MEM|*EM"
        }

        flow vision -> projector -> language {
          token = 511
        }
    """
    language, pp = route.language, route.language.size(PP)
    if pp == 1 or not is_colocated(spec, route):
        return
    place, dp = spec.draft.place, language.size(DP)
    shared = route.encoder.grid is language.grid
    yield Finding(
        message=f"{code(language.name)} has {pp} pipeline stages on the ranks of its encoder "
        f"{code(route.encoder.name)}",
        primary=spec.axis_label(language.grid, PP, f"{pp} stages"),
        secondary=(
            spec.label(route.encoder.module, "grid", "on the same ranks"),
            *(() if shared or place is None else (spec.label(place, None, "placed here"),)),
        ),
        help=(_apart_help(route), f"or use {code('pp:1')} with {code(f'dp:{dp * pp}')}"),
    )


def _apart_help(route: Route) -> str:
    a, b = route.encoder.grid.name, route.language.grid.name
    if a == b:
        return f"give {code(route.encoder.name)} its own grid, beside {code(b)}"
    return f"{code(f'place {a} | {b}')} gives each its own ranks"


@rule(
    "MIMO623",
    "replicas that do not divide evenly",
    scope=ROUTE,
    cost=Cost.RAISES,
    mirrors=(
        'pipeline_parallel/bridge_communicator.py, "if src_count % dest_count != 0"',
        'models/mimo/comm/colocated_communicator.py, "if src_dp % dest_dp != 0 and dest_dp"',
    ),
    seen="Every rank stops while bridges are built: `must be evenly divisible.` or `DP sizes must "
    "be evenly divisible`.",
)
def fan(spec: Context, route: Route) -> Findings:
    """Of the dp sizes of an encoder and of the language model, one is a multiple of the other.

    One replica feeds several (fan-out), or several feed one (fan-in), always the same number.

    Example:
        use "presets/nemotron_small.mimo"

        grid encoder {
          dense = dp:3
        }

        grid llm {
          dense  = dp:2
          expert = ep:2 * pp
        }

        place encoder | llm

        module vision : radio_small {
          grid = encoder
        }

        module projector : mlp_projector {
          grid = encoder
        }

        module language : nemotron_small {
          grid = llm
        }

        flow vision -> projector -> language {
          token = 511
        }
    """
    a, b = route.encoder.size(DP), route.language.size(DP)
    if not divides_one_way(a, b):
        fits = replicas(spec, route, (*divisors(b), next_multiple(a, b)))
        yield Finding(
            message=f"{a} replicas of {code(route.encoder.name)} and {b} replicas of "
            f"{code(route.language.name)} do not divide evenly",
            primary=spec.axis_label(route.encoder.grid, DP, f"{a} replicas"),
            secondary=(
                spec.axis_label(route.language.grid, DP, f"{b} replicas"),
                spec.label(route.flow, "path", "the bridge between them"),
            ),
            help=(f"{fits} in {code(route.encoder.grid.name)} divides evenly",),
        )


def replicas(spec: Context, route: Route, sizes: Iterable[int]) -> str:
    """The nearest of some dp sizes for an encoder; on shared ranks, with the tp that fits."""
    grid, dp = route.encoder.grid, route.encoder.size(DP)
    if not is_colocated(spec, route):
        return either(code(f"dp:{size}") for size in nearest(dp, sizes))
    both = dp * grid.size(TP)
    fits = nearest(dp, (size for size in sizes if both % size == 0))
    return either(f"{code(f'dp:{size}')} with {code(f'tp:{both // size}')}" for size in fits)


@rule(
    "MIMO625",
    "image embeddings in another precision than the residual stream",
    scope=ROUTE,
    cost=Cost.LATE,
    mirrors=(
        (
            "models/common/embeddings/language_model_embedding.py, "
            '"if self.config.fp32_residual_connection"'
        ),
        'models/mimo/model/base.py, "expanded_mask = mask.unsqueeze"',
        'transformer/transformer_config.py, "if self.fp32_residual_connection"',
    ),
    seen="The first forward pass stops: `masked_scatter_` needs two tensors of one type; between "
    "grids, a bridge reads the bytes of one type as another type.",
)
def residual_precision(spec: Context, route: Route) -> Findings:
    """With images, the residual stream has the precision of the weights.

    `residual_fp32` makes text embeddings fp32, while images arrive in the training precision.
    megatron-core cannot put the two into one tensor, and its bridges would receive images into
    buffers of the wrong type.

    Example:
        use "presets/nemotron_small.mimo"

        grid llm {
          dense  = dp:2
          expert = ep:2 * pp
        }

        module vision : radio_small {}

        module projector : mlp_projector {}

        module language : nemotron_small {
          residual_fp32 = true
        }

        flow vision -> projector -> language {
          token = 511
        }

        train {
          precision = bf16
        }
    """
    train, kind = spec.draft.train, route.language.kind
    is_wide = family_of(kind).residual_fp32(kind)
    if train is not None and is_wide and train.precision is not Precision.FP32:
        yield Finding(
            message=f"the residual stream of {code(route.language.name)} is fp32, "
            f"but the embeddings of {code(route.encoder.name)} are {train.precision}",
            primary=spec.label(kind, "residual_fp32", "text embeddings in fp32"),
            secondary=(spec.label(train, "precision", f"images in {train.precision}"),),
            help=(f"write {code('residual_fp32 = false')} or {code('precision = fp32')}",),
        )
