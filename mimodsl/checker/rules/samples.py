"""Rules about samples: how a batch divides over the replicas of both ends of a flow."""

from mimodsl.checker.arithmetic import divides_one_way, divisors, next_multiple
from mimodsl.checker.context import Context
from mimodsl.checker.phrases import code, count, either
from mimodsl.checker.rule import Cost, Finding, Findings, rule
from mimodsl.checker.rules.edges import is_colocated, replicas
from mimodsl.checker.scopes import ROUTE, GridView, Route, spans_of
from mimodsl.ir import Grid, View
from mimodsl.ir.axes import CP, DP, PP


@rule(
    "MIMO624",
    "samples that do not divide over an encoder's replicas",
    scope=ROUTE,
    cost=Cost.LATE,
    mirrors=(
        'models/mimo/comm/colocated_communicator.py, "if batch_size % self.scale != 0"',
        'pipeline_parallel/bridge_communicator.py, "if src_count % dest_count != 0"',
    ),
    seen="The first step stops: `not divisible by`; or replicas send other shares than the "
    "receivers expect, and ranks wait.",
)
def samples(spec: Context, route: Route) -> Findings:
    """The samples of a microbatch divide over the replicas of the encoder.

    A microbatch has `micro_batch` samples for each dp rank of the language model, and every replica
    of the encoder takes an equal share of their images.

    Example:
        use "presets/nemotron_small.mimo"

        grid encoder {
          dense = dp:4
        }

        grid llm {
          dense  = tp:2 * dp:2
          expert = ep:2 * edp:2 * pp
        }

        place encoder & llm

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

        schedule no_pipelining {
          sequence    = 64
          micro_batch = 1
        }
    """
    schedule = spec.draft.schedule
    a, b = route.encoder.size(DP), route.language.size(DP)
    if schedule is None or not divides_one_way(a, b) or schedule.micro_batch * b % a == 0:
        return
    total, ratio = schedule.micro_batch * b, a // b
    fits = (size for size in divisors(total) if divides_one_way(size, b))
    yield Finding(
        message=f"{total} samples per microbatch do not divide over {a} replicas of "
        f"{code(route.encoder.name)}",
        primary=spec.label(schedule, "micro_batch", f"{schedule.micro_batch} · dp:{b} = {total}"),
        secondary=(
            spec.axis_label(route.encoder.grid, DP, f"{a} replicas of the encoder"),
            spec.axis_label(route.language.grid, DP, f"{b} of the language model"),
        ),
        help=(
            f"{code(f'micro_batch = {next_multiple(schedule.micro_batch, ratio)}')} divides evenly",
            f"so does {replicas(spec, route, fits)} in {code(route.encoder.grid.name)}",
        ),
    )


@rule(
    "MIMO626",
    "modules on the same ranks that work on different samples",
    scope=ROUTE,
    cost=Cost.SILENT,
    mirrors=(
        'models/mimo/comm/colocated_communicator.py, "tp_group in enumerate(src_tp_groups)"',
        'models/mimo/comm/colocated_communicator.py, "slot = dp_idx % self.scale"',
    ),
    seen="Nothing. The loss falls, but images do not belong to the text around them.",
)
def aligned_samples(spec: Context, route: Route) -> Findings:
    """On shared ranks, the language model of a rank works on samples that the same rank encodes.

    A bridge on shared ranks gathers, cuts or passes on data that a rank already has: it never moves
    images to another replica. Replicas are numbered along dp, and the axes before dp decide how
    many neighbouring ranks a replica covers. So the part of the batch that both sides divide in the
    same way (each replica, if both have the same number of them) covers the same ranks on both
    sides.

    Example:
        use "presets/nemotron_small.mimo"

        grid encoder {
          dense = dp:4 * tp:2
        }

        grid llm {
          dense  = tp:2  * dp:4
          expert = etp:1 * ep:2 * edp:4 * pp
        }

        place encoder & llm

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
    grids = (route.encoder.grid, route.language.grid)
    spans = spans_of(spec.draft)
    sizes = [grid.size(DP) for grid in grids]
    parts = min(sizes)
    if (
        grids[0] is grids[1]
        or parts == 1
        or not divides_one_way(*sizes)
        or any(grid.size(axis) > 1 for grid in grids for axis in (CP, PP))
        or not is_colocated(spec, route)
        or spans.get(grids[0].name) != spans.get(grids[1].name)
    ):
        return
    apart = [
        GridView(grid, grid.base).stride(DP) * size // parts
        for grid, size in zip(grids, sizes, strict=True)
    ]
    if apart[0] == apart[1]:
        return
    yield Finding(
        message=f"replicas of {code(route.encoder.name)} and of {code(route.language.name)} on the "
        "same ranks work on different samples",
        primary=spec.view_label(grids[0].base, _parts_label(parts, apart[0])),
        secondary=(spec.view_label(grids[1].base, _parts_label(parts, apart[1])),),
        notes=("images would be put into the text of other samples",),
        help=(_reordered(grids),),
    )


def _parts_label(parts: int, apart: int) -> str:
    return f"{parts} parts of a batch, {count(apart, 'rank')} apart"


def _reordered(grids: tuple[Grid, ...]) -> str:
    """The views that do not have dp as the slowest axis, with dp moved there."""
    lines = [
        f"{code(f'{grid.base.name} = {order}')} in {code(grid.name)}"
        for grid in grids
        if (order := str(_dp_last(grid.base))) != str(grid.base)
    ]
    return f"make dp the slowest axis: {either(lines, 'and')}"


def _dp_last(view: View) -> View:
    axes = sorted(view.axes, key=lambda axis: axis.name == DP)
    return View(name=view.name, axes=axes)
