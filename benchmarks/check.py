"""Times `mimodsl check` as a whole process against Megatron-Core; writes `check.md` beside itself.

Processes run by turns, so that whatever else the machine does falls on all of them alike; their CPU
time hardly depends on it.
"""

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).with_suffix(".md")
COMMAND = (str(Path(sys.executable).with_name("mimodsl")), "check")
WORLDS = (4, 4_096, 1_048_576)

IMPORT = '`python -c "import megatron.core"`'

SPEC = """\
use "presets/nemotron.mimo"

let replicas = 2

grid llm {
  dense  = tp:2 * dp:replicas
  expert = ep:2 * edp:replicas * pp
}

module language : nemotron_3_nano {
  grid = llm
}

schedule 1f1b {
  sequence     = 8192
  microbatches = 8
}
"""

RANK_GENERATOR = """\
from megatron.core.parallel_state import RankGenerator
for ep, dp in ((1, 2048), (2, 2048)):
    ranks = RankGenerator(
        tp=2 if ep == 1 else 1, ep=ep, dp=dp, pp=1, cp=1, order="tp-cp-ep-dp-pp"
    )
    for token in ("tp", "dp", "cp", "pp", "tp-pp", "tp-dp", "tp-cp", "dp-cp", "ep", "tp-ep-pp"):
        ranks.get_ranks(token)
"""


class Seconds(NamedTuple):
    """How long a process took, and how much of that on a core."""

    wall: float
    cpu: float


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=9, help="runs of each process (default: 9)")
    runs = options.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        spec = Path(folder) / "language.mimo"
        spec.write_text(SPEC)
        text = _page(_timed(_processes(spec), runs), runs)
    RESULTS.write_text(text)
    print(text, end="")


def _processes(spec: Path) -> dict[str, tuple[str, ...]]:
    largest = max((ROOT / "specs").glob("*.mimo"), key=lambda path: path.stat().st_size)
    worlds = {
        f"`check` of {world:,} ranks": (*COMMAND, str(spec), "--set", f"replicas={world // 2}")
        for world in WORLDS
    }
    return {
        f"`check` of the largest shipped spec, `{largest.name}`": (*COMMAND, str(largest)),
        **worlds,
        IMPORT: (sys.executable, "-c", "import megatron.core"),
        "`RankGenerator`, the groups of 4,096 ranks": (sys.executable, "-c", RANK_GENERATOR),
    }


def _timed(processes: Mapping[str, tuple[str, ...]], runs: int) -> dict[str, list[Seconds]]:
    """The time of every run; the first one fills caches and is not counted."""
    seconds: dict[str, list[Seconds]] = {name: [] for name in processes}
    for run in range(runs + 1):
        for name, command in processes.items():
            found = _run(command)
            if run:
                seconds[name].append(found)
    return seconds


def _run(command: tuple[str, ...]) -> Seconds:
    start = time.perf_counter()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True, env=_environment())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Seconds(wall=time.perf_counter() - start, cpu=cpu)


def _environment() -> dict[str, str]:
    """As users have it: with compiled modules kept."""
    return {key: one for key, one in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}


def _page(seconds: Mapping[str, list[Seconds]], runs: int) -> str:
    cpu = {name: median(one.cpu for one in found) for name, found in seconds.items()}
    wall = {name: median(one.wall for one in found) for name, found in seconds.items()}
    rows = [
        f"| {name} | {wall[name]:.2f} s | {cpu[name]:.3f} s | {cpu[IMPORT] / cpu[name]:.1f} |"
        for name in seconds
    ]
    return "\n".join(
        [
            "# How long `mimodsl check` takes",
            "",
            f"Whole processes, {runs} runs of each by turns; `make benchmarks` measures anew. The",
            "time does not grow with the world: no rank is counted through.",
            "",
            f"{_machine()}, {datetime.now(UTC):%Y-%m-%d}, commit {_commit()}.",
            "",
            "| process | median | median of CPU time | how often into the import's |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


def _machine() -> str:
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    load = os.getloadavg()[0]
    python = f"Python {platform.python_version()}"
    return f"{names[0]}, {len(names)} cores, load {load:.0f}, {python}"


def _commit() -> str:
    command = ("git", "rev-parse", "--short", "HEAD")
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout[:-1]


if __name__ == "__main__":
    main()
