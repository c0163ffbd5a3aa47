"""What a step takes at least on some GPUs: a row for each stage, and of one rank for each pass."""

from typing import Any, Final

from rich.console import Console
from rich.table import Table

from mimodsl.planner.calls import Purpose
from mimodsl.planner.time import Least, StageTime, StepTime
from mimodsl.planner.time.least import ARITHMETIC, MEMORY
from mimodsl.show import short
from mimodsl.show.json import fields, plain
from mimodsl.show.numbers import duration, scaled
from mimodsl.show.tables import print_table, table, title

_COLUMNS: Final = (
    ARITHMETIC,
    MEMORY,
    *(purpose.value for purpose in Purpose if purpose is not Purpose.STEP),
)


def show(time: StepTime, console: Console) -> None:
    """Print the least time of a step, and what it goes to on the ranks of every stage."""
    title(
        console,
        "Time",
        f"at least {duration(time.seconds)} a step",
        f"at most {_rate(time.tokens_per_second)} tokens/s, "
        f"{_rate(time.samples_per_second)} samples/s, {time.utilization:.0%} MFU",
        _gpus(time),
    )
    print_table(console, _stages(time))
    console.print()


def _gpus(time: StepTime) -> str:
    return f"{time.accelerator.name}, {time.per_node} a node"


def _rate(number: float) -> str:
    return scaled(number).strip() if number >= 99.95 else f"{number:#.3g}"


def _stages(time: StepTime) -> Table:
    """What stages do and wait adds up to the step, but for some sums of few bytes at its end."""
    used = {name for stage in time.stages for name, seconds in stage.parts.items() if seconds}
    columns = [name for name in _COLUMNS if name in used]
    rows = table("stage>", "ranks", *(f"{name}>" for name in columns), "waits>", "bound by")
    for stage in time.stages:
        parts = stage.parts
        rows.add_row(
            str(stage.stage),
            short.members(stage.ranks),
            *(duration(parts.get(name, 0.0)) for name in columns),
            duration(time.waits(stage)),
            stage.bound,
        )
    return rows


def show_rank(time: StepTime, rank: int, console: Console) -> None:
    """Print the least times of one rank's passes, and of its work between two steps' passes."""
    stage = _stage_of(time, rank)
    title(
        console,
        "Time",
        f"rank {rank:,}, stage {stage.stage}",
        f"at least {duration(time.seconds)} a step, waits {duration(time.waits(stage))} of it",
        _gpus(time),
    )
    rows = table("", "times>", "arithmetic>", "memory>", "beside>", "waited for>", "at least>")
    for name, times, least in _works(stage):
        calls = sum(least.beside.values()), sum(least.waited.values())
        cells = least.arithmetic, least.memory, *calls, least.seconds
        rows.add_row(name, f"{times:,}", *map(duration, cells))
    print_table(console, rows)
    console.print()


def _works(stage: StageTime) -> tuple[tuple[str, int, Least], ...]:
    return (
        ("update", 1, stage.before),
        ("forward", stage.microbatches, stage.forward),
        ("backward", stage.microbatches, stage.backward),
        ("gradients", 1, stage.after),
    )


def _stage_of(time: StepTime, rank: int) -> StageTime:
    return next(stage for stage in time.stages if rank in stage.ranks)


def document(time: StepTime, rank: int | None = None) -> dict[str, Any]:
    """The same in seconds, as plain values; the stage of one rank alone where one is given."""
    stages = time.stages if rank is None else (_stage_of(time, rank),)
    return {
        "accelerator": plain(time.accelerator),
        "ranks_per_node": time.per_node,
        **fields(time, "seconds", "tokens_per_second", "samples_per_second"),
        "model_flops_utilization": time.utilization,
        "stages": [_stage(time, stage) for stage in stages],
    }


def _stage(time: StepTime, stage: StageTime) -> dict[str, Any]:
    return {
        "stage": stage.stage,
        "first_rank": stage.ranks.start,
        "ranks": len(stage.ranks),
        **fields(stage, "microbatches", "bound", "parts"),
        "waits": time.waits(stage),
        **{
            name: fields(least, "seconds", "arithmetic", "memory", "beside", "waited")
            for name, _, least in _works(stage)
        },
        **fields(stage, "output", "gradient"),
    }
