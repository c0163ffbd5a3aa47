"""What a step computes and moves: a row for each stage, and of one rank a row for each part."""

from collections.abc import Iterable
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from mimodsl.planner.calls import Purpose
from mimodsl.planner.plan import Plan, RankPlan
from mimodsl.planner.step import StageWork, step_work
from mimodsl.planner.traffic.step import RankTraffic, rank_traffic
from mimodsl.planner.work.count import Flops
from mimodsl.planner.work.module import ModuleWork
from mimodsl.planner.work.stage import rank_work
from mimodsl.show.json import fields, plain
from mimodsl.show.numbers import scaled
from mimodsl.show.tables import print_table, table, title

MOST_STAGES: Final = 64
"""Stages up to which each is worked out: the time that this takes grows with their square."""

_FAMILIES: Final = tuple(purpose for purpose in Purpose if purpose is not Purpose.STEP)
"""Purposes that stages have a column for; the others are a few bytes at the end of a step."""


def show(plan: Plan, console: Console) -> None:
    """Print a step's operations; of each stage, what its ranks compute and send, and their wait."""
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
    used = [each for each in _FAMILIES if any(stage.traffic.sent(each) for stage in stages)]
    rows = table("stage>", "rank>", "FLOP>", "waits>", *(f"{purpose.value}>" for purpose in used))
    for stage in stages:
        sent = (stage.traffic.sent(purpose) for purpose in used)
        rows.add_row(
            str(stage.stage),
            f"{stage.rank:,}",
            scaled(stage.flops.hardware),
            f"{stage.bubble:.0%}",
            *(scaled(size, "B") if size else "–" for size in sent),
        )
    return rows


def show_rank(plan: Plan, rank: RankPlan, console: Console) -> None:
    """Print what one rank computes in a step, by part, and what it moves, by group."""
    modules, traffic = rank_work(plan, rank.rank), rank_traffic(plan, rank.rank)
    microbatches = plan.spec.schedule.microbatches
    total = sum((module.flops for module in modules), Flops()).times(microbatches)
    title(console, "Work", f"{scaled(total.hardware)}FLOP a step")
    print_table(console, _parts(modules, microbatches))
    sent, received = (scaled(size, "B") for size in (traffic.sent(), traffic.received()))
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


def document(plan: Plan) -> dict[str, Any] | None:
    """A step's work as plain values, by stage; `None` for a pipeline of very many stages."""
    if plan.stages > MOST_STAGES:
        return None
    work = step_work(plan)
    return {
        "model_flops": work.model,
        "model_flops_per_token": work.model_per_token,
        "hardware_flops": work.hardware,
        "bubble": work.bubble,
        "stages": [_stage(stage) for stage in work.stages],
    }


def _stage(stage: StageWork) -> dict[str, Any]:
    return {
        "stage": stage.stage,
        "first_rank": stage.ranks.start,
        "ranks": len(stage.ranks),
        "bubble": stage.bubble,
        "modules": [_module(module, stage.microbatches) for module in stage.modules],
        "busiest_rank": stage.rank,
        "traffic": _traffic(stage.traffic),
    }


def rank_document(plan: Plan, rank: int) -> dict[str, Any]:
    """One rank's work and traffic in a step as plain values."""
    microbatches = plan.spec.schedule.microbatches
    return {
        "modules": [_module(module, microbatches) for module in rank_work(plan, rank)],
        "traffic": _traffic(rank_traffic(plan, rank)),
    }


def _module(module: ModuleWork, microbatches: int) -> dict[str, Any]:
    return {
        "name": module.module.name,
        "flops": plain(module.flops.times(microbatches)),
        "parts": {
            part: plain(flops.times(microbatches)) for part, flops in module.by_part().items()
        },
    }


def _traffic(traffic: RankTraffic) -> list[dict[str, Any]]:
    return [
        {
            **fields(group, "group", "purpose"),
            "size": group.members,
            **fields(group, "calls", "messages", "sent", "received"),
        }
        for group in traffic.groups
    ]
