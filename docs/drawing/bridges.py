"""A bridge between disjoint grids: leaders send to leaders, and those broadcast."""

from typing import Final

import mimodsl
from drawing.svg import Drawing
from mimodsl.planner.bridges import BridgePlan
from mimodsl.planner.grids import GridPlan
from mimodsl.planner.plan import Plan

_SPEC: Final = """
use "presets/nemotron_small.mimo"

grid encoder {{
  dense = tp:{encoder_tp} * dp:{encoder_dp}
}}

grid llm {{
  dense  = tp:{tp}  * dp:{dp}
  expert = etp:1 * ep:2 * edp:2 * pp
}}

place encoder | llm

module vision : radio_small {{
  grid = encoder
}}

module projector : mlp_projector {{
  grid = encoder
}}

module language : nemotron_small {{
  grid = llm
}}

flow vision -> projector -> language {{
  token = 511
}}

schedule 1f1b {{
  sequence     = 64
  micro_batch  = {micro_batch}
  microbatches = 4
}}
"""
FAN_IN: Final = mimodsl.parse(_SPEC.format(encoder_tp=1, encoder_dp=4, tp=2, dp=2, micro_batch=2))
FAN_OUT: Final = mimodsl.parse(_SPEC.format(encoder_tp=2, encoder_dp=2, tp=1, dp=4, micro_batch=1))

_LEFT: Final = 104
_WIDE: Final = 84
_HIGH: Final = 34
_TOP: Final = 24
_BELOW: Final = 150


def bridge(plan: Plan) -> str:
    """Encoder ranks above, the language model's below; leaders are filled."""
    (crossing,) = plan.bridges
    drawing = Drawing(
        f"{crossing.direction.value}: {crossing.source.axis('dp')} replicas of the encoder to "
        f"{crossing.destination.axis('dp')} of the language model"
    )
    _side(drawing, plan, crossing, crossing.source, top=True)
    _side(drawing, plan, crossing, crossing.destination, top=False)
    for sender in crossing.senders:
        for receiver in crossing.peers(sender):
            drawing.arrow(
                (_middle(crossing.source, sender), _TOP + _HIGH + 3),
                (_middle(crossing.destination, receiver), _BELOW - 3),
                "line",
            )
    return drawing.render()


def _side(drawing: Drawing, plan: Plan, crossing: BridgePlan, grid: GridPlan, *, top: bool) -> None:
    y = _TOP if top else _BELOW
    drawing.text(_LEFT - 14, y + _HIGH / 2, "encoder" if top else "language", "end")
    for replica in range(grid.axis("dp")):
        ranks = [rank for rank in grid.ranks if grid.base.coordinates(rank)["dp"] == replica]
        x, right = _x(grid, ranks[0]), _x(grid, ranks[-1]) + _WIDE - 8
        said = _samples(plan.rank(ranks[0]).modules[-1].samples(0))
        drawing.text((x + right) / 2, y - 14 if top else y + _HIGH + 14, said, "dim")
        drawing.box((x - 4, y - 4), (right - x + 8, _HIGH + 8))
        for rank in ranks:
            leads = crossing.leader(rank) == rank
            look, hue = ("strong", 0 if top else 1) if leads else ("", None)
            at, size = (_x(grid, rank), y), (_WIDE - 8, _HIGH)
            drawing.box(at, size, f"rank {rank}", hue=hue, look=look)
            leader = crossing.leader(rank)
            if leader is not None and not leads and not top:
                start = _middle(grid, leader) + 28, y + _HIGH / 2
                drawing.arrow(start, (_x(grid, rank) + 8, y + _HIGH / 2), "thin")


def _samples(samples: range) -> str:
    return f"samples {samples[0]}–{samples[-1]}" if len(samples) > 1 else f"sample {samples[0]}"


def _x(grid: GridPlan, rank: int) -> float:
    place = rank - grid.ranks.start
    return _LEFT + place * _WIDE + 8 * grid.base.coordinates(rank)["dp"]


def _middle(grid: GridPlan, rank: int) -> float:
    return _x(grid, rank) + (_WIDE - 8) / 2
