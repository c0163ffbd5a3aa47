"""Times `check` and `plan` of eight and of a million ranks; writes `scale.md` beside itself.

Beside them stands what a user would do otherwise: import Megatron-Core, have its rank generator or
its grid enumerate the same groups, and start the model to see what its ranks hold.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from measured import MIMODSL, ROOT, Measured, by_turns, where

RESULTS = Path(__file__).with_suffix(".md")
SPEC = str(ROOT / "specs" / "nemotron_vlm.mimo")
PRODUCTION = str(ROOT / "specs" / "nemotron_3_nano_vlm.mimo")
FEW, MANY = 8, 1_048_576
COMMANDS = ("check", "plan", "plan --json", "plan --rank 5")
LATER = {
    "`import torch`": (sys.executable, "-c", "import torch"),
    "`import megatron.core`": (sys.executable, "-c", "import megatron.core"),
    "`mimodsl build --device meta`, 64 ranks": (MIMODSL, "build", PRODUCTION, "--device", "meta"),
}

GRIDS = """\
import sys, time
ranks = int(sys.argv[1])
dp = ranks // 2
BASE = ("tp cp dp pp tp-cp tp-pp cp-dp tp-cp-dp tp-cp-dp-pp").split()
EXPERT = ("etp ep edp etp-ep etp-ep-pp").split()
"""
"""The axes of a language model's 14 groups: tp 2, ep 2 and the rest replicas, on one grid."""

ENUMERATIONS = {
    "`mimodsl`, as CSV": GRIDS
    + """
from mimodsl.planner.ranks import Factorization
from mimodsl.planner.groups import GroupKind, GroupPlan
from mimodsl.show.plan.group_table import RowForm, table_rows
def groups(axes, names):
    layout = Factorization(start=0, axes=axes)
    return [GroupPlan(name=name, kind=GroupKind.AXES, blocks=(layout.groups(name.split("-")),))
            for name in names]
start = time.process_time()
base = groups((("tp", 2), ("cp", 1), ("dp", dp), ("pp", 1)), BASE)
expert = groups((("etp", 1), ("ep", 2), ("edp", dp), ("pp", 1)), EXPERT)
for _ in table_rows((*base, *expert), RowForm.CSV):
    pass
print(time.process_time() - start)
""",
    "`HyperCommGrid.get_rank_enum`, as lists": GRIDS
    + """
import os
os.environ["WORLD_SIZE"] = str(ranks)
from megatron.core.hyper_comm_grid import HyperCommGrid
base = HyperCommGrid([2, 1, dp, 1], ["tp", "cp", "dp", "pp"])
expert = HyperCommGrid([1, 2, dp, 1], ["etp", "ep", "edp", "pp"])
start = time.process_time()
for grid, names in ((base, BASE), (expert, EXPERT)):
    for name in names:
        grid.get_rank_enum(name.split("-"))
print(time.process_time() - start)
""",
    "`RankGenerator.get_ranks`, as lists": GRIDS
    + """
from megatron.core.parallel_state import RankGenerator
base = RankGenerator(tp=2, ep=1, dp=dp, pp=1, cp=1, order="tp-cp-ep-dp-pp")
expert = RankGenerator(tp=1, ep=2, dp=dp, pp=1, cp=1, order="tp-cp-ep-dp-pp")
own = {"etp": "tp", "edp": "dp"}
start = time.process_time()
for grid, names in ((base, BASE), (expert, EXPERT)):
    for name in names:
        grid.get_ranks("-".join(own.get(axis, axis) for axis in name.split("-")))
print(time.process_time() - start)
""",
}
NAMES = 14
WORLDS = dict.fromkeys(ENUMERATIONS, (4_096, 65_536, MANY)) | {
    "`RankGenerator.get_ranks`, as lists": (1_024, 4_096)
}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=9, help="runs of each process (default: 9)")
    runs = options.parse_args().runs
    processes = by_turns(_processes(), runs)
    later = by_turns(LATER, min(runs, 3))
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "groups.csv"
        written = by_turns({"groups": (*_plan(MANY), "--groups", str(table))}, min(runs, 3))
        with table.open("rb") as file:
            rows = sum(1 for _ in file) - 1
    lines = [*_head(runs), *_processes_table(processes, later)]
    lines += [*_written(rows, _best(written["groups"])), *_enumerations(min(runs, 5)), ""]
    RESULTS.write_text("\n".join(lines))
    print("\n".join(lines))


