"""What a step takes at least on some GPUs: a row for each stage, and of one rank for each pass."""

from typing import Any, Final

import attrs
from rich.console import Console
from rich.table import Table

from mimodsl.planner.calls import Purpose
from mimodsl.planner.time import Least, StageTime, StepTime
from mimodsl.planner.time.least import ARITHMETIC, MEMORY
from mimodsl.show.plan import text
from mimodsl.show.plan.tables import print_table, table, title
from mimodsl.show.plan.work import scaled

_UNITS: Final = ("s", "ms", "µs", "ns")
_COLUMNS: Final = (
    ARITHMETIC,
    MEMORY,
    *(purpose.value for purpose in Purpose if purpose is not Purpose.STEP),
)


def print_time(time: StepTime, console: Console) -> None:
    """The least time of a step, and what it goes to on the ranks of every stage."""
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
            text.members(stage.ranks),
            *(duration(parts.get(name, 0.0)) for name in columns),
            duration(time.waits(stage)),
            stage.bound,
        )
    return rows


def print_rank_time(time: StepTime, rank: int, console: Console) -> None:
    """The least times of one rank's passes, and of what it does between two steps' passes."""
    stage = _stage_of(time, rank)
    title(
        console,
        "Time",
        f"rank {rank:,}, stage {stage.stage}",
        f"at least {duration(time.seconds)} a step, waits {duration(time.waits(stage))} of it",
        _gpus(time),
    )
    rows = table("", "times>", "arithmetic>", "memory>", "beside>", "waited for>", "at least>")
    for name, times, one in _works(stage):
        cells = one.arithmetic, one.memory, sum(one.beside.values()), sum(one.waited.values())
        rows.add_row(name, f"{times:,}", *map(duration, (*cells, one.seconds)))
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


def duration(seconds: float) -> str:
    """Three digits with a unit: `1.23 s`, `45.6 ms`; a dash for less than half a nanosecond."""
    for unit in _UNITS:
        if seconds >= 0.9995:
            digits = f"{seconds:,.0f}" if seconds >= 99.95 else f"{seconds:#.3g}"
            return f"{digits} {unit}"
        seconds *= 1000
    return f"{seconds / 1000:.2f} ns" if seconds >= 500 else "–"


def time_json(time: StepTime, rank: int | None = None) -> dict[str, Any]:
    """The same in seconds, as plain values; of one rank's stage alone where one is given."""
    stages = time.stages if rank is None else (_stage_of(time, rank),)
    return {
        "accelerator": attrs.asdict(time.accelerator),
        "ranks_per_node": time.per_node,
        "seconds": time.seconds,
        "tokens_per_second": time.tokens_per_second,
        "samples_per_second": time.samples_per_second,
        "model_flops_utilization": time.utilization,
        "stages": [_stage_json(time, stage) for stage in stages],
    }


def _stage_json(time: StepTime, stage: StageTime) -> dict[str, Any]:
    return {
        "stage": stage.stage,
        "first_rank": stage.ranks.start,
        "ranks": len(stage.ranks),
        "microbatches": stage.microbatches,
        "bound": stage.bound,
        "parts": stage.parts,
        "waits": time.waits(stage),
        **{name: _least_json(one) for name, _, one in _works(stage)},
        "output": stage.output,
        "gradient": stage.gradient,
    }


def _least_json(least: Least) -> dict[str, Any]:
    return {
        "seconds": least.seconds,
        "arithmetic": least.arithmetic,
        "memory": least.memory,
        "beside": {purpose.value: seconds for purpose, seconds in least.beside.items()},
        "waited": {purpose.value: seconds for purpose, seconds in least.waited.items()},
    }
