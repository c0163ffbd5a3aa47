"""Rules about second views: they factor the ranks of the base view, and share its axes."""

from collections.abc import Iterator
from math import prod

from mimodsl.checker.arithmetic import by_distance, divisors
from mimodsl.checker.context import Context
from mimodsl.checker.phrases import code, either
from mimodsl.checker.rule import Cost, Finding, Findings, rule
from mimodsl.checker.scopes import (
    SECOND_VIEW,
    VIEW,
    GridView,
    Held,
    held,
    is_sound,
)
from mimodsl.diagnostics import Edit
from mimodsl.ir import Axis, Grid, TransformerLanguage
from mimodsl.ir.axes import EDP, EP, ETP, PP
from mimodsl.ir.grid import BASE_AXES
from mimodsl.source import Span


@rule(
    "MIMO301",
    "a view that does not cover the same ranks as the base view",
    scope=SECOND_VIEW,
    cost=Cost.RAISES,
    mirrors=('hyper_comm_grid.py, "if int(np.prod(shape)) != self.size"',),
    seen="Every rank stops while its grids are built: `has size`, `but the grid`.",
)
def view_product(spec: Context, one: GridView) -> Findings:
    """All views of a grid factor the same ranks: within one pipeline stage, tp·cp·dp = etp·ep·edp.

    Expert parallelism adds no ranks. It divides the ranks of a pipeline stage a second time, so
    that experts can be spread over ranks that hold replicas of everything else. A view with another
    product would leave ranks without experts, or put the experts of two ranks on one.

    Example:
        grid llm {
          dense  = tp:2  * cp:1 * dp:4  * pp:1
          expert = etp:1 * ep:3 * edp:2 * pp
        }
    """
    base, ranks = one.base, one.own_ranks
    target = prod(base.values())
    if ranks == target or (one.is_expert and lacks_pp(one)):
        return
    per_stage = " per pipeline stage" if PP in one.shared else ""
    yield Finding(
        message=f"the {one.view.name} view covers {ranks} ranks{per_stage}, "
        f"but the base view covers {target}",
        primary=spec.view_label(one.view, f"{'·'.join(one.sized) or '1'} = {ranks}"),
        secondary=(spec.view_label(one.grid.base, f"{'·'.join(base) or '1'} = {target}"),),
        notes=(f"both views factor the same ranks{' of a pipeline stage' if per_stage else ''}",),
        help=_product_help(spec, one, target),
    )


def lacks_pp(one: GridView) -> bool:
    """Whether an expert view leaves out a pipeline that the base view has."""
    return one.view.axis(PP) is None and one.grid.size(PP) > 1


def _product_help(spec: Context, one: GridView, target: int) -> tuple[str, ...]:
    options = [_change(one.sized, sizes) for sizes in _refactored(spec, one, target)]
    if not options:
        return (f"give the view axes whose product is {target}",)
    also = f", and so does {options[1]}" if len(options) > 1 else ""
    return (f"{options[0]} gives both {target} ranks{also}",)


