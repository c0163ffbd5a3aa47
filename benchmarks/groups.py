"""Times making process groups against Megatron-Core's ways; writes `groups.md` beside itself.

Real ranks are forked processes over gloo, which connects a group's members as it is made. Fake ones
are one rank of a larger world, in this process and over a backend that moves nothing: what is left
is each rank's own work, which NCCL, too, does when a group is made, before it is first used.
"""

import argparse
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import torch.distributed as dist
from measured import where
from megatron.core.parallel_state import RankGenerator

import mimodsl
from mimodsl.builder.grids import build_grids, comm_grid
from mimodsl.builder.groups import make_groups
from mimodsl.megatron import meta_device
from mimodsl.planner.groups import GroupKind, GroupPlan, grid_groups
from mimodsl.planner.plan import Plan, plan
from mimodsl.planner.program.topology import megatron_axes, rank_grid
from mimodsl.runtime import meta
from mimodsl.runtime.launch import run_ranks
from mimodsl.runtime.train import joined_communicators
from mimodsl.runtime.workers import Watch

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).with_suffix(".md")
SPECS: Final = {
    "side by side": ROOT / "specs" / "nemotron_vlm.mimo",
    "colocated": ROOT / "specs" / "nemotron_vlm_colocated.mimo",
}
GLOO: Final = (8, 16, 32, 64)
FAKE: Final = (1_024, 4_096, 16_384)


class Made(NamedTuple):
    """How long it took until the last rank had its groups, and how many the first has joined."""

    seconds: float
    joined: int


def shared(planned: Plan) -> None:
    build_grids(planned.grids, make_groups(planned, share=True))


def unshared(planned: Plan) -> None:
    build_grids(planned.grids, make_groups(planned, share=False))


def by_grids(planned: Plan) -> None:
    """`create_pg` for every set of axes; embeddings and bridges as Megatron makes them."""
    listed = [group for group in planned.groups() if group.kind is not GroupKind.AXES]
    for grid in planned.grids:
        comm = comm_grid(rank_grid(grid))
        for group in grid_groups(grid):
            if group.kind is GroupKind.AXES:
                view = None if group.view == "base" else group.view
                comm.create_pg(megatron_axes(group.axes), view=view)
    for group in listed:
        _enumerated(group)


def _enumerated(group: GroupPlan) -> None:
    new_subgroups: Any = dist.new_subgroups_by_enumeration
    new_subgroups([list(members) for members in group])


def by_generators(planned: Plan) -> None:
    """`RankGenerator` and `new_group`, as `initialize_model_parallel` does, for every grid."""
    for grid in planned.grids:
        for view in grid.views[:2]:
            names = {"etp": "tp", "edp": "dp"}
            sizes = {"tp": 1, "cp": 1, "ep": 1, "dp": 1, "pp": 1}
            sizes |= {names.get(axis, axis): size for axis, size in view.layout.axes}
            order = "-".join(sizes)
            ranks = RankGenerator(order=order, rank_offset=grid.offset, **sizes)
            for group in grid_groups(grid):
                if group.kind is GroupKind.AXES and group.view == view.name:
                    token = "-".join(names.get(axis, axis) for axis in group.axes)
                    for members in ranks.get_ranks(token):
                        dist.new_group(members)


WAYS: Final[Mapping[str, Callable[[Plan], None]]] = {
    "mimodsl": shared,
    "mimodsl, nothing shared": unshared,
    "`HyperCommGrid.create_pg`": by_grids,
    "`RankGenerator`, `new_group`": by_generators,
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=3, help="runs of each, the best counts")
    options.add_argument("--gloo", type=int, nargs="*", default=GLOO, help="worlds of processes")
    options.add_argument("--fake", type=int, nargs="*", default=FAKE, help="worlds of fake ranks")
    asked = options.parse_args()
    real = _best(asked.gloo, asked.runs, _on_processes)
    with meta_device.activate():
        fake = _best(asked.fake, asked.runs, _on_one)
    text = _page(real, fake, asked.runs)
    RESULTS.write_text(text)
    print(text, end="")


type Times = dict[tuple[str, int], dict[str, Made]]
"""The best of all runs, by spec, ranks and way."""


def _best(
    worlds: Iterable[int], runs: int, timed: Callable[[Plan, Callable[[Plan], None]], Made]
) -> Times:
    best: Times = {}
    for world in worlds:
        for name, path in SPECS.items():
            planned = plan(mimodsl.load(path, _replicas(name, world)))
            assert planned.world == world
            for _ in range(runs):
                for way, make in WAYS.items():
                    found = timed(planned, make)
                    kept = best.setdefault((name, world), {}).setdefault(way, found)
                    best[name, world][way] = min(kept, found)
    return best


def _replicas(name: str, world: int) -> dict[str, str]:
    return {"world": f"{world}"} if name == "colocated" else {"replicas": f"{world // 4}"}


def _on_processes(planned: Plan, make: Callable[[Plan], None]) -> Made:
    """The slowest rank's time from when all were ready."""
    ranks = run_ranks(planned.world, lambda _: _on_this(planned, make), watch=Watch(timeout=600))
    return Made(max(rank.seconds for rank in ranks), ranks[0].joined)


def _on_this(planned: Plan, make: Callable[[Plan], None]) -> Made:
    dist.barrier()
    start = time.perf_counter()
    make(planned)
    return Made(time.perf_counter() - start, len(joined_communicators()) - 1)


def _on_one(planned: Plan, make: Callable[[Plan], None]) -> Made:
    with meta.fake_world(planned.world - 1, planned.world):
        return _on_this(planned, make)


def _page(real: Times, fake: Times, runs: int) -> str:
    return "\n".join(
        [
            "# How long making process groups takes",
            "",
            "From when all ranks are ready until the last has its groups, and how many groups the",
            f"first one is in then; the best of {runs} runs. `benchmarks/groups.py` measures anew.",
            "",
            where(),
            "",
            "## Processes over gloo",
            "",
            *_table(real),
            "",
            "## One rank of a world that is not there",
            "",
            *_table(fake),
            "",
        ]
    )


def _table(times: Times) -> list[str]:
    return [
        f"| spec | ranks | {' | '.join(WAYS)} |",
        f"|---|---:|{'---:|' * len(WAYS)}",
        *(
            f"| {name} | {world:,} | "
            + " | ".join(f"{_time(ways[way].seconds)}, {ways[way].joined}" for way in WAYS)
            + " |"
            for (name, world), ways in times.items()
        ),
    ]


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"


if __name__ == "__main__":
    main()