def _plan(world: int, command: str = "plan") -> tuple[str, ...]:
    """A command about the demo spec with so many ranks."""
    name, *options = command.split()
    return (MIMODSL, name, SPEC, "--set", f"replicas={world // 4}", *options)


def _processes() -> dict[str, Sequence[str]]:
    return {
        f"{command} {world}": _plan(world, command) for command in COMMANDS for world in (FEW, MANY)
    }


def _head(runs: int) -> Iterator[str]:
    yield "# A million ranks"
    yield ""
    yield f"Whole processes, the best of up to {runs} runs of each, by turns; `make benchmarks`"
    yield "measures anew. Memory is the resident set at its peak, the interpreter included."
    yield ""
    yield where()
    yield ""


def _processes_table(
    taken: Mapping[str, list[Measured]], later: Mapping[str, list[Measured]]
) -> Iterator[str]:
    yield "## `check` and `plan`"
    yield ""
    yield f"| `nemotron_vlm.mimo` | {FEW} ranks | {MANY:,} ranks | CPU time, times | memory |"
    yield "|---|---|---|---|---|"
    for command in COMMANDS:
        few, many = (_best(taken[f"{command} {world}"]) for world in (FEW, MANY))
        yield (
            f"| `{command}` | {_times(few)} | {_times(many)} | {many.cpu / few.cpu:.2f} | "
            f"{_mebibytes(few)} and {_mebibytes(many)} |"
        )
    yield ""
    yield "What there is without it: Megatron says what a rank holds once it runs. Nothing of its"
    yield "example starts before these imports; the build on the meta device, of the production"
    yield "model, stands in for the rest of its start, which needs the GPUs."
    yield ""
    yield "| process | time | memory |"
    yield "|---|---|---|"
    for name, runs in later.items():
        yield f"| {name} | {_times(_best(runs))} | {_mebibytes(_best(runs))} |"
    yield ""


def _best(runs: Sequence[Measured]) -> Measured:
    """The least of each, as noise only adds."""
    return Measured(*map(min, zip(*runs, strict=True)))


def _times(one: Measured) -> str:
    return f"{one.wall:.2f} s ({one.cpu:.2f} s CPU)"


def _mebibytes(one: Measured) -> str:
    return f"{one.memory / 2**20:.0f} MiB"


def _written(rows: int, best: Measured) -> Iterator[str]:
    yield "## All groups of all ranks"
    yield ""
    yield f"`mimodsl plan --groups groups.csv` of {MANY:,} ranks, a whole process: {rows:,} rows in"
    on_clock, on_core = (rows / taken / 1e6 for taken in (best.wall, best.cpu))
    yield f"{_times(best)}: {on_clock:.1f} million a second, {on_core:.1f} million a second of CPU"
    yield f"time, in {_mebibytes(best)}."
    yield ""
    yield f"The {NAMES} groups of one grid (tp 2, ep 2) by three ways, in CPU time, imports not"
    yield "counted. Megatron's two make lists in memory, its grid by numpy."
    yield ""


def _enumerations(runs: int) -> Iterator[str]:
    yield "| groups by | ranks | CPU time | members a second |"
    yield "|---|---|---|---|"
    for name, script in ENUMERATIONS.items():
        for ranks in WORLDS[name]:
            best = min(_inside(script, ranks) for _ in range(runs))
            rate = NAMES * ranks / best
            yield f"| {name} | {ranks:,} | {best:.3f} s | {rate:,.0f} |"


def _inside(script: str, ranks: int) -> float:
    """The seconds of CPU time that a script says it took."""
    command = (sys.executable, "-c", script, str(ranks))
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    main()
