"""The plan as plain values, ready for JSON."""

from typing import Any, Final

import attrs

from mimodsl.planner.bridges import BridgePlan
from mimodsl.planner.grids import GridPlan
from mimodsl.planner.groups import GroupPlan
from mimodsl.planner.plan import Plan, RankPlan
from mimodsl.planner.ranks import Groups, Members
from mimodsl.planner.roles import ModuleRole
from mimodsl.planner.schedule import StageSchedule
from mimodsl.planner.sharing import CommunicatorPlan, communicators, most
from mimodsl.show.plan.memory import memory_json, rank_memory_json
from mimodsl.show.plan.work import rank_work_json, work_json

LISTED: Final = 1024
"""Worlds of more ranks than this are not enumerated: `ranks` and `members` are null then. The same
goes for `stages` of a schedule and `peers` of a leader."""

_PASSES: Final = 32 * LISTED
"""Where all stages together have more passes a step than this, `order` is null."""


def as_json(plan: Plan, rank: int | None = None) -> dict[str, Any]:
    """A plan, or the plan of one rank, as plain values.

    Groups stand there twice: as `members`, and as `blocks` of strides, which stay small: a group's
    ranks are `start` plus any digit times its stride for each `[size, stride]` of `inner`; groups
    differ by those of `outer`. `ValueError` for a rank outside the world.
    """
    if rank is not None:
        own = plan.rank(rank)
        groups = {group.name: _members(ranks) for group, ranks in own.groups}
        carried = (one.carries(rank) for one in communicators(plan))
        return {
            "world": plan.world,
            **_rank(own),
            "groups": groups,
            "communicators": [list(names) for names in carried if names],
            "work": rank_work_json(plan, rank),
            "memory": rank_memory_json(plan, rank),
        }
    listed = plan.world <= LISTED
    return {
        "summary": attrs.asdict(plan.summary()),
        "grids": [_grid(grid) for grid in plan.grids],
        "modules": [
            {
                "name": module.name,
                "kind": module.kind.keyword,
                "role": module.role.value,
                "grid": module.grid,
                "frozen": module.frozen,
            }
            for module in plan.spec.modules
        ],
        "groups": [_group(group, listed) for group in plan.groups()],
        "communicators": {
            "a_rank": most(plan),
            "a_rank_unshared": most(plan, share=False),
            "shared": [_communicator(one) for one in communicators(plan)],
        },
        "bridges": [_bridge(bridge) for bridge in plan.bridges],
        "schedule": {
            "kind": plan.spec.schedule.kind.value,
            "stages": [_stage(plan.schedule(stage)) for stage in range(plan.stages)]
            if plan.stages <= LISTED
            else None,
        },
        "ranks": [_rank(plan.rank(each)) for each in range(plan.world)] if listed else None,
        "work": work_json(plan),
        "memory": memory_json(plan),
    }


def _grid(grid: GridPlan) -> dict[str, Any]:
    return {
        "name": grid.name,
        "ranks": _range(grid.ranks),
        "views": [
            {
                "name": view.name,
                "axes": dict(view.layout.axes),
                "shared": list(view.shared),
                "implied": view.implied,
            }
            for view in grid.views
        ],
    }


def _group(group: GroupPlan, listed: bool) -> dict[str, Any]:
    return {
        "name": group.name,
        "kind": group.kind.value,
        "implied": group.implied,
        "count": group.count,
        "size": group.size,
        "joined": group.joined,
        "blocks": [_block(block) for block in group.blocks],
        "members": [list(ranks) for ranks in group] if listed else None,
    }


def _communicator(one: CommunicatorPlan) -> dict[str, Any]:
    names = dict.fromkeys(group.name for group in one.names)
    return {"names": list(names), "count": one.count, "size": one.made.size}


def _block(block: Groups) -> dict[str, Any]:
    return {
        "start": block.start,
        "inner": [[factor.size, factor.stride] for factor in block.inner],
        "outer": [[factor.size, factor.stride] for factor in block.outer],
    }


def _bridge(bridge: BridgePlan) -> dict[str, Any]:
    return {
        "name": bridge.name,
        "path": list(bridge.flow.path),
        "source": bridge.source.name,
        "destination": bridge.destination.name,
        "colocated": bridge.colocated,
        "direction": bridge.direction.value,
        "scale": bridge.scale,
        "sent": list(bridge.sent),
        "received": list(bridge.received),
    }


def _rank(rank: RankPlan) -> dict[str, Any]:
    return {
        "rank": rank.rank,
        "modules": [_role(role) for role in rank.modules],
        "coordinates": rank.coordinates,
        "bridges": [
            {
                "name": crossing.bridge.name,
                "role": crossing.role.value,
                "leader": crossing.leader,
                "peers": list(crossing.peers) if len(crossing.peers) <= LISTED else None,
            }
            for crossing in rank.crossings
        ],
        "schedule": _stage(rank.schedule),
    }


def _role(role: ModuleRole) -> dict[str, Any]:
    return {
        "name": role.name,
        "grid": role.module.grid,
        "stage": role.stage,
        "stages": role.stages,
        "first": role.first,
        "last": role.last,
        "layers": _range(role.layers),
        "pattern": role.pattern,
        "experts": _range(role.experts),
        "replica": role.replica,
        "replicas": role.replicas,
        "samples": _range(role.samples(0)),
    }


def _members(ranks: Members) -> list[int] | None:
    return list(ranks) if len(ranks) <= LISTED else None


def _stage(schedule: StageSchedule) -> dict[str, Any]:
    passes = schedule.stages * schedule.passes
    return {
        "stage": schedule.stage,
        "stages": schedule.stages,
        "warmup": schedule.warmup,
        "in_flight": schedule.in_flight,
        "order": [str(step) for step in schedule.order()] if passes <= _PASSES else None,
    }


def _range(numbers: range) -> dict[str, int]:
    return {"first": numbers.start, "count": len(numbers)}