def _refactored(spec: Context, one: GridView, target: int) -> list[dict[str, int]]:
    """At most two ways to give a view's axes the product `target`: one axis changed, else more."""
    sizes, ways = one.sized, list[dict[str, int]]()
    for name, size in sizes.items():
        others = prod(sizes.values()) // size
        if target % others == 0 and (name != EP or _experts_divide(spec, one, target // others)):
            ways.append(sizes | {name: target // others})
    ways.sort(key=lambda way: sum(abs(way[name] - size) for name, size in sizes.items()))
    if one.is_expert:
        ways += [way for way in _expert_ways(spec, one, target) if way not in ways]
    return ways[:2]


def _expert_ways(spec: Context, one: GridView, target: int) -> Iterator[dict[str, int]]:
    """Sizes with etp and ep as near as possible to the given ones, and edp for the rest."""
    ep = one.grid.size(EP)
    etp = by_distance(one.grid.size(ETP), divisors(target))[0]
    legal = [d for d in divisors(target // etp) if _experts_divide(spec, one, d)]
    for size in by_distance(ep, legal):
        edp = target // etp // size
        yield (
            {ETP: etp, EP: size, EDP: edp}
            if etp > 1 or ETP in one.sized
            else {
                EP: size,
                EDP: edp,
            }
        )


def _experts_divide(spec: Context, one: GridView, ep: int) -> bool:
    """Whether the experts of every model on the grid can be spread over `ep` ranks."""
    moes = (language.kind.used.moe for language in _languages(spec, one.grid))
    return all(moe.experts % ep == 0 for moe in moes if moe is not None)


def _languages(spec: Context, grid: Grid) -> list[Held[TransformerLanguage]]:
    return [one for one in held(spec, TransformerLanguage) if one.grid is grid]


def _change(old: dict[str, int], new: dict[str, int]) -> str:
    """The changed axes, the last one first, since it has the most freedom."""
    changed = [code(f"{name}:{size}") for name, size in new.items() if old.get(name, 1) != size]
    first, *rest = reversed(changed)
    return f"{first} with {either(rest, 'and')}" if rest else first


@rule(
    "MIMO306",
    "a shared axis that the base view lacks",
    scope=VIEW,
    cost=Cost.RAISES,
    mirrors=(
        'hyper_comm_grid.py, "if dim not in self.dim_names"',
        'hyper_comm_grid.py, "has duplicate shared_dims"',
        'hyper_comm_grid.py, "is not in the view"',
    ),
    seen="Every rank stops while its grids are built: `is not in the base view`.",
)
def shared_with_nothing(spec: Context, one: GridView) -> Findings:
    """An axis without a size is shared with the base view, so the base view must have it.

    Example:
        grid llm {
          dense  = tp:2 * dp:4
          expert = etp  * ep:4 * edp:2 * pp
        }
    """
    if one.is_base or not is_sound(one.grid):
        return
    for axis in one.view.axes:
        known = one.known_axes is None or axis.name in one.known_axes
        if axis.size is None and known and axis.name not in BASE_AXES:
            yield Finding(
                message=f"view {code(one.view.name)} shares {code(axis.name)} with the base view, "
                "which has no such axis",
                primary=spec.label(axis, None, "no size: shared"),
                secondary=(spec.view_label(one.grid.base, "the base view"),),
                help=(_size_help(one, axis),),
            )


def _size_help(one: GridView, axis: Axis) -> str:
    """The size that makes the products equal; 1 if no size does."""
    base = [a.size or 1 for a in one.grid.base.axes if one.view.axis(a.name) is None]
    rest = prod(one.sized.values())
    size = prod(base) // rest if prod(base) % rest == 0 else 1
    return f"give it a size: {code(f'{axis.name}:{size}')}"


@rule(
    "MIMO307",
    "a base axis that another view resizes",
    scope=VIEW,
    cost=Cost.SILENT,
    mirrors=(
        'hyper_comm_grid.py, "def register_view … if base_enum != view_enum"',
        'hyper_comm_grid.py, "have different membership across"',
    ),
    seen="Nothing. megatron-core makes separate groups for the axis, and does not report that they "
    "differ from those of the base view.",
)
def resized_axis(spec: Context, one: GridView) -> Findings:
    """A second view names an axis of the base view without a size, to share it, or does not name
    it.

    With a size it would be a separate axis that only looks the same: its groups may differ from the
    groups of the base view. For pp, this would put experts on another stage than their layers.

    Example:
        grid llm {
          dense  = tp:2 * dp:2 * pp:2
          expert = ep:4 * pp:2
        }
    """
    if one.is_base or not is_sound(one.grid):
        return
    for axis in one.view.axes:
        known = one.known_axes is None or axis.name in one.known_axes
        if axis.size is None or axis.name not in BASE_AXES or not known:
            continue
        base_axis, where = one.grid.base.axis(axis.name), spec.at(axis)
        yield Finding(
            message=f"view {code(one.view.name)} gives {code(axis.name)} its own size",
            primary=spec.label(axis, None, "a second size"),
            secondary=(
                spec.label(base_axis, None, "the first size")
                if base_axis is not None
                else spec.view_label(one.grid.base, f"{code(axis.name)} has size 1 here"),
            ),
            notes=("views that share an axis have the same groups along it",),
            help=(f"write {code(axis.name)} without a size",),
            edits=(Edit(where, axis.name),) if isinstance(where, Span) else (),
        )


@rule(
    "MIMO308",
    "an expert view that leaves its pipeline stage",
    scope=SECOND_VIEW,
    cost=Cost.RAISES,
    mirrors=(
        'hyper_comm_grid.py, "if int(np.prod(shape)) != self.size"',
        'models/mimo/optimizer.py, "pg.pp = grid.get_pg"',
    ),
    seen="If the products differ, every rank stops: `has size`, `but the grid`. If they are equal, "
    "the tokens of a layer are sent to ranks of another stage.",
)
def expert_without_pp(spec: Context, one: GridView) -> Findings:
    """Where the base view has a pipeline, the expert view shares it.

    The experts of a layer are on the ranks of its own stage. An expert view without pp would spread
    them over all stages, and tokens would be sent to ranks that do not run the layer.

    Example:
        grid llm {
          dense  = tp:2 * dp:2  * pp:2
          expert = ep:4 * edp:2
        }
    """
    if not one.is_expert or not lacks_pp(one):
        return
    yield Finding(
        message=f"the expert view of {code(one.grid.name)} does not share {code('pp')}",
        primary=spec.view_label(one.view, "spread over all stages"),
        secondary=(spec.axis_label(one.grid, PP, "the pipeline"),),
        notes=("no expert group leaves its pipeline stage",),
        help=(f"end the view with {code('* pp')}",),
        edits=_ending_in_pp(one),
    )


def _ending_in_pp(one: GridView) -> tuple[Edit, ...]:
    """The edit that appends pp, where it is last in the base view and the rest fits a stage."""
    span = one.view.span("axes")
    fits = one.own_ranks == prod(one.base.values()) and one.grid.base.axes[-1].name == PP
    return (Edit(span, f"{span.text} * pp"),) if span is not None and fits else ()


@rule(
    "MIMO309",
    "a shared axis that joins different ranks in two views",
    scope=SECOND_VIEW,
    cost=Cost.RAISES,
    mirrors=('hyper_comm_grid.py, "def register_view … if base_enum != view_enum"',),
    seen="Every rank stops while its grids are built: `has different membership across views`.",
)
def shared_groups(spec: Context, one: GridView) -> Findings:
    """A shared axis joins the same ranks in both views: the axes before it have the same product.

    The first axis of a view varies fastest over the ranks, so the product of the axes before an
    axis is the distance between two neighbours along it.

    Example:
        grid llm {
          dense  = tp:2 * pp:2 * dp:2
          expert = ep:4 * pp
        }
    """
    for axis in one.view.axes:
        size = one.grid.size(axis.name)
        if axis.size is not None or size == 1 or one.grid.base.axis(axis.name) is None:
            continue
        distance = one.stride(axis.name)
        base_distance = GridView(one.grid, one.grid.base).stride(axis.name)
        if distance == base_distance:
            continue
        yield Finding(
            message=f"{code(axis.name)} joins ranks {distance} apart in view {code(one.view.name)} "
            f"and {base_distance} apart in the base view",
            primary=spec.label(axis, None, f"{distance} ranks before it"),
            secondary=(spec.axis_label(one.grid, axis.name, f"{base_distance} before it"),),
            notes=("a shared axis has the same groups in both views",),
            help=(_order_help(one, axis, base_distance),),
        )


def _order_help(one: GridView, axis: Axis, stride: int) -> str:
    """The order in which the shared axis has the distance of the base view, if there is one."""
    order = one.ordered(axis.name, stride)
    return f"order the view as {code(order)}" if order else f"end both views with {code(axis.name)}"
