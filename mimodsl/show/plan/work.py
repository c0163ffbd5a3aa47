"""What a step computes and moves: a row for each stage, and of one rank a row for each part."""

from collections.abc import Iterable
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from mimodsl.planner.calls import Purpose
from mimodsl.planner.plan import Plan, RankPlan
from mimodsl.planner.traffic.step import RankTraffic, rank_traffic
from mimodsl.planner.work.count import Flops
from mimodsl.planner.work.module import ModuleWork
from mimodsl.planner.work.step import StageWork, rank_work, step_work
from mimodsl.show.plan.tables import print_table, table, title

_PREFIXES: Final = ("", "k", "M", "G", "T", "P", "E", "Z")
MOST_STAGES: Final = 64
"""Stages up to which each is worked out: the time that this takes grows with their square."""

_FAMILIES: Final = tuple(purpose for purpose in Purpose if purpose is not Purpose.STEP)
"""What stages have a column for; what is left is a few bytes at the end of a step."""


def print_work(plan: Plan, console: Console) -> None:
    """A step's operations; what each stage's ranks compute and send, and how long they wait."""
    if plan.stages > MOST_STAGES:
        return
    work = step_work(plan)
    title(
        console,
        "Work",
        f"{scaled(work.model)}FLOP a step",
        f"{scaled(work.model_per_token)}FLOP a token",
        f"{work.hardware / work.model - 1:.1%} overhead",
        f"{work.bubble:.0%} waited",
    )
    print_table(console, _stages(work.stages))


def _stages(stages: tuple[StageWork, ...]) -> Table:
    """A row for each stage: the rank of it that has the most to send, and what that sends."""
    used = [one for one in _FAMILIES if any(stage.traffic.sent(one) for stage in stages)]
    rows = table("stage>", "rank>", "FLOP>", "waits>", *(f"{one.value}>" for one in used))
    for stage in stages:
        sent = (stage.traffic.sent(one) for one in used)
        rows.add_row(
            str(stage.stage),
            f"{stage.rank:,}",
            scaled(stage.flops.hardware),
            f"{stage.bubble:.0%}",
            *(scaled(size, "B") if size else "–" for size in sent),
        )
    return rows


def print_rank_work(plan: Plan, rank: RankPlan, console: Console) -> None:
    """What one rank computes in a step, by part, and moves, by group."""
    modules, traffic = rank_work(plan, rank.rank), rank_traffic(plan, rank.rank)
    microbatches = plan.spec.schedule.microbatches
    total = sum((module.flops for module in modules), Flops()).times(microbatches)
    title(console, "Work", f"{scaled(total.hardware)}FLOP a step")
    print_table(console, _parts(modules, microbatches))
    sent, received = (scaled(one, "B") for one in (traffic.sent(), traffic.received()))
    title(console, "Traffic", f"sends {sent} a step, receives {received}")
    print_table(console, _by_group(traffic))


def _parts(modules: Iterable[ModuleWork], microbatches: int) -> Table:
    rows = table("module", "part", "forward>", "backward>", "overhead>")
    for module in modules:
        name = module.module.name
        for part, each in module.by_part().items():
            flops = each.times(microbatches)
            rows.add_row(
                name,
                part,
                scaled(flops.forward),
                scaled(flops.backward) if flops.backward else "–",
                scaled(flops.extra) if flops.extra else "–",
            )
            name = ""
    return rows


def _by_group(traffic: RankTraffic) -> Table:
    rows = table("group", "for", "of>", "calls>", "messages>", "sent>", "received>")
    for group in traffic.groups:
        rows.add_row(
            group.group,
            group.purpose.value,
            f"{group.members:,}",
            f"{group.calls:,}",
            scaled(sum(group.messages.values()), "B"),
            scaled(group.sent, "B"),
            scaled(group.received, "B"),
        )
    return rows


def scaled(number: float, unit: str = "") -> str:
    """Three digits with a decimal prefix: `1.23 T`, `45.6 MB`."""
    power = 0
    while number >= 999.5 and power < len(_PREFIXES) - 1:
        number /= 1000
        power += 1
    digits = f"{number:.0f}" if power == 0 or number >= 99.95 else f"{number:#.3g}"
    return f"{digits} {_PREFIXES[power]}{unit}"


def work_json(plan: Plan) -> dict[str, Any] | None:
    """A step's work as plain values, by stage; `None` for a pipeline of very many."""
    if plan.stages > MOST_STAGES:
        return None
    work = step_work(plan)
    return {
        "model_flops": work.model,
        "model_flops_per_token": work.model_per_token,
        "hardware_flops": work.hardware,
        "bubble": work.bubble,
        "stages": [
            {
                "stage": stage.stage,
                "first_rank": stage.ranks.start,
                "ranks": len(stage.ranks),
                "bubble": stage.bubble,
                "modules": _modules_json(stage.modules, stage.microbatches),
                "busiest_rank": stage.rank,
                "traffic": _traffic_json(stage.traffic),
            }
            for stage in work.stages
        ],
    }


def rank_work_json(plan: Plan, rank: int) -> dict[str, Any]:
    """One rank's work and traffic in a step as plain values."""
    microbatches = plan.spec.schedule.microbatches
    return {
        "modules": _modules_json(rank_work(plan, rank), microbatches),
        "traffic": _traffic_json(rank_traffic(plan, rank)),
    }


def _modules_json(modules: Iterable[ModuleWork], microbatches: int) -> list[dict[str, Any]]:
    return [
        {
            "name": module.module.name,
            "flops": _flops_json(module.flops.times(microbatches)),
            "parts": {
                part: _flops_json(flops.times(microbatches))
                for part, flops in module.by_part().items()
            },
        }
        for module in modules
    ]


def _flops_json(flops: Flops) -> dict[str, int]:
    return {"forward": flops.forward, "backward": flops.backward, "extra": flops.extra}


def _traffic_json(traffic: RankTraffic) -> list[dict[str, Any]]:
    return [
        {
            "group": group.group,
            "purpose": group.purpose.value,
            "size": group.members,
            "calls": group.calls,
            "messages": {kind.value: size for kind, size in group.messages.items()},
            "sent": group.sent,
            "received": group.received,
        }
        for group in traffic.groups
    ]
